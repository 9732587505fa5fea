"""SageMaker's processing jobs on the embedded AWS: the container's contract, stops and failures."""

from __future__ import annotations

import threading

import pytest
from emulated import code_of
from sagemaker_jobs import Place, log_has, processing

from ml_delivery import emulator


@pytest.fixture(scope="module")
def place(running: emulator.Running) -> Place:
    return Place(running, "processing")


def test_processing_job_keeps_the_containers_contract(place: Place) -> None:
    """Inputs come from S3, outputs go to S3 without links, and the message file is the exit message; on two hosts too."""
    done = processing(place, "processes", hosts=2)
    assert done["ProcessingJobStatus"] == "Completed", done.get("FailureReason")
    assert done["ExitMessage"] == "read processes"
    assert place.keys("out/processes") == ["out/processes/algo-1.txt", "out/processes/algo-2.txt"]
    text = place.s3.get_object(Bucket=place.bucket, Key="out/processes/algo-1.txt")["Body"].read()
    assert text == b"ONE THREE TWO "


def test_stopped_processing_job_uploads_nothing(place: Place) -> None:
    """StopProcessingJob ends the container; the job is Stopped, and can't be stopped again."""

    def stop() -> None:
        log_has(place, "halts", "waiting", "ProcessingJobs")
        place.aws.stop_processing_job(ProcessingJobName="halts")

    stopper = threading.Thread(target=stop)
    stopper.start()
    done = processing(place, "halts", Environment={"WAIT": "600"})
    stopper.join()
    assert done["ProcessingJobStatus"] == "Stopped"
    assert not place.keys("out/halts")
    assert code_of(lambda: place.aws.stop_processing_job(ProcessingJobName="halts")) == "ValidationException"


def test_processing_job_fails_with_its_container(place: Place) -> None:
    """An exit code other than 0 fails the job, and nothing is uploaded."""
    done = processing(place, "breaks", Environment={"EXIT": "4"})
    assert done["ProcessingJobStatus"] == "Failed"
    assert done["FailureReason"].endswith("exit code: 4")
    assert not place.keys("out/breaks")
