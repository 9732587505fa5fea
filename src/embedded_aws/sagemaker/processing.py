"""Processing jobs: a container with folders that are filled from S3 before it and uploaded after it.

https://docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html
"""

from __future__ import annotations

import contextvars
import json
import secrets
import shutil
import threading
import traceback
from pathlib import Path
from typing import Any

from embedded_aws.sagemaker import buckets, images, roles, store, tags
from embedded_aws.sagemaker.containers import NotRunnable
from embedded_aws.sagemaker.hosts import OTHER_FAILED, STOPPED, TOO_LONG, Hosts
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.store import Record

GROUP = "/aws/sagemaker/ProcessingJobs"
LONGEST = 1024  # bytes of an exit message
MOST = 10  # inputs, and outputs
MOST_SECONDS = 86400
PLACE = "/opt/ml/processing/"
RUNNING = ("InProgress", "Stopping")
home = Path()  # of the emulator's temporary files; set when it starts
_jobs: dict[str, Job] = {}  # those that run, by ARN


class Failed(Exception):
    """The job has failed, for this reason."""


def create(request: Record) -> Record:
    """Create one."""
    name, arn = request["ProcessingJobName"], store.arn("processing-job", request["ProcessingJobName"])
    if name in store.table("processing"):
        raise Refusal(f"Processing job names must be unique: {arn} already exists", "ResourceInUse")
    roles.trusted(request["RoleArn"])
    inputs, outputs = _inputs(request), _outputs(request)
    if len(inputs) > MOST or len(outputs) > MOST:
        raise Refusal(f"A processing job has at most {MOST} inputs and {MOST} outputs.")
    for entry in (*inputs, *outputs):
        local = (entry.get("S3Input") or entry.get("S3Output") or {}).get("LocalPath", "")
        if not local.startswith(PLACE):
            raise Refusal(f"LocalPath must be below {PLACE}, not {local!r}.")
    now = store.now()
    record = {
        **{k: v for k, v in request.items() if k != "Tags"},
        "ProcessingJobArn": arn,
        "ProcessingJobStatus": "InProgress",
        "CreationTime": now,
        "LastModifiedTime": now,
    }
    store.table("processing")[name] = record
    tags.put(arn, request.get("Tags", []))
    job = _jobs[arn] = Job(record)
    threading.Thread(target=contextvars.copy_context().run, args=(job.run,), daemon=True).start()
    return {"ProcessingJobArn": arn}


def _inputs(record: Record) -> list[Record]:
    return list(record.get("ProcessingInputs", []))


def _outputs(record: Record) -> list[Record]:
    return list(record.get("ProcessingOutputConfig", {}).get("Outputs", []))


