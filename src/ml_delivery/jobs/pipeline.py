"""Prepare, tune, train, evaluate and register as one pipeline of SageMaker: run, followed, and stopped when it can't be."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ml_delivery import objects
from ml_delivery.errors import CloudError, ModelError, Refused
from ml_delivery.jobs import datasets, definition, packages, prepare, running, sagemaker, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ml_delivery.jobs.rendering import Rendered
    from ml_delivery.jobs.steps import Cost
    from ml_delivery.records import Context

__all__ = ["GateRefused", "Ran", "run"]

JOBS = {"ProcessingJob": sagemaker.PROCESSING, "TrainingJob": sagemaker.TRAINING}
PAGE = 100


@dataclass(frozen=True)
class Ran:
    """An execution that succeeded: its ARN, the model's digest, its package, the files that the gate wrote, and the cost."""

    execution: str
    model: str
    package: str
    files: tuple[str, ...]
    dataset: str
    cost: Cost


class GateRefused(Refused):
    """The gate refused; ``printed`` is what it printed."""

    def __init__(self, message: str, printed: list[str], next: str = "") -> None:
        super().__init__(message, next)
        self.printed = printed


def run(context: Context, wanted: Rendered, line: Callable[[str], None]) -> Ran:
    """Create or update the pipeline, start it, follow it to its end, and put what the gate wrote into the service's folder.

    Args:
        context: the environment.
        wanted: the pipeline.
        line: called with each line of its jobs' logs, and for each step that begins or ends.

    Raises:
        GateRefused: the gate refused.
        ModelError: a step failed, or the execution was stopped elsewhere.
        CloudError: AWS refused, or it can't be followed; it is stopped.
        Interrupted: a cancel; it is stopped, with the job that runs.
    """
    cloud = context.cloud
    client = cloud.client("sagemaker")
    packages.group(context)
    request = {"PipelineName": wanted.name, "PipelineDefinition": json.dumps(wanted.document), "RoleArn": wanted.role}
    with cloud.faults():
        try:
            client.create_pipeline(**request)
        except Exception as error:
            if packages.EXISTS not in str(error):
                raise
            client.update_pipeline(**request)
        arn = str(client.start_pipeline_execution(PipelineName=wanted.name)["PipelineExecutionArn"])
    try:
        with cloud.faults():
            status, found = _follow(context, arn, line)
            done = _jobs(context, found)
    except (KeyboardInterrupt, Exception) as fault:
        raise running.stop(cloud, sagemaker.EXECUTION, arn, fault) from fault
    evaluation = _evaluation(context, wanted)
    if status != "Succeeded":
        raise _failure(arn, status, found, evaluation)
    seconds = sum(hosts * billed for hosts, billed in done)
    arn_of_package = next(s["Metadata"]["RegisterModel"]["Arn"] for s in found if "RegisterModel" in s["Metadata"])
    files = _apply(context, wanted, evaluation)
    dataset = _dataset(context, wanted)
    return Ran(arn, str(evaluation["verdict"]), str(arn_of_package), files, dataset, steps.cost(context, 1, seconds))


def _follow(context: Context, arn: str, line: Callable[[str], None]) -> tuple[str, list[dict[str, Any]]]:
    """Report steps and their logs until the execution has ended; its status, and its steps."""
    cloud, seen, logs = context.cloud, dict[str, str](), dict[str, running.Log]()
    pause = running.PAUSE[0]
    while True:
        status = str(sagemaker.EXECUTION.describe(cloud, arn)["PipelineExecutionStatus"])
        found = _steps(context, arn)
        news = 0
        for step in found:
            name, state = step["StepName"], step["StepStatus"]
            for member, kind in JOBS.items():
                if job := step["Metadata"].get(member, {}).get("Arn"):
                    logs.setdefault(name, running.Log(cloud, kind.group, job.rpartition("/")[2]))
            for text in logs[name].lines() if name in logs and seen.get(name) != state + "." else ():
                line(f"{name}  {text}")
                news += 1
            if seen.get(name, "").rstrip(".") != state:
                line(f"{name}: {state}")
                news += 1
            seen[name] = state + "." if state in running.ENDED else state  # with a dot: its log was read to its end
        if status in running.ENDED:
            return status, found
        pause = running.PAUSE[0] if news else min(pause * 1.3, running.PAUSE[1])
        time.sleep(pause)


