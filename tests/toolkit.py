"""AWS's own training toolkit on the embedded AWS: ``nox -s toolkit``. Its program runs in a job's container, and ours in its image.

https://github.com/aws/sagemaker-training-toolkit is what AWS's training images are made with. It reads the container's contract by
itself, so it is a second opinion about what the emulator puts into a container.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import made_images
from emulated import client
from jobs import Training
from made_images import Registry, allow, linked, pulls, role

from ml_delivery import emulator
from ml_delivery.waiting import wait

BUCKET = "toolkit-data"
PROGRAMS = ("/bin/sh", "/usr/bin/which")  # the toolkit calls both; the second is a script
# What a user of the toolkit writes: it finds everything in the variables that the toolkit makes.
SCRIPT = """
import argparse, json, os
options = argparse.ArgumentParser()
options.add_argument("--depth", type=int)
found = {"depth": options.parse_args().depth, "data": open(os.environ["SM_CHANNEL_DATA"] + "/a.txt").read()}
found["hosts"] = json.loads(os.environ["SM_HOSTS"])
print("loss=0.25;", flush=True)
with open(f"{os.environ['SM_MODEL_DIR']}/{os.environ['SM_CURRENT_HOST']}.json", "w") as file:
    json.dump(found, file)
"""
ENTRY = "import sys\nsys.argv = ['train']\nfrom sagemaker_training.cli.train import main\nmain()\n"


@contextmanager
def service(packages: Path) -> Iterator[tuple[Training, Registry, str]]:
    """A service with jobs, and the image of the toolkit by its digest."""
    made_images.HEAVY = ("_test", "_tkinter")  # it needs TLS
    with tempfile.TemporaryDirectory() as folder:
        (shared := Path(folder, "shared")).mkdir()
        made = Training(Path(folder, "service"), shared, "toolkit")
        try:
            registry = Registry(made.running, "toolkit-theirs")
            files: dict[str, bytes | Path] = {
                f"/opt/packages/{path.relative_to(packages)}": path for path in packages.rglob("*") if path.is_file()
            }
            libraries = linked(*map(str, packages.rglob("*.so")))
            files |= {path: file for path, file in libraries.items() if not Path(path).is_relative_to(packages)}
            files |= {path: Path(path).resolve() for path in PROGRAMS} | linked(PROGRAMS[0])
            folders = f"{Path(made_images.PYTHON).parent}:/usr/local/bin:/usr/bin:/bin"
            tagged = registry.push("1", ENTRY, more=files, Env=[f"PATH={folders}", "PYTHONPATH=/opt/packages"])
            listed = client(made.running, "ecr").describe_images(repositoryName=registry.name)["imageDetails"]
            yield made, registry, f"{tagged.rpartition(':')[0]}@{listed[0]['imageDigest']}"
        finally:
            emulator.down(made.tiny.root)


def theirs(made: Training, registry: Registry, image: str, hosts: int) -> dict[str, Any]:
    """A job in which the toolkit fetches and runs a script; the files of its model."""
    aws, s3, name = client(made.running, "sagemaker"), client(made.running, "s3"), f"theirs-{hosts}"
    words = {"sagemaker_program": "train.py", "sagemaker_submit_directory": f"s3://{BUCKET}/source.tar.gz", "depth": 3}
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/in/", "S3DataDistributionType": "FullyReplicated"}
    aws.create_training_job(
        TrainingJobName=name,
        RoleArn=role(made.running, name, *pulls(registry), allow("s3:GetObject", "s3:PutObject", "s3:ListBucket")),
        AlgorithmSpecification={
            "TrainingImage": image,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+);"}],
        },
        HyperParameters={word: json.dumps(value) for word, value in words.items()},
        InputDataConfig=[{"ChannelName": "data", "DataSource": {"S3DataSource": source}}],
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": hosts, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
    )

    def ended() -> dict[str, Any] | None:
        job: dict[str, Any] = aws.describe_training_job(TrainingJobName=name)
        return None if job["TrainingJobStatus"] == "InProgress" else job

    job = wait(ended, what=name, seconds=600)
    assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), log(made, name))
    assert [(metric["MetricName"], metric["Value"]) for metric in job["FinalMetricDataList"]] == [("loss", 0.25)]
    archive = s3.get_object(Bucket=BUCKET, Key=f"out/{name}/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        contents = {entry.name: opened.extractfile(entry) for entry in opened if entry.isfile()}
        return {name: json.loads(content.read()) for name, content in contents.items() if content}


def log(made: Training, name: str) -> list[str]:
    """The lines of a job."""
    group = "/aws/sagemaker/TrainingJobs"
    found = client(made.running, "logs").filter_log_events(logGroupName=group, logStreamNamePrefix=f"{name}/")
    return [event["message"] for event in found["events"]]


def main() -> int:
    """Both ways round; ``sys.argv[1]`` is the folder with the toolkit's packages."""
    with service(Path(sys.argv[1])) as (made, registry, image):
        s3 = client(made.running, "s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            entry = tarfile.TarInfo("train.py")
            entry.size = len(SCRIPT)
            archive.addfile(entry, io.BytesIO(SCRIPT.encode()))
        s3.put_object(Bucket=BUCKET, Key="source.tar.gz", Body=packed.getvalue())
        s3.put_object(Bucket=BUCKET, Key="in/a.txt", Body=b"one")
        for names in (["algo-1"], ["algo-1", "algo-2"]):
            found = theirs(made, registry, image, len(names))
            assert found == {f"{name}.json": {"depth": 3, "data": "one", "hosts": names} for name in names}, found
            print(f"the toolkit's program trained on {len(names)} of the emulator's hosts")
        made.tiny.replace("pipeline.toml", made.image, image)
        made.tiny.commit("Theirs")
        made.tiny.invoke("train", "--on", "sagemaker", "--instances", "2")
        assert {"a.model", "b.model", "c.model", "run.json"} <= set(made.made())
        print("ours trained in the toolkit's image")
    return 0


if __name__ == "__main__":
    sys.exit(main())