class Job:
    """A job that runs."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._name: str = record["ProcessingJobName"]
        self._folder = home / "sagemaker" / f"{self._name}-{secrets.token_hex(6)}"
        self._session = roles.assume(record["RoleArn"], "SageMaker")
        self.hosts = Hosts(self._folder, home / "images", record["ProcessingResources"]["ClusterConfig"])

    def run(self) -> None:
        """Run it to its end, which is in the record."""
        record, reason = self.record, ""
        try:
            self._process()
            ended = self.hosts.why
            status = "Stopped" if ended == STOPPED else "Completed"
            if ended == TOO_LONG:
                status, reason = "Failed", "ClientError: MaxRuntimeInSeconds has been exceeded"
        except Failed as error:
            status, reason = "Failed", str(error)
        except Exception as error:  # an error of this server, not of the job
            traceback.print_exc()
            status, reason = "Failed", f"InternalServerError: {error!r}"
        finally:
            message = self._message()
            shutil.rmtree(self._folder, ignore_errors=True)
        with store.lock:
            record |= {"ProcessingEndTime": store.now(), "LastModifiedTime": store.now()}
            record |= {"FailureReason": reason[:LONGEST]} if reason else {}
            record |= {"ExitMessage": message} if message else {}
            record["ProcessingJobStatus"] = status
        _jobs.pop(record["ProcessingJobArn"], None)

    def _process(self) -> None:
        record, app = self.record, self.record["AppSpecification"]
        try:
            image = images.pull(app["ImageUri"], self._session)
        except Refusal as error:
            raise Failed(f"ClientError: {error}") from error
        self._fill()
        record["ProcessingStartTime"] = store.now()
        settings = image.settings["config"]
        start = app.get("ContainerEntrypoint") or settings.get("Entrypoint") or []
        own = settings.get("Cmd") or [] if "ContainerEntrypoint" not in app else []
        words = [*start, *(app.get("ContainerArguments") or own)]
        variables = {**image.variables, **record.get("Environment", {}), **self._session.variables()}
        variables |= {"PROCESSING_JOB_NAME": self._name, "PROCESSING_JOB_ARN": record["ProcessingJobArn"]}
        seconds = record.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", MOST_SECONDS)
        log = (self._session, GROUP, self._name)
        try:
            outcome = self.hosts.run(image, words, variables, self._mounts, seconds, log, lambda line: None)
        except NotRunnable as error:
            raise Failed(f"ClientError: {error}") from error
        if outcome.failure and outcome.ended in ("", OTHER_FAILED):
            raise Failed(f"AlgorithmError: See job logs for more information, exit code: {outcome.failure}")
        if not outcome.ended:
            self._upload()

    def _fill(self) -> None:
        """Write what the containers find in ``/opt/ml/config``, and download the inputs."""
        for number, host in enumerate(self.hosts.names):
            place = self.hosts.folder(host, "config")
            (place / "processingjobconfig.json").write_text(json.dumps(_config(self.record)))
            self.hosts.describe(host, place)
            for index, given in enumerate(_inputs(self.record)):
                source = given["S3Input"]
                folder, packed = self.hosts.folder(host, f"in-{index}"), source.get("S3CompressionType") == "Gzip"
                try:
                    buckets.download(
                        self._session, source, folder, host=number, hosts=len(self.hosts.names), unpack=packed
                    )
                except buckets.TransferFailed as error:
                    raise Failed(f"ClientError: Data download failed: {error}") from error

    def _upload(self) -> None:
        for index, given in enumerate(_outputs(self.record)):
            for host in self.hosts.names:
                try:
                    buckets.upload(self._session, self.hosts.folder(host, f"out-{index}"), given["S3Output"]["S3Uri"])
                except buckets.TransferFailed as error:
                    raise Failed(f"ClientError: Failed to upload output {given['OutputName']}: {error}") from error

    def _mounts(self, host: str) -> dict[str, Path]:
        """The folders of a host by where they are in its container."""
        found = {
            "/opt/ml/config": self.hosts.folder(host, "config"),
            "/opt/ml/output": self.hosts.folder(host, "output"),
        }
        for kind, member, entries in (
            ("in", "S3Input", _inputs(self.record)),
            ("out", "S3Output", _outputs(self.record)),
        ):
            for index, entry in enumerate(entries):
                found[entry[member]["LocalPath"]] = self.hosts.folder(host, f"{kind}-{index}")
        return found

    def _message(self) -> str:
        """What the program wrote into its message file."""
        for host in self.hosts.names:
            file = self._folder / host / "output/message"
            if file.is_file():
                return file.read_bytes()[:LONGEST].decode("utf-8", "replace").strip()
        return ""


def _config(record: Record) -> dict[str, Any]:
    """``processingjobconfig.json``: the request as SageMaker repeats it."""
    return {name: value for name, value in record.items() if name[0] != "_" and not name.endswith("Time")}


def _get(name: str) -> Record:
    found: Record | None = store.table("processing").get(name)
    if found is None:
        raise Refusal(f"Could not find requested job with name: {name}")
    return found


def describe(request: Record) -> Record:
    """Answer with the record."""
    return _get(request["ProcessingJobName"])


def stop(request: Record) -> Record:
    """Stop it."""
    record = _get(request["ProcessingJobName"])
    if record["ProcessingJobStatus"] not in RUNNING:
        raise Refusal(
            f"The request was rejected because the processing job is in status {record['ProcessingJobStatus']}."
        )
    record |= {"ProcessingJobStatus": "Stopping", "LastModifiedTime": store.now()}
    if running := _jobs.get(record["ProcessingJobArn"]):
        running.hosts.end(STOPPED)
    return {}


def find(request: Record) -> Record:
    """List them."""
    operation, member = "ListProcessingJobs", "ProcessingJobSummaries"
    records = store.table("processing").values()
    return store.listed(operation, member, records, request, name="ProcessingJobName", status="ProcessingJobStatus")


def abandon() -> None:
    """Fail the jobs that ran when the emulator ended."""
    store.abandon("processing", "ProcessingJobStatus", RUNNING, "ProcessingEndTime")


OPERATIONS = {
    "CreateProcessingJob": create,
    "DescribeProcessingJob": describe,
    "StopProcessingJob": stop,
    "ListProcessingJobs": find,
}
