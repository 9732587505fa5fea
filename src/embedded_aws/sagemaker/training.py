"""Training jobs: containers run by the contract of SageMaker's training images.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
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

from embedded_aws.sagemaker import artifacts, buckets, images, measures, roles, store, tags
from embedded_aws.sagemaker.containers import NotRunnable
from embedded_aws.sagemaker.hosts import OTHER_FAILED, STOPPED, TOO_LONG, Hosts
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.store import Record

GROUP = "/aws/sagemaker/TrainingJobs"
LONGEST_REASON = 1024
MOST_SECONDS = 86400  # of a job that gives no limit
RUNNING = ("InProgress", "Stopping")
home = Path()  # of the emulator's temporary files; set when it starts
_jobs: dict[str, Job] = {}  # those that run, by ARN


class Failed(Exception):
    """The job has failed, for this reason."""


def create(request: Record) -> Record:
    """Start one; its image, role and data are checked by the job itself, except for what AWS checks at once."""
    name, arn = request["TrainingJobName"], store.arn("training-job", request["TrainingJobName"])
    if name in store.table("training"):
        raise Refusal(
            f"Training job names must be unique within an AWS account and region, and a training job with this name "
            f"already exists ({arn})",
            "ResourceInUse",
        )
    check(request)
    return {"TrainingJobArn": start(request, arn)}


def check(request: Record) -> None:
    """Check what the shapes don't say.

    Raises:
        Refusal: it isn't as AWS requires.
    """
    roles.trusted(request["RoleArn"])
    algorithm = request["AlgorithmSpecification"]
    if not algorithm.get("TrainingImage"):
        raise Refusal("the embedded AWS emulates algorithms in images only: TrainingImage (CreateTrainingJob)")
    measures.compiled(algorithm.get("MetricDefinitions", []))
    for member in ("InstanceType", "InstanceCount"):
        if not request["ResourceConfig"].get(member):
            raise Refusal(f"ResourceConfig.{member} is required.")
    names = [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    if len(names) != len(set(names)):
        raise Refusal("Channel names must be unique within a training job.")
    if any("S3DataSource" not in channel["DataSource"] for channel in request.get("InputDataConfig", [])):
        raise Refusal("the embedded AWS emulates channels from S3 only: S3DataSource (CreateTrainingJob)")
    limits = request.get("StoppingCondition", {})
    if request.get("EnableManagedSpotTraining") and not limits.get("MaxWaitTimeInSeconds"):
        raise Refusal("MaxWaitTimeInSeconds must be specified when EnableManagedSpotTraining is true.")


def start(request: Record, arn: str, **members: Any) -> str:
    """Start a job that was checked; returns its ARN."""
    now = store.now()
    record = {
        **{k: v for k, v in request.items() if k != "Tags"},
        "TrainingJobArn": arn,
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "SecondaryStatusTransitions": [
            {"Status": "Starting", "StartTime": now, "StatusMessage": "Starting the training job"}
        ],
        "CreationTime": now,
        "LastModifiedTime": now,
        "HyperParameters": request.get("HyperParameters", {}),
        **members,
    }
    store.table("training")[request["TrainingJobName"]] = record
    tags.put(arn, request.get("Tags", []))
    job = _jobs[arn] = Job(record)
    threading.Thread(target=contextvars.copy_context().run, args=(job.run,), daemon=True).start()
    return arn


class Job:
    """A job that runs."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._name: str = record["TrainingJobName"]
        self._folder = home / "sagemaker" / f"{self._name}-{secrets.token_hex(6)}"
        self.hosts = Hosts(self._folder, home / "images", record["ResourceConfig"])
        self._session = roles.assume(record["RoleArn"], "SageMaker")
        self.measures = measures.Measures(
            record["AlgorithmSpecification"].get("MetricDefinitions", []), self._name, self._session
        )

    def run(self) -> None:
        """Run it to its end, which is in the record."""
        record = self.record
        try:
            self._train()
            ended = self.hosts.why
            status, secondary = (
                ("Stopped", {STOPPED: "Stopped", TOO_LONG: "MaxRuntimeExceeded"}[ended])
                if ended
                else (
                    "Completed",
                    "Completed",
                )
            )
            reason = ""
        except Failed as error:
            status, secondary, reason = "Failed", "Failed", str(error)[:LONGEST_REASON]
        except Exception as error:  # an error of this server, not of the job
            traceback.print_exc()
            status, secondary, reason = "Failed", "Failed", f"InternalServerError: {error!r}"[:LONGEST_REASON]
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._enter(secondary)
        with store.lock:
            now = store.now()
            record["SecondaryStatusTransitions"][-1]["EndTime"] = now
            record |= {"TrainingEndTime": now, "LastModifiedTime": now, "FinalMetricDataList": self.measures.final()}
            if began := record.get("TrainingStartTime"):
                record["TrainingTimeInSeconds"] = record["BillableTimeInSeconds"] = max(1, round(now - began))
            record["_history"] = dict(self.measures.history)
            if reason:
                record["FailureReason"] = reason
            record["TrainingJobStatus"] = status
        _jobs.pop(record["TrainingJobArn"], None)

    def _train(self) -> None:
        record, output = self.record, self.record["OutputDataConfig"]
        algorithm = record["AlgorithmSpecification"]
        try:
            image = images.pull(algorithm["TrainingImage"], self._session)
        except Refusal as error:
            raise Failed(f"ClientError: {error}") from error
        self._enter("Downloading")
        record["TrainingStartTime"] = store.now()
        checkpoints = self._inputs()
        self._enter("Training")
        start = algorithm.get("ContainerEntrypoint") or image.settings["config"].get("Entrypoint") or []
        words = [
            *start,
            *(algorithm.get("ContainerArguments") or ([] if "ContainerEntrypoint" in algorithm else ["train"])),
        ]
        own = {"TRAINING_JOB_NAME": self._name, "TRAINING_JOB_ARN": record["TrainingJobArn"]}
        variables = {**image.variables, **record.get("Environment", {}), **own, **self._session.variables()}
        seconds = record.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", MOST_SECONDS)
        log = (self._session, GROUP, self._name)
        try:
            outcome = self.hosts.run(image, words, variables, self._mounts, seconds, log, self.measures.read)
        except NotRunnable as error:
            raise Failed(f"ClientError: {error}") from error
        finally:
            if checkpoints:
                checkpoints.close()
        self._enter("Uploading")
        uri = f"{output['S3OutputPath'].rstrip('/')}/{self._name}/output"
        packed = output.get("CompressionType") != "NONE"
        failed = outcome.failure if outcome.ended in ("", OTHER_FAILED) else 0
        models = {host: self.hosts.folder(host, "model") for host in self.hosts.names}
        others = {host: self.hosts.folder(host, "output/data") for host in self.hosts.names}
        try:
            if not failed:
                artifacts.upload(self._session, models, uri, "model.tar.gz", packed=packed, scratch=self._folder)
                record["ModelArtifacts"] = {"S3ModelArtifacts": f"{uri}/model{'.tar.gz' if packed else '/'}"}
            artifacts.upload(self._session, others, uri, "output.tar.gz", packed=packed, scratch=self._folder)
        except artifacts.Clash as error:
            raise Failed(f"ClientError: Artifact upload failed: {error}") from error
        except buckets.TransferFailed as error:
            raise Failed(f"ClientError: Artifact upload failed: {error}") from error
        if failed:  # the others were ended for the first one's sake, and may write so into their failure files
            raise Failed(
                f"AlgorithmError: {self._failure([host for host, code in outcome.codes.items() if code])}, exit code: {failed}"
            )

    def _inputs(self) -> artifacts.Checkpoints | None:
        """Write what the containers find in ``/opt/ml/input``, and fetch earlier checkpoints."""
        record, hosts = self.record, self.hosts
        channels = record.get("InputDataConfig", [])
        described = {channel["ChannelName"]: _channel(channel) for channel in channels}
        for number, host in enumerate(hosts.names):
            place = hosts.folder(host, "input/config")
            (place / "hyperparameters.json").write_text(json.dumps(record["HyperParameters"]))
            (place / "inputdataconfig.json").write_text(json.dumps(described))
            hosts.describe(host, place)
            for channel in channels:
                folder = hosts.folder(host, f"input/data/{channel['ChannelName']}")
                source, packed = channel["DataSource"]["S3DataSource"], channel.get("CompressionType") == "Gzip"
                try:
                    buckets.download(self._session, source, folder, host=number, hosts=len(hosts.names), unpack=packed)
                except buckets.TransferFailed as error:
                    raise Failed(f"ClientError: Data download failed: {error}") from error
        if not (config := record.get("CheckpointConfig")):
            return None
        found = artifacts.Checkpoints(
            self._session, config["S3Uri"], [hosts.folder(host, "checkpoints") for host in hosts.names]
        )
        found.fetch()
        return found

    def _mounts(self, host: str) -> dict[str, Path]:
        """The folders of a host by where they are in its container."""
        self.hosts.folder(host, "output/data")
        found = {f"/opt/ml/{name}": self.hosts.folder(host, name) for name in ("input", "model", "output")}
        if config := self.record.get("CheckpointConfig"):
            found[config.get("LocalPath") or "/opt/ml/checkpoints"] = self.hosts.folder(host, "checkpoints")
        return found

    def _failure(self, failed: list[str]) -> str:
        """What the program wrote into its failure file on the first of these hosts that has one."""
        for host in failed:
            file = self.hosts.folder(host, "output") / "failure"
            if file.is_file():
                return file.read_text(errors="replace")[:LONGEST_REASON].strip()
        return ""

    def _enter(self, secondary: str) -> None:
        with store.lock:
            now = store.now()
            if self.record["TrainingJobStatus"] == "Stopping" and secondary in ("Downloading", "Training"):
                return
            transitions = self.record["SecondaryStatusTransitions"]
            transitions[-1].setdefault("EndTime", now)
            transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": ""})
            self.record |= {"SecondaryStatus": secondary, "LastModifiedTime": now}


