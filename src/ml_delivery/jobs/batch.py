"""Answers the lines of a file: a transform job with the model of the live release.

https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform.html
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery import objects
from ml_delivery.cloud import code_of
from ml_delivery.errors import CloudError, ConfigError, ModelError
from ml_delivery.jobs import running, sagemaker, steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml_delivery.jobs.steps import Cost
    from ml_delivery.records import Context

__all__ = ["JSON", "Answered", "Plan", "plan", "run"]

JSON = "application/json"
MOST = 100_000_000  # bytes of a file


@dataclass(frozen=True)
class Plan:
    """A batch that can be started.

    Attributes:
        file: whose lines are answered; ``lines``: how many.
        model: the name of the model on SageMaker.
        kind: the content type of a request; ``several``: whether a request has several lines.
        seconds: its limit; ``cost``: what it costs at most.
    """

    file: Path
    lines: int
    model: str
    kind: str
    several: bool
    seconds: int
    cost: Cost


@dataclass(frozen=True)
class Answered:
    """A batch that completed: the job, the file with the answers, how many lines that has, and the cost."""

    job: str
    file: Path
    lines: int
    cost: Cost


def plan(context: Context, deployed: str, file: Path, kind: str, *, several: bool) -> Plan:
    """Check everything that can be checked before a job costs anything.

    Args:
        context: the environment.
        deployed: the deployed version that is live.
        file: each of its lines is a request, or, with ``several``, as many of them as a request has room for.
        kind: the content type of a request.
        several: whether a request has several lines.

    Raises:
        ConfigError: there are no jobs; or the file does not exist, is empty or too large, or has a line that is no JSON.
        ModelError: SageMaker has no model of the live release.
        CloudError: AWS refused.
    """
    jobs = context.config.jobs
    steps.role(context)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError("FILE", [f"{file}: {error.strerror}"]) from error
    lines = content.splitlines()
    if not content.strip() or len(content) > MOST:
        raise ConfigError(
            "FILE", [f"{file} has {len(content)} bytes; write one request a line, at most {MOST / 1e6:.0f} MB"]
        )
    if kind == JSON and not several:
        for number, line in enumerate(lines, 1):
            try:
                json.loads(line)
            except ValueError as error:
                raise ConfigError(
                    "FILE", [f"{file}, line {number}: no JSON: {error}; write one request a line"]
                ) from error
    model = f"{context.name}-{deployed}"
    with context.cloud.faults():
        try:
            context.cloud.client("sagemaker").describe_model(ModelName=model)
        except Exception as error:
            if code_of(error) != "ValidationException":
                raise
            raise ModelError(
                f"there is no model {model} on SageMaker, so that nothing of the live release can answer",
                next='deploy it to the target "sagemaker", whose releases are models there',
            ) from error
    seconds = jobs.minutes * 60
    return Plan(file, len(lines), model, kind, several, seconds, steps.cost(context, 1, seconds))


def run(context: Context, wanted: Plan, line: Callable[[str], None]) -> Answered:
    """Run the job, and write the answers into ``FILE.out`` beside the file.

    Raises:
        ModelError: the job failed: a request was answered with another status than 2xx, or it was stopped elsewhere.
        CloudError, Interrupted: as ``running.run``; a job that reaches its limit is stopped, too.
    """
    bucket, file = context.foundation.bucket, wanted.file
    name = f"{context.name[:40]}-batch-{time.strftime('%m%d%H%M')}-{secrets.token_hex(2)}"
    place = f"jobs/batch/{name}"
    with file.open("rb") as body:
        objects.create(context.cloud, bucket, f"{place}/in/{file.name}", body)
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{place}/in/"}
    request: dict[str, Any] = {
        "TransformJobName": name,
        "ModelName": wanted.model,
        "BatchStrategy": "MultiRecord" if wanted.several else "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": source},
            "ContentType": wanted.kind,
            "SplitType": "Line",
        },
        "TransformOutput": {"S3OutputPath": f"s3://{bucket}/{place}/out", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": context.config.jobs.instance, "InstanceCount": 1},
    }
    done = running.run(context, sagemaker.TRANSFORM, request, line, wanted.seconds)
    found = objects.get(context.cloud, bucket, f"{place}/out/{file.name}.out")
    if found is None:
        raise CloudError(f"the job {name} completed, but left no answers in {place}/out", next="run this again")
    out = file.with_name(f"{file.name}.out")
    arriving = out.with_name(f"{out.name}.new")
    arriving.write_bytes(found[0])
    arriving.replace(out)
    return Answered(name, out, len(found[0].splitlines()), steps.cost(context, 1, done.seconds))
