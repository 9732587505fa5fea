"""Runs a job of SageMaker: started, followed to its end, and stopped when it can't be."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery.cloud import code_of
from ml_delivery.errors import CloudError, Interrupted, ModelError, PipelineError
from ml_delivery.signals import uninterrupted
from ml_delivery.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ml_delivery.cloud import Cloud
    from ml_delivery.jobs.sagemaker import Kind
    from ml_delivery.records import Context

__all__ = ["ENDED", "PAUSE", "Ended", "Log", "Trial", "billed", "run", "shown", "stop", "trials"]

PAUSE = (0.2, 5.0)  # seconds between two polls, minimum and maximum
STOP_SECONDS = 200  # a container has 120 to end after a request to stop
ENDED = ("Completed", "Succeeded", "Failed", "Stopped")
LEGIBLE = 8  # characters of a tuned value, at most, that are printed as they are
QUOTAS = ("ResourceLimitExceeded", "ResourceLimitExceededException")


@dataclass(frozen=True)
class Ended:
    """A job that completed: its name, the seconds that each instance is billed for, its archive in S3 and its metrics."""

    name: str
    seconds: float
    archive: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Trial:
    """A trial of a tuning that has ended: its kind of model, score (None: it reported none), values, and seconds."""

    kind: str
    score: float | None
    values: dict[str, Any]
    seconds: float


def trials(cloud: Cloud, name: str) -> list[Trial]:
    """The trials of a tuning job that have ended, in the order of their names.

    Raises:
        CloudError: AWS refused.
    """
    with cloud.faults():
        return [trial for _, trial in _trials(cloud, name)]


def run(
    context: Context, kind: Kind, request: Mapping[str, Any], line: Callable[[str], None], seconds: float = 0
) -> Ended:
    """Start a job, follow its log, and wait until it has ended; it is stopped when it can't be followed.

    Args:
        context: the environment.
        kind: of the job.
        request: what creates it.
        line: called with each line of its log as it arrives; with several hosts, it begins with the host's name.
        seconds: after which it is stopped, of a kind that SageMaker sets no limit for; 0: it sets one.

    Raises:
        ModelError: it failed, or was stopped elsewhere or because it ran too long; the message has the reason.
        CloudError: it was refused: the user may not pass the role, or the account's quota is used up; or it can't be followed.
        Interrupted: a cancel; it is stopped.
            If it can't be stopped, both have its name, and the command that stops it.
    """
    cloud, name = context.cloud, str(request[f"{kind.member}Name"])
    began = False
    try:
        with cloud.faults():
            try:
                getattr(cloud.client("sagemaker"), f"create_{kind.operation}")(**request)
            except Exception as error:
                if known := _refused(context, request, error):
                    raise known from error
                raise
            began = True
            job = _follow(cloud, kind, name, line, seconds)
    except (KeyboardInterrupt, Exception) as fault:
        if not began and not isinstance(fault, KeyboardInterrupt):
            raise
        raise stop(cloud, kind, name, fault) from fault
    status = job[f"{kind.member}Status"]
    if status != "Completed":
        raise _failure(context, kind, job)
    metrics = {one["MetricName"]: float(one["Value"]) for one in job.get("FinalMetricDataList", [])}
    archive = job.get("ModelArtifacts", {}).get("S3ModelArtifacts", "")
    return Ended(name, billed(job), archive, metrics)


def shown(value: object) -> str:
    """A tuned value, short enough to be read; the file of the best ones has all digits."""
    text = str(value)
    try:
        return text if len(text) <= LEGIBLE else f"{float(text):.4g}"
    except ValueError:
        return text


def billed(job: Mapping[str, Any]) -> float:
    """The seconds that each instance is billed for."""
    if "BillableTimeInSeconds" in job:
        return float(job["BillableTimeInSeconds"])
    start = job.get("ProcessingStartTime") or job.get("TransformStartTime")
    end = job.get("ProcessingEndTime") or job.get("TransformEndTime")
    return float((end - start).total_seconds()) if start and end else 0.0


def _refused(context: Context, request: Mapping[str, Any], error: BaseException) -> PipelineError | None:
    """The error for what AWS refuses with a code that says what to do; None for another one."""
    code, message = code_of(error), str(getattr(error, "response", {}).get("Error", {}).get("Message", ""))
    if code in QUOTAS:
        instance = context.config.jobs.instance
        return CloudError(
            f"the account's quota does not allow this job: {message}",
            next=f"ask AWS to raise the quota for {instance} (Service Quotas), or change [jobs] instance or --instances",
        )
    if "AccessDenied" in code and "iam:PassRole" in message:
        return CloudError(
            f"the signed-in user may not pass the role of jobs: {message}",
            next=f"grant iam:PassRole on {request['RoleArn']} with iam:PassedToService sagemaker.amazonaws.com",
        )
    return None


def _failure(context: Context, kind: Kind, job: Mapping[str, Any]) -> ModelError:
    """The error for a job that did not complete."""
    name, status = job[f"{kind.member}Name"], job[f"{kind.member}Status"]
    reason = job.get("FailureReason") or "no reason given"
    if said := job.get("ExitMessage"):
        reason = f"{said} ({reason})"
    if job.get("SecondaryStatus") in ("MaxRuntimeExceeded", "MaxWaitTimeExceeded") or "MaxRuntimeInSeconds" in reason:
        minutes = context.config.jobs.minutes
        return ModelError(
            f"the job {name} was stopped after {minutes} minutes, its limit",
            next="raise [jobs] minutes, add instances, or train less",
        )
    if status == "Stopped":
        return ModelError(
            f"the job {name} was stopped, not by this command: in the console, or by another command",
            next="run this again",
        )
    return ModelError(f"the job {name} failed: {reason}", next="fix what its log reports, then run this again")


def stop(cloud: Cloud, kind: Kind, name: str, fault: BaseException) -> PipelineError:
    """Stop a job, wait until it has stopped, and return the error to raise."""
    error = Interrupted if isinstance(fault, KeyboardInterrupt) else CloudError
    cause = (
        "interrupted" if error is Interrupted else getattr(fault, "message", "") or f"{type(fault).__name__}: {fault}"
    )
    with uninterrupted():
        try:
            with cloud.faults():
                status = _stopped(cloud, kind, name)
        except PipelineError as second:
            what = f"{cause}; the job {name} could not be stopped, and may still cost: {second.message}"
            here = "invoke cloud.down, which ends its jobs"
            return error(what, next=here if cloud.name == "embedded" else kind.stop_command(name, cloud.region))
    how = "was not started" if not status else "is stopped" if status == "Stopped" else f"had ended as {status}"
    return error(f"{cause}; the job {name} {how}", next="run this again")


def _stopped(cloud: Cloud, kind: Kind, name: str) -> str:
    """Request the stop; returns the status in which the job ended, empty if there is none."""
    try:
        getattr(cloud.client("sagemaker"), f"stop_{kind.operation}")(**{kind.identity: name})
    except Exception as error:
        if code_of(error) not in ("ValidationException", "ResourceNotFound"):  # it has ended, or there is none
            raise

    def ended() -> str | None:
        try:
            status = str(kind.describe(cloud, name)[f"{kind.member}Status"])
        except Exception as error:
            if code_of(error) not in ("ValidationException", "ResourceNotFound"):
                raise
            return ""
        return status if status in ENDED else None

    return wait(ended, what=f"the job {name}", seconds=STOP_SECONDS)


def _follow(cloud: Cloud, kind: Kind, name: str, line: Callable[[str], None], seconds: float) -> dict[str, Any]:
    """Report each log line as it arrives, until the job has ended and its log is read.

    Raises:
        ModelError: it runs longer than ``seconds``.
    """
    began = time.monotonic()
    log = Log(cloud, kind.group, name) if kind.group else _Trials(cloud, name)
    pause = PAUSE[0]
    while True:
        job = kind.describe(cloud, name)
        news = log.lines()
        for text in news:
            line(text)
        if job[f"{kind.member}Status"] in ENDED:
            for text in log.lines():
                line(text)
            return job
        if seconds and time.monotonic() - began > seconds:
            raise ModelError(f"it took more than {seconds / 60:.0f} minutes, its limit ([jobs] minutes)")
        pause = PAUSE[0] if news else min(pause * 1.3, PAUSE[1])
        time.sleep(pause)


def _trials(cloud: Cloud, name: str) -> list[tuple[str, Trial]]:
    """The trials that have ended, with the names of their jobs."""
    pages = cloud.client("sagemaker").get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
    found = []
    for page in pages.paginate(HyperParameterTuningJobName=name, SortBy="Name", SortOrder="Ascending"):
        for job in page["TrainingJobSummaries"]:
            if job["TrainingJobStatus"] not in ENDED:
                continue
            score = job.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value")
            start, end = job.get("TrainingStartTime"), job.get("TrainingEndTime")
            seconds = (end - start).total_seconds() if start and end else 0.0
            kind, values = job.get("TrainingJobDefinitionName", ""), dict(job.get("TunedHyperParameters", {}))
            found.append(
                (job["TrainingJobName"], Trial(kind, None if score is None else float(score), values, seconds))
            )
    return found


class _Trials:
    """The trials of a tuning job, each reported once it has ended."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self._cloud, self._name = cloud, name
        self._seen: set[str] = set()

    def lines(self) -> list[str]:
        """A line for each trial that has ended since the last call."""
        found = []
        for name, trial in _trials(self._cloud, self._name):
            if name not in self._seen:
                self._seen.add(name)
                values = ", ".join(f"{key} {shown(value)}" for key, value in sorted(trial.values.items()))
                score = "no score" if trial.score is None else f"{trial.score:g}"
                found.append(f"{trial.kind}: {score}, with {values}")
        return found