def _steps(context: Context, arn: str) -> list[dict[str, Any]]:
    pages = context.cloud.client("sagemaker").get_paginator("list_pipeline_execution_steps")
    every = pages.paginate(PipelineExecutionArn=arn, SortOrder="Ascending", PaginationConfig={"PageSize": PAGE})
    return [{"Metadata": {}, **step} for page in every for step in page["PipelineExecutionSteps"]]


def _jobs(context: Context, found: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """Of each job: how many instances it had, and the seconds that each of them is billed for."""
    done = []
    for step in found:
        for member, kind in JOBS.items():
            if arn := step["Metadata"].get(member, {}).get("Arn"):
                job = kind.describe(context.cloud, arn.rpartition("/")[2])
                cluster = job.get("ResourceConfig") or job["ProcessingResources"]["ClusterConfig"]
                done.append((int(cluster["InstanceCount"]), running.billed(job)))
        if arn := step["Metadata"].get("TuningJob", {}).get("Arn"):
            done += [(1, trial.seconds) for trial in running.trials(context.cloud, arn.rpartition("/")[2])]
    return done


def _failure(arn: str, status: str, found: list[dict[str, Any]], evaluation: Mapping[str, Any]) -> Exception:
    """The error for an execution that did not succeed."""
    name = arn.rpartition("/")[2]
    if evaluation.get("verdict") == definition.REFUSED:
        printed = [str(text) for text in evaluation["printed"]]
        reason = next((text for text in reversed(printed) if text.strip()), "it gave no reason")
        reason = reason.strip().removeprefix("✗ ").removeprefix("refused: ")
        return GateRefused(f"the gate refused: {reason}", printed, next="change what it names, then run this again")
    if status == "Stopped":
        what = f"the execution {name} was stopped, not by this command: in the console, or by another command"
        return ModelError(what, next="run this again")
    step = next((s for s in found if s["StepStatus"] == "Failed"), {})
    reason = step.get("FailureReason", "no reason given")
    what = f"the step {step.get('StepName', '')} of the execution {name} failed: {reason}"
    return ModelError(what, next="fix what its log reports, then run this again")


def _evaluation(context: Context, wanted: Rendered) -> dict[str, Any]:
    """What the gate's job left; empty if that did not run to its end."""
    found = _object(context, f"{wanted.prefix}/{definition.EVALUATION}/evaluation.json")
    return dict(json.loads(found)) if found else {}


def _object(context: Context, address: str) -> bytes:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    found = objects.get(context.cloud, bucket, key)
    return found[0] if found else b""


def _apply(context: Context, wanted: Rendered, evaluation: Mapping[str, Any]) -> tuple[str, ...]:
    """Write what the gate wrote into the service's folder, and remove what it removed."""
    root, found = context.config.root, []
    content = _object(context, f"{wanted.prefix}/{definition.EVALUATION}/model.tar.gz")
    if not content:
        raise CloudError(f"{wanted.prefix} has no model", next="run this again")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for entry in archive:
            data = archive.extractfile(entry) if entry.isfile() else None
            if data is None or not _inside(entry.name):
                continue
            place = root / entry.name
            place.parent.mkdir(parents=True, exist_ok=True)
            arriving = place.with_name(f"{place.name}.new")
            arriving.write_bytes(data.read())
            arriving.replace(place)
            found.append(entry.name)
    for name in evaluation["removed"]:
        if _inside(name):
            (root / name).unlink(missing_ok=True)
    return tuple(found)


def _inside(name: str) -> bool:
    """Whether a file of a job's archive belongs into the service's folder: not beside it, nor where git runs hooks from, unseen."""
    path = PurePosixPath(name)
    return not path.is_absolute() and not {"..", ".git"} & set(path.parts)


def _dataset(context: Context, wanted: Rendered) -> str:
    """Keep the dataset that the notebook made by its digest, here and in the bucket; its digest, empty for none."""
    config = context.config
    if not config.prepare.notebook:
        return ""
    values = {**config.prepare.options}
    with tempfile.TemporaryDirectory() as folder:
        for name in (datasets.FILE, datasets.MANIFEST):
            if content := _object(context, f"{wanted.prefix}/out/{name}"):
                Path(folder, name).write_bytes(content)
        after = prepare.origins(config, values, context.cloud)
        made = prepare.kept(config, values, Path(folder), wanted.origins, after)
    datasets.upload(config.root, made.digest, context)
    return made.digest
