"""SageMaker on an embedded AWS that is restarted, or killed; and what is left on the machine afterwards."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from emulated import client
from made_images import PYTHON
from sagemaker_serving import Place

from ml_delivery import emulator
from ml_delivery.waiting import wait


def children(pid: int) -> list[int]:
    """The processes that were started by a process, and by those."""
    found = []
    for child in Path(f"/proc/{pid}/task").glob("*/children"):
        for number in child.read_text().split():
            found += [int(number), *children(int(number))]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def start_job(place: Place) -> None:
    """Start a training job that would run for ten minutes, and wait until it does."""
    program = [PYTHON, "-c", "import time; time.sleep(600)"]
    place.aws.create_training_job(
        TrainingJobName="long",
        AlgorithmSpecification={
            "TrainingImage": place.image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": program,
        },
        RoleArn=place.role,
        OutputDataConfig={"S3OutputPath": f"s3://{place.bucket}/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
    )

    def trains() -> bool | None:
        return place.aws.describe_training_job(TrainingJobName="long")["SecondaryStatus"] == "Training" or None

    wait(trains, what="the job", seconds=40)


@pytest.mark.parametrize("how", ["down", "kill"])
def test_endpoint_serves_again_after_a_restart(alone: Path, how: str) -> None:
    """Endpoints survive with weights and models, even of a deleted configuration; no process of the last server does."""
    running = emulator.up(alone)
    place = Place(running)
    place.model("one")
    place.model("two")
    place.endpoint("kept", one=1, two=0)
    weights = [{"VariantName": "one", "DesiredWeight": 0}, {"VariantName": "two", "DesiredWeight": 1}]
    place.aws.update_endpoint_weights_and_capacities(EndpointName="kept", DesiredWeightsAndCapacities=weights)
    place.settled("kept")
    place.aws.delete_endpoint_config(EndpointConfigName="kept-1")
    assert place.ask("kept")["name"] == "two"
    start_job(place)
    before = children(running.pid)
    assert len(before) >= 4
    if how == "down":
        emulator.down(alone)
    else:
        time.sleep(5)  # the state is saved a second after a change
        os.kill(running.pid, signal.SIGKILL)
    wait(lambda: not any(alive(pid) for pid in before) or None, what="the last server's processes", seconds=40)
    again = emulator.up(alone)
    place.aws, place.runtime = client(again, "sagemaker"), client(again, "sagemaker-runtime")

    def served() -> dict[str, Any] | None:
        try:
            return place.ask("kept")
        except place.runtime.exceptions.ClientError:
            return None

    assert wait(served, what="the endpoint", seconds=60)["name"] == "two"
    assert place.settled("kept")["EndpointStatus"] == "InService"
    job = place.aws.describe_training_job(TrainingJobName="long")
    assert (job["TrainingJobStatus"], job["FailureReason"].split(":")[0]) == ("Failed", "InternalServerError")