class Log:
    """The log streams of a job's hosts, read incrementally."""

    def __init__(self, cloud: Cloud, group: str, job: str) -> None:
        self._client, self._group, self._job = cloud.client("logs"), group, job
        self._tokens: dict[str, str] = {}

    def lines(self) -> list[str]:
        """The lines that were logged since the last call; none while there is no log yet."""
        found: list[str] = []
        try:
            streams = self._client.describe_log_streams(logGroupName=self._group, logStreamNamePrefix=f"{self._job}/")
        except Exception as error:
            if code_of(error) == "ResourceNotFoundException":
                return found
            raise
        names = [stream["logStreamName"] for stream in streams["logStreams"]]
        for name in names:
            host = name.rpartition("/")[2].rpartition("-")[0]
            found += [f"{host}  {text}" if len(names) > 1 else text for text in self._of(name)]
        return found

    def _of(self, stream: str) -> list[str]:
        found: list[str] = []
        while True:
            token = {"nextToken": self._tokens[stream]} if stream in self._tokens else {}
            answer = self._client.get_log_events(
                logGroupName=self._group, logStreamName=stream, startFromHead=True, **token
            )
            found += [event["message"].rstrip("\n") for event in answer["events"]]
            last = self._tokens.get(stream)
            self._tokens[stream] = answer["nextForwardToken"]
            if last == self._tokens[stream] or not answer["events"]:
                return found
