"""SageMaker's batch transform on the embedded AWS: a model's container answers the records of objects, with its role's rights."""

from __future__ import annotations

import json
from typing import Any

import pytest
from emulated import client
from made_images import Registry, allow, pulls, role
from sagemaker_serving import SERVE, message_of

from ml_delivery import emulator
from ml_delivery.waiting import wait

ECHO = SERVE.replace('found = {"name"', 'found = {"body": body, "name"')


class Place:
    """What transform jobs need: an image, a role, a bucket with objects, a model."""

    def __init__(self, running: emulator.Running) -> None:
        self.running, self.aws, self.s3 = running, client(running, "sagemaker"), client(running, "s3")
        registry = Registry(running, "transforming")
        self.image = registry.push("1", ECHO)
        self.bucket = "transforming-data"
        self.s3.create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        where = f"arn:aws:s3:::{self.bucket}"
        reads = [allow("s3:GetObject", on=f"{where}/in/*"), allow("s3:ListBucket", on=where)]
        self.role = role(running, "transforming", *reads, allow("s3:PutObject", on=f"{where}/out/*"), *pulls(registry))
        blind = role(running, "transforming-blind", allow("s3:ListBucket", on=where), *pulls(registry))
        for name, arn in (("echo", self.role), ("blind", blind)):
            container = {"Image": self.image, "Environment": {"NAME": "model"}}
            self.aws.create_model(ModelName=name, ExecutionRoleArn=arn, PrimaryContainer=container)

    def put(self, key: str, text: str) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=text.encode())

    def request(self, name: str, prefix: str, **changes: Any) -> dict[str, Any]:
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{self.bucket}/in/{prefix}"}
        given = {"DataSource": {"S3DataSource": source}, "ContentType": "text/plain", "SplitType": "Line"}
        return {
            "TransformJobName": name,
            "ModelName": "echo",
            "TransformInput": {**given, **changes.pop("given", {})},
            "TransformOutput": {"S3OutputPath": f"s3://{self.bucket}/out/{name}", "AssembleWith": "Line"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **changes,
        }

    def transform(self, name: str, prefix: str, **changes: Any) -> dict[str, Any]:
        self.aws.create_transform_job(**self.request(name, prefix, **changes))
        return self.ended(name)

    def ended(self, name: str) -> dict[str, Any]:
        def done() -> dict[str, Any] | None:
            found: dict[str, Any] = self.aws.describe_transform_job(TransformJobName=name)
            return found if found["TransformJobStatus"] not in ("InProgress", "Stopping") else None

        return wait(done, what=name, seconds=110)

    def answers(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """The answers of a job, by the name of their object."""
        prefix = f"out/{name}/"
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        texts = {e["Key"]: self.s3.get_object(Bucket=self.bucket, Key=e["Key"])["Body"].read().decode() for e in found}
        return {key.removeprefix(prefix): list(map(json.loads, text.splitlines())) for key, text in texts.items()}


@pytest.fixture(scope="module")
def place(running: emulator.Running) -> Place:
    return Place(running)


def test_each_line_is_answered_in_its_order(place: Place) -> None:
    """One record a request, or as many as fit; an output for each object, below the prefix that was given."""
    place.put("in/a/one.txt", "first\nsecond\nthird\n")
    place.put("in/a/deep/two.txt", "fourth")
    done = place.transform("lines", "a/", BatchStrategy="SingleRecord", Environment={"NAME": "batch"})
    assert (done["TransformJobStatus"], done.get("FailureReason")) == ("Completed", None)
    found = place.answers("lines")
    assert [one["body"] for one in found["one.txt.out"]] == ["first", "second", "third"]
    assert [(one["body"], one["name"]) for one in found["deep/two.txt.out"]] == [("fourth", "batch")]
    place.transform("whole", "a/one.txt")
    assert [one["body"] for one in place.answers("whole")["one.txt.out"]] == ["first\nsecond\nthird"]
    place.put("in/b/large.txt", "\n".join("x" * 400_000 for _ in range(4)))
    place.transform("parts", "b/", BatchStrategy="MultiRecord", MaxPayloadInMB=1)
    assert [len(one["body"]) for one in place.answers("parts")["large.txt.out"]] == [800_001, 800_001]
    place.transform("unsplit", "a/one.txt", given={"SplitType": "None"})
    assert [one["body"] for one in place.answers("unsplit")["one.txt.out"]] == ["first\nsecond\nthird\n"]
    assert "must be unique" in message_of(lambda: place.aws.create_transform_job(**place.request("whole", "a/")))


def test_bad_record_costs_its_object_only(place: Place) -> None:
    """The job fails, and its log names the object and the record; other objects have their output."""
    place.put("in/c/bad.txt", "first\n400\nthird")
    place.put("in/c/good.txt", "first")
    done = place.transform("bad", "c/", BatchStrategy="SingleRecord")
    assert (done["TransformJobStatus"], done["FailureReason"]) == (
        "Failed",
        "AlgorithmError: See job logs for more information",
    )
    assert list(place.answers("bad")) == ["good.txt.out"]
    logs = client(place.running, "logs")
    named = {"logGroupName": "/aws/sagemaker/TransformJobs", "logStreamName": "bad/data-log"}
    lines = [event["message"] for event in logs.get_log_events(**named)["events"]]
    assert lines[0] == "transforming-data/in/c/bad.txt, from record 2: Bad HTTP status received from algorithm: 400"


def test_stopped_transform_job_ends(place: Place) -> None:
    """No further record is asked about."""
    place.put("in/d/slow.txt", "\n".join(["wait"] * 400))
    place.aws.create_transform_job(**place.request("slow", "d/", BatchStrategy="SingleRecord"))
    wait(
        lambda: place.aws.describe_transform_job(TransformJobName="slow").get("TransformStartTime"),
        what="its start",
        seconds=60,
    )
    place.aws.stop_transform_job(TransformJobName="slow")
    assert place.ended("slow")["TransformJobStatus"] == "Stopped"
    assert place.answers("slow") == {}
    assert "is in status Stopped" in message_of(lambda: place.aws.stop_transform_job(TransformJobName="slow"))


@pytest.mark.parametrize(
    ("name", "prefix", "changes", "reason"),
    [
        ("no-data", "none/", {}, "ClientError: No S3 objects found"),
        ("no-rights", "a/", {"ModelName": "blind"}, "ClientError: Failed to download s3://transforming-data/in/a/"),
        ("broken", "a/", {"Environment": {"BROKEN": "exits"}}, "did not pass the ping health check"),
    ],
)
def test_job_that_can_not_work_has_its_reason(
    place: Place, name: str, prefix: str, changes: dict[str, Any], reason: str
) -> None:
    """No objects, a role that may not read them, a container that exits."""
    done = place.transform(name, prefix, **changes)
    assert done["TransformJobStatus"] == "Failed"
    assert reason in done["FailureReason"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ModelName": "none"}, "Could not find model"),
        ({"given": {"SplitType": "RecordIO"}}, "emulates SplitType None and Line only, not RecordIO"),
        ({"DataProcessing": {"InputFilter": "$"}}, "does not emulate DataProcessing.InputFilter (CreateTransformJob)"),
        ({"MaxPayloadInMB": 101}, "MaxPayloadInMB must be at most 100"),
    ],
)
def test_what_is_not_obeyed_is_refused(place: Place, changes: dict[str, Any], says: str) -> None:
    """A model that does not exist, and members that the emulator doesn't obey."""
    assert says in message_of(lambda: place.aws.create_transform_job(**place.request("refused", "a/", **changes)))