def _channel(channel: Record) -> dict[str, str]:
    """A channel as ``inputdataconfig.json`` describes it."""
    source = channel["DataSource"]["S3DataSource"]
    found = {
        "TrainingInputMode": channel.get("InputMode", "File"),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    return found | ({"ContentType": channel["ContentType"]} if "ContentType" in channel else {})


def job(arn: str) -> Job | None:
    """The job that runs under this ARN."""
    return _jobs.get(arn)


def get(name: str) -> Record:
    """The record of a job.

    Raises:
        Refusal: there is none.
    """
    found: Record | None = store.table("training").get(name)
    if found is None:
        raise Refusal("Requested resource not found.")
    return found


def describe(request: Record) -> Record:
    """Answer with the record."""
    return get(request["TrainingJobName"])


def stop(request: Record) -> Record:
    """Stop it."""
    record = get(request["TrainingJobName"])
    if record["TrainingJobStatus"] not in RUNNING:
        raise Refusal(f"The request was rejected because the training job is in status {record['TrainingJobStatus']}.")
    record |= {"TrainingJobStatus": "Stopping", "SecondaryStatus": "Stopping", "LastModifiedTime": store.now()}
    if running := _jobs.get(record["TrainingJobArn"]):
        running.hosts.end(STOPPED)
    return {}


def find(request: Record) -> Record:
    """List them."""
    operation, member = "ListTrainingJobs", "TrainingJobSummaries"
    records = store.table("training").values()
    return store.listed(operation, member, records, request, name="TrainingJobName", status="TrainingJobStatus")


def abandon() -> None:
    """Fail the jobs that ran when the emulator ended."""
    store.abandon("training", "TrainingJobStatus", RUNNING, "TrainingEndTime", "LastModifiedTime")


OPERATIONS = {
    "CreateTrainingJob": create,
    "DescribeTrainingJob": describe,
    "StopTrainingJob": stop,
    "ListTrainingJobs": find,
}
