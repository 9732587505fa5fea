"""A pipeline that runs: its steps, one after another, as calls of SageMaker with the rights of the pipeline's role.

https://docs.aws.amazon.com/sagemaker/latest/dg/pipelines-overview.html
Not as there: steps that don't need each other run one after another, too.
"""

from __future__ import annotations

import secrets
import threading
import traceback
from typing import Any

from embedded_aws.sagemaker import definitions, roles, store
from embedded_aws.sagemaker.store import Record

PAUSE = 0.2  # seconds between two looks at a job
LONGEST = 1024  # characters of a reason
ENDED = ("Completed", "Failed", "Stopped")
# By the type of a step that is a job: the ends of the names of its operations, and its name in a step's metadata.
JOBS = {
    "Processing": ("processing_job", "ProcessingJob", "ProcessingJob"),
    "Training": ("training_job", "TrainingJob", "TrainingJob"),
    "Tuning": ("hyper_parameter_tuning_job", "HyperParameterTuningJob", "TuningJob"),
}
LONGEST_NAME = {"Tuning": 32}  # where it is not 63


class Failed(Exception):
    """A step has failed, for this reason."""


class Execution:
    """An execution that runs; its record has its state."""

    def __init__(self, record: Record, definition: Record, values: dict[str, Any]) -> None:
        self.record, self._definition = record, definition
        self._id = record["PipelineExecutionArn"].rpartition("/")[2]
        self._client = roles.assume(record["_role"], "SageMaker-Pipelines").client("sagemaker")
        self._stop = threading.Event()
        execution = {"PipelineExecutionId": self._id, "PipelineExecutionArn": record["PipelineExecutionArn"]}
        execution |= {"PipelineArn": record["PipelineArn"], "PipelineName": record["PipelineArn"].rpartition("/")[2]}
        self._known: dict[str, Any] = {"Steps": {}, "Parameters": values, "Execution": execution}

    def stop(self) -> None:
        """Stop it, and the job that it runs."""
        self._stop.set()

    def run(self) -> None:
        """Run it to its end, which is in the record."""
        try:
            status = "Succeeded" if self._run(self._definition["Steps"]) else "Stopped"
            reason = ""
        except Failed as error:
            status, reason = "Failed", str(error)
        except Exception as error:  # an error of this server, not of the pipeline
            traceback.print_exc()
            status, reason = "Failed", f"InternalServerError: {error!r}"
        with store.lock:
            self.record |= {"PipelineExecutionStatus": status, "LastModifiedTime": store.now()}
            self.record |= {"FailureReason": reason[:LONGEST]} if reason else {}

    def _run(self, steps: list[Record]) -> bool:
        """Whether all steps ended, and none was stopped."""
        return all(not self._stop.is_set() and self._step(step) for step in definitions.ordered(steps))

    def _step(self, step: Record) -> bool:
        name, kind = step["Name"], step["Type"]
        entry: Record = {"StepName": name, "StepStatus": "Executing", "StartTime": store.now(), "Metadata": {}}
        with store.lock:
            self.record["_steps"].append(entry)
        inner: list[Record] = []
        try:
            if kind == "Condition":
                inner = self._choose(step, entry)
            elif kind == "Fail":
                message = str(self._resolved(step["Arguments"].get("ErrorMessage", "")))
                self._tell(entry, Fail={"ErrorMessage": message[:3000]})
                raise Failed(message)
            else:
                self._call(name, kind, self._resolved(step["Arguments"]), entry)
            ended = "Stopped" if self._stop.is_set() and kind in JOBS and self._stopped(name, kind) else "Succeeded"
            with store.lock:
                entry |= {"StepStatus": ended, "EndTime": store.now()}
        except Failed as error:
            with store.lock:
                entry |= {"StepStatus": "Failed", "EndTime": store.now(), "FailureReason": str(error)[:LONGEST]}
            if kind == "Fail":
                raise
            raise Failed("Step failure: One or multiple steps failed.") from error
        return ended == "Succeeded" and self._run(inner)

    def _stopped(self, name: str, kind: str) -> bool:
        return bool(self._known["Steps"][name][f"{JOBS[kind][1]}Status"] == "Stopped")

    def _resolved(self, value: Any) -> Any:
        try:
            return definitions.resolved(value, self._known)
        except KeyError as error:
            raise Failed(f"ClientError: the property {error.args[0]} does not exist") from error

    def _choose(self, step: Record, entry: Record) -> list[Record]:
        holds = True
        for one in step["Arguments"]["Conditions"]:
            left, right = self._resolved(one["LeftValue"]), self._resolved(one["RightValue"])
            try:
                holds &= definitions.COMPARED[one["Type"]](left, right)
            except TypeError as error:
                raise Failed(f"ClientError: {left!r} and {right!r} can't be compared: {error}") from error
        self._tell(entry, Condition={"Outcome": str(holds)})
        return definitions.inside(step, "IfSteps" if holds else "ElseSteps")

    def _tell(self, entry: Record, **metadata: Any) -> None:
        with store.lock:
            entry["Metadata"] = metadata

    def _call(self, name: str, kind: str, arguments: dict[str, Any], entry: Record) -> None:
        """Call what the step is about, and wait until that has ended; its description is what other steps refer to."""
        from botocore.exceptions import BotoCoreError, ClientError

        operation, member = definitions.CALLS[kind]
        try:
            if kind not in JOBS:
                arn = self._client.create_model_package(**arguments)["ModelPackageArn"]
                self._tell(entry, RegisterModel={"Arn": arn})
                self._known["Steps"][name] = self._client.describe_model_package(ModelPackageName=arn)
                return
            longest = LONGEST_NAME.get(kind, 63)
            unique = secrets.token_hex(5)
            own = f"pipelines-{self._id}-{name}"[: longest - len(unique) - 1]
            self._known["Steps"][name] = self._job(kind, {**arguments, member: f"{own}-{unique}"}, entry)
        except (BotoCoreError, ClientError) as error:
            raise Failed(f"ClientError: Failed to invoke sagemaker:{operation}. Error Details: {error}") from error

    def _job(self, kind: str, request: dict[str, Any], entry: Record) -> dict[str, Any]:
        """The job's description, once it has ended.

        Raises:
            Failed: it failed, or was stopped outside of this execution.
        """
        end, member, shown = JOBS[kind]
        getattr(self._client, f"create_{end}")(**request)
        named = {f"{member}Name": request[f"{member}Name"]}
        asked = False
        while True:
            job: dict[str, Any] = getattr(self._client, f"describe_{end}")(**named)
            self._tell(entry, **{shown: {"Arn": job[f"{member}Arn"]}})
            status = job[f"{member}Status"]
            if status in ENDED:
                break
            if self._stop.wait(PAUSE) and not asked:
                asked = True
                getattr(self._client, f"stop_{end}")(**named)
            elif asked:
                threading.Event().wait(PAUSE)
        if status == "Failed" or (status == "Stopped" and not asked):
            raise Failed(f"ClientError: {job.get('FailureReason') or f'the job was {status.lower()}'}")
        return job
