"""What tests of SageMaker's jobs share: a program that keeps the container's contract, its image, a role, a bucket."""

from __future__ import annotations

import io
import tarfile
from typing import Any

from emulated import client
from made_images import Registry, allow, pulls, role

from ml_delivery import emulator
from ml_delivery.waiting import wait

PROGRAM = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the first process of a container ignores it otherwise
import json, os, time
from pathlib import Path
ml = Path("/opt/ml")

def read(path):
    return json.loads((ml / path).read_text())

def train():
    words = read("input/config/hyperparameters.json")
    hosts = read("input/config/resourceconfig.json")
    host = hosts["current_host"]
    what = words.get("do", "train")
    data = {str(p.relative_to(ml / "input/data")): p.read_text() for p in sorted((ml / "input/data").rglob("*")) if p.is_file()}
    found = {"words": words, "hosts": hosts, "data": data, "argv": sys.argv[1:]}
    found["channels"] = read("input/config/inputdataconfig.json")
    found["own"] = {k: os.environ.get(k) for k in ("OWN", "TRAINING_JOB_NAME", "AWS_REGION")}
    print(f"epoch=1 loss={words.get('loss', '0.5')};", flush=True)
    print("epoch=2 loss=0.25;", flush=True)
    print("error=0.125;", file=sys.stderr, flush=True)
    if what == "fail":
        (ml / "output/failure").write_text("no luck " + "x" * 2000)
        sys.exit(7)
    if what == "second fails":
        import socket
        if host == "algo-1":
            listening = socket.create_server(("127.0.0.1", 39471))
            signal.signal(signal.SIGTERM, lambda *_: ended(1))
            listening.accept()
            time.sleep(600)  # until it is ended, because the other one failed
        while socket.socket().connect_ex((host.replace("2", "1"), 39471)):
            time.sleep(0.05)  # the other one does not listen yet
        ended(7)
    if what in ("stop", "stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN if what == "stubborn" else lambda *_: stopped())
        (ml / "checkpoints").mkdir(exist_ok=True)
        print("waiting", flush=True)
        time.sleep(600)
    if what == "nothing":
        return
    (ml / "checkpoints").mkdir(exist_ok=True)
    steps = ml / "checkpoints/steps.txt"
    found["resumed"] = steps.read_text() if steps.exists() else ""
    steps.write_text(found["resumed"] + "step ")
    (ml / "output/data").mkdir(parents=True, exist_ok=True)
    (ml / "output/data" / f"{host}.txt").write_text("by " + host)
    name = "same.json" if what == "clash" else f"{host}.json"
    (ml / "model" / name).write_text(json.dumps(found))

def ended(code):
    (ml / "output/failure").write_text(f"ended with {code}")
    sys.exit(code)

def stopped():
    (ml / "model/partial.txt").write_text("what there was")
    sys.exit(0)

def process():
    if "WAIT" in os.environ:
        print("waiting", flush=True)
        time.sleep(int(os.environ["WAIT"]))
    config = read("config/processingjobconfig.json")
    hosts = read("config/resourceconfig.json")
    out = ml / "processing/out"
    text = "".join(p.read_text() for p in sorted((ml / "processing/in").rglob("*")) if p.is_file())
    (out / f"{hosts['current_host']}.txt").write_text(text.upper())
    (out / "link").symlink_to("/etc/passwd")
    (ml / "output").mkdir(exist_ok=True)
    (ml / "output/message").write_text("read " + config["ProcessingJobName"])
    sys.exit(int(os.environ.get("EXIT", "0")))

train() if "train" in sys.argv else process()
"""


class Place:
    """What jobs need: an image, a role, a bucket; and short forms of the calls."""

    def __init__(self, running: emulator.Running, name: str = "jobs") -> None:
        self.running, self.aws = running, client(running, "sagemaker", parameter_validation=False)
        self.registry = Registry(running, name)
        self.image = self.registry.push("1", PROGRAM)
        self.s3 = client(running, "s3")
        self.bucket = f"{name}-data"
        self.s3.create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        for key, text in {"in/a.txt": "one ", "in/deep/b.txt": "two ", "in/c.txt": "three "}.items():
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=text)
        where = f"arn:aws:s3:::{self.bucket}"
        self.reads = [allow("s3:GetObject", on=f"{where}/in/*"), allow("s3:ListBucket", on=where)]
        self.writes = [
            allow("s3:PutObject", "s3:GetObject", on=[f"{where}/out/*", f"{where}/checkpoints/*"]),
            allow("cloudwatch:PutMetricData"),
        ]
        self.role = role(running, name, *self.reads, *self.writes, *pulls(self.registry))

    def request(self, name: str, *, hosts: int = 1, **changes: Any) -> dict[str, Any]:
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{self.bucket}/in/"}
        kind = changes.pop("distribution", "FullyReplicated")
        channel = {"ChannelName": "data", "DataSource": {"S3DataSource": {**source, "S3DataDistributionType": kind}}}
        return {
            "TrainingJobName": name,
            "AlgorithmSpecification": {
                "TrainingImage": self.image,
                "TrainingInputMode": "File",
                "MetricDefinitions": [
                    {"Name": "loss", "Regex": "loss=([0-9.]+);"},
                    {"Name": "error", "Regex": "error=([0-9.]+);"},
                    {"Name": "none", "Regex": "never=(.*)"},
                ],
            },
            "RoleArn": self.role,
            "InputDataConfig": [channel],
            "OutputDataConfig": {"S3OutputPath": f"s3://{self.bucket}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": hosts, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 120},
            "DebugHookConfig": {"S3OutputPath": f"s3://{self.bucket}/debug"},  # as SageMaker's SDK sends it
            **changes,
        }

    def train(self, name: str, **changes: Any) -> dict[str, Any]:
        self.aws.create_training_job(**self.request(name, **changes))
        return self.trained(name)

    def trained(self, name: str, *states: str) -> dict[str, Any]:
        def done() -> dict[str, Any] | None:
            found: dict[str, Any] = self.aws.describe_training_job(TrainingJobName=name)
            return found if found["TrainingJobStatus"] in (states or ("Completed", "Failed", "Stopped")) else None

        return wait(done, what=name, seconds=110)

    def archive(self, uri: str) -> dict[str, str]:
        """The texts in an archive in S3, by name."""
        body = self.s3.get_object(Bucket=self.bucket, Key=uri.removeprefix(f"s3://{self.bucket}/"))["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as opened:
            return {e.name: opened.extractfile(e).read().decode() for e in opened if e.isfile()}  # type: ignore[union-attr]

    def keys(self, prefix: str) -> list[str]:
        return [
            entry["Key"] for entry in self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        ]


def log_has(place: Place, job: str, text: str, kind: str = "TrainingJobs") -> None:
    """Wait until a job's log has a line."""
    logs = client(place.running, "logs")

    def found() -> bool | None:
        group = {"logGroupName": f"/aws/sagemaker/{kind}"}
        try:
            streams = logs.describe_log_streams(**group, logStreamNamePrefix=f"{job}/")["logStreams"]
        except logs.exceptions.ResourceNotFoundException:
            return None
        events = [logs.get_log_events(**group, logStreamName=s["logStreamName"])["events"] for s in streams]
        return any(text in event["message"] for stream in events for event in stream) or None

    wait(found, what=f"{text} in the log of {job}", seconds=30)


def processing(place: Place, name: str, hosts: int = 1, **changes: Any) -> dict[str, Any]:
    source = {"S3Uri": f"s3://{place.bucket}/in/", "LocalPath": "/opt/ml/processing/in", "S3DataType": "S3Prefix"}
    source |= {"S3InputMode": "File", "S3DataDistributionType": changes.pop("distribution", "FullyReplicated")}
    target = {
        "S3Uri": f"s3://{place.bucket}/out/{name}",
        "LocalPath": "/opt/ml/processing/out",
        "S3UploadMode": "EndOfJob",
    }
    place.aws.create_processing_job(
        ProcessingJobName=name,
        RoleArn=place.role,
        AppSpecification={"ImageUri": place.image},
        ProcessingResources={
            "ClusterConfig": {"InstanceCount": hosts, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
        },
        ProcessingInputs=[{"InputName": "in", "S3Input": source}],
        ProcessingOutputConfig={"Outputs": [{"OutputName": "out", "S3Output": target}]},
        **changes,
    )

    def done() -> dict[str, Any] | None:
        found: dict[str, Any] = place.aws.describe_processing_job(ProcessingJobName=name)
        return found if found["ProcessingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    return wait(done, what=name, seconds=110)
