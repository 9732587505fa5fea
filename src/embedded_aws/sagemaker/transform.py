"""Batch transform jobs: a model's container is asked about the records of objects in S3, and its answers are uploaded.

https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform.html
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTransformJob.html
Not as there: one request at a time, whatever ``MaxConcurrentTransforms`` says; ``/execution-parameters`` is not asked for.
"""

from __future__ import annotations

import contextvars
import gzip
import http.client
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

from embedded_aws.sagemaker import buckets, models, roles, store, tags
from embedded_aws.sagemaker.fleets import Variant
from embedded_aws.sagemaker.instances import Answer, Unhealthy
from embedded_aws.sagemaker.logs import Stream
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.store import Record

GROUP = "/aws/sagemaker/TransformJobs"
RUNNING = ("InProgress", "Stopping")
MEGABYTES, MOST_MEGABYTES = 6, 100  # of a request: the default, and at most
SEE_LOG = "See job logs for more information"
home = Path()  # of the emulator's temporary files; set when it starts
_jobs: dict[str, Job] = {}  # those that run, by ARN


class Failed(Exception):
    """The job has failed, for this reason."""


def create(request: Record) -> Record:
    """Start one."""
    name, arn = request["TransformJobName"], store.arn("transform-job", request["TransformJobName"])
    if name in store.table("transform"):
        raise Refusal(f"Job name must be unique: {arn} already exists", "ResourceInUse")
    model = models.get(request["ModelName"])
    for member in ("InstanceType", "InstanceCount"):
        if not request["TransformResources"].get(member):
            raise Refusal(f"TransformResources.{member} is required.")
    if request.get("MaxPayloadInMB", MEGABYTES) > MOST_MEGABYTES:
        raise Refusal(f"MaxPayloadInMB must be at most {MOST_MEGABYTES}.")
    now = store.now()
    record = {
        **{k: v for k, v in request.items() if k != "Tags"},
        "TransformJobArn": arn,
        "TransformJobStatus": "InProgress",
        "CreationTime": now,
    }
    store.table("transform")[name] = record
    tags.put(arn, request.get("Tags", []))
    job = _jobs[arn] = Job(record, model)
    threading.Thread(target=contextvars.copy_context().run, args=(job.run,), daemon=True).start()
    return {"TransformJobArn": arn}


class Job:
    """A job that runs."""

    def __init__(self, record: Record, model: Record) -> None:
        self.record, self._name = record, str(record["TransformJobName"])
        self._session = roles.assume(model["ExecutionRoleArn"], "SageMaker")
        container = dict(model["_container"])
        container["Environment"] = {**container.get("Environment", {}), **record.get("Environment", {})}
        count = record["TransformResources"]["InstanceCount"]
        described = {"VariantName": self._name, "InitialInstanceCount": count, "container": container}
        self._variant = Variant(self._name, {**described, "role": model["ExecutionRoleArn"]}, home, GROUP)
        self.stopped = threading.Event()

    def run(self) -> None:
        """Run it to its end, which is in the record."""
        record, reason = self.record, ""
        try:
            self._transform()
            status = "Stopped" if self.stopped.is_set() else "Completed"
        except Failed as error:
            status, reason = "Failed", str(error)
        except Exception as error:  # an error of this server, not of the job
            traceback.print_exc()
            status, reason = "Failed", f"InternalServerError: {error!r}"
        with store.lock:
            record |= {"FailureReason": reason[:1024]} if reason else {}
            record |= {"TransformEndTime": store.now(), "TransformJobStatus": status}
        _jobs.pop(record["TransformJobArn"], None)
        self._variant.stop()  # with time for containers to end, which delays no answer

    def _transform(self) -> None:
        """Ask about every object; one with a bad record has no output, and the others go on."""
        given, output = self.record["TransformInput"], self.record["TransformOutput"]["S3OutputPath"].rstrip("/")
        try:
            found = sorted(buckets.listed(self._session, given["DataSource"]["S3DataSource"]))
        except buckets.TransferFailed as error:
            raise Failed(f"ClientError: {error}") from error
        self.record["TransformStartTime"] = store.now()
        try:
            self._variant.start()
        except Unhealthy as error:
            raise Failed(f"ClientError: {error}") from error
        log = Stream(self._session, GROUP, f"{self._name}/data-log")
        try:
            results = [self._object(*place, output, log) for place in found if not self.stopped.is_set()]
        except buckets.TransferFailed as error:
            raise Failed(f"ClientError: {error}") from error
        finally:
            log.close()
        if not all(results):
            raise Failed(f"AlgorithmError: {SEE_LOG}")

    def _object(self, bucket: str, key: str, name: str, output: str, log: Stream) -> bool:
        """Whether each record of an object was answered; then its output is uploaded."""
        content = buckets.read(self._session, bucket, key)
        if self.record["TransformInput"].get("CompressionType") == "Gzip":
            content = gzip.decompress(content)
        answers = []
        for first, payload in self._payloads(content):
            if self.stopped.is_set():
                return True
            answer = self._ask(payload)
            if answer is None or not 200 <= answer.status < 300:
                status = answer.status if answer else "none"
                log.write(f"{bucket}/{key}, from record {first}: Bad HTTP status received from algorithm: {status}")
                log.write(answer.body.decode("utf-8", "replace")[:1000] if answer else "")
                return False
            answers.append(answer.body)
        end = b"\n" if self.record["TransformOutput"].get("AssembleWith") == "Line" else b""
        joined = b"".join(answer.removesuffix(end) + end if end else answer for answer in answers)
        buckets.write(self._session, f"{output}/{name}.out", joined)
        return True

    def _payloads(self, content: bytes) -> Iterator[tuple[int, bytes]]:
        """The bodies of the requests, each with the number of its first record."""
        record = self.record
        if record["TransformInput"].get("SplitType", "None") == "None":
            yield 1, content
            return
        most = record.get("MaxPayloadInMB", MEGABYTES) * 1_000_000
        single, held, first = record.get("BatchStrategy") == "SingleRecord", b"", 1
        for number, line in enumerate(content.splitlines(), 1):
            if held and (single or (most and len(held) + len(line) + 1 > most)):
                yield first, held
                held, first = b"", number
            held += (b"\n" if held else b"") + line
        if held:
            yield first, held

    def _ask(self, payload: bytes) -> Answer | None:
        """A container's answer; None for none."""
        kinds = {"Content-Type": self.record["TransformInput"].get("ContentType", "")}
        kinds["Accept"] = self.record["TransformOutput"].get("Accept", "")
        instance = self._variant.acquire()
        if instance is None:
            return None
        try:
            return instance.invoke(payload, {name: value for name, value in kinds.items() if value})
        except (OSError, http.client.HTTPException):
            return None
        finally:
            instance.release()


def _get(name: str) -> Record:
    found: Record | None = store.table("transform").get(name)
    if found is None:
        raise Refusal(f"Could not find requested job with name: {name}", "ResourceNotFound")
    return found


def describe(request: Record) -> Record:
    """Answer with the record."""
    return _get(request["TransformJobName"])


def stop(request: Record) -> Record:
    """Stop it; objects that were answered as a whole keep their output."""
    record = _get(request["TransformJobName"])
    if record["TransformJobStatus"] not in RUNNING:
        raise Refusal(
            f"The request was rejected because the transform job is in status {record['TransformJobStatus']}."
        )
    record["TransformJobStatus"] = "Stopping"
    if running := _jobs.get(record["TransformJobArn"]):
        running.stopped.set()
    return {}


def abandon() -> None:
    """Fail the jobs that ran when the emulator ended."""
    store.abandon("transform", "TransformJobStatus", RUNNING, "TransformEndTime")


OPERATIONS = {"CreateTransformJob": create, "DescribeTransformJob": describe, "StopTransformJob": stop}
