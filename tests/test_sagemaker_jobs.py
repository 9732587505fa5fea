"""SageMaker's training jobs on the embedded AWS: the container's contract, several hosts, stops, limits, failures, roles."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from emulated import client, code_of
from made_images import pulls, role
from sagemaker_jobs import Place, log_has, processing

from ml_delivery import emulator


@pytest.fixture(scope="module")
def place(running: emulator.Running) -> Place:
    return Place(running)


def test_training_job_keeps_the_containers_contract(place: Place) -> None:
    """The program finds its words, channels and hosts where SageMaker puts them; what it leaves is in S3."""
    words = {"do": "train", "depth": "3"}
    done = place.train("contract", HyperParameters=words, Environment={"OWN": "variable"})
    assert done["TrainingJobStatus"] == "Completed", done.get("FailureReason")
    uri = done["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == f"s3://{place.bucket}/out/contract/output/model.tar.gz"
    model = place.archive(uri)
    found = json.loads(model.pop("algo-1.json"))
    assert not model
    assert (found["words"], found["argv"]) == (words, ["train"])
    assert found["data"] == {"data/a.txt": "one ", "data/c.txt": "three ", "data/deep/b.txt": "two "}
    assert (found["hosts"]["current_host"], found["hosts"]["hosts"]) == ("algo-1", ["algo-1"])
    assert found["channels"] == {
        "data": {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    }
    assert found["own"] == {"OWN": "variable", "TRAINING_JOB_NAME": "contract", "AWS_REGION": "eu-west-1"}
    output = place.archive(f"s3://{place.bucket}/out/contract/output/output.tar.gz")
    assert output == {"algo-1.txt": "by algo-1"}
    steps = [step["Status"] for step in done["SecondaryStatusTransitions"]]
    assert steps == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    measured = {metric["MetricName"]: metric["Value"] for metric in done["FinalMetricDataList"]}
    assert measured == {"loss": 0.25, "error": 0.125}  # the last of standard output, and of standard error
    assert done["BillableTimeInSeconds"] >= 1


def test_two_hosts_make_one_model(place: Place) -> None:
    """Each host has its shard of the data, and knows of the other; the archive holds what both wrote."""
    done = place.train("two-hosts", hosts=2, distribution="ShardedByS3Key")
    assert done["TrainingJobStatus"] == "Completed", done.get("FailureReason")
    model = {n: json.loads(t) for n, t in place.archive(done["ModelArtifacts"]["S3ModelArtifacts"]).items()}
    assert set(model) == {"algo-1.json", "algo-2.json"}
    assert model["algo-2.json"]["hosts"]["current_host"] == "algo-2"
    assert model["algo-2.json"]["hosts"]["hosts"] == ["algo-1", "algo-2"]
    shards = [set(found["data"]) for found in model.values()]
    assert shards[0] | shards[1] == {"data/a.txt", "data/c.txt", "data/deep/b.txt"}
    assert not shards[0] & shards[1]


def test_files_of_one_name_on_two_hosts_fail_the_job(place: Place) -> None:
    """An archive has no place for two files of one name: the job fails and names it."""
    done = place.train("clash", hosts=2, HyperParameters={"do": "clash"})
    assert done["TrainingJobStatus"] == "Failed"
    assert "same.json" in done["FailureReason"]


def test_failure_file_is_the_reason(place: Place) -> None:
    """A program that exits with another code than 0 fails the job, with what it wrote into its failure file."""
    done = place.train("fails", HyperParameters={"do": "fail"})
    assert (done["TrainingJobStatus"], done["SecondaryStatus"]) == ("Failed", "Failed")
    assert done["FailureReason"].startswith("AlgorithmError: no luck xxx")
    assert len(done["FailureReason"]) <= 1024
    assert not place.keys("out/fails/output/model")


def test_reason_is_that_of_the_host_that_failed_first(place: Place) -> None:
    """The others are ended for its sake, and may write so into their failure files."""
    done = place.train("second-fails", hosts=2, HyperParameters={"do": "second fails"})
    assert done["FailureReason"] == "AlgorithmError: ended with 7, exit code: 7"


def test_program_that_writes_nothing_completes_without_a_model(place: Place) -> None:
    """Exit code 0 completes the job even if there is nothing to upload."""
    done = place.train("nothing", HyperParameters={"do": "nothing"})
    assert done["TrainingJobStatus"] == "Completed"
    assert not place.keys("out/nothing")


def test_stop_gives_time_to_finish(place: Place) -> None:
    """A stopped job gets SIGTERM, and what it then writes is uploaded."""
    place.aws.create_training_job(**place.request("stops", HyperParameters={"do": "stop"}))
    log_has(place, "stops", "waiting")
    place.aws.stop_training_job(TrainingJobName="stops")
    done = place.trained("stops")
    assert (done["TrainingJobStatus"], done["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert place.archive(done["ModelArtifacts"]["S3ModelArtifacts"]) == {"partial.txt": "what there was"}
    assert code_of(lambda: place.aws.stop_training_job(TrainingJobName="stops")) == "ValidationException"


def test_job_that_runs_too_long_is_stopped(place: Place) -> None:
    """After MaxRuntimeInSeconds the job is stopped like any other."""
    limit = {"MaxRuntimeInSeconds": 10}
    done = place.train("too-long", HyperParameters={"do": "stop"}, StoppingCondition=limit)
    assert (done["TrainingJobStatus"], done["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_log_and_metrics_are_where_sagemaker_puts_them(place: Place) -> None:
    """The output of each host is a stream, and what the expressions find is in CloudWatch."""
    place.train("observed")
    log_has(place, "observed", "epoch=2")
    found = client(place.running, "cloudwatch").get_metric_statistics(
        Namespace="/aws/sagemaker/TrainingJobs",
        MetricName="loss",
        Dimensions=[{"Name": "TrainingJobName", "Value": "observed"}],
        StartTime=time.time() - 600,
        EndTime=time.time() + 60,
        Period=3600,
        Statistics=["SampleCount", "Minimum"],
    )["Datapoints"]
    assert [(point["SampleCount"], point["Minimum"]) for point in found] == [(2, 0.25)]


def test_checkpoints_pass_to_the_next_job(place: Place) -> None:
    """What a job wrote into its checkpoints is there in the next one with the same place."""
    config = {"S3Uri": f"s3://{place.bucket}/checkpoints/one"}
    for number, resumed in ((1, ""), (2, "step ")):
        done = place.train(f"resumes-{number}", CheckpointConfig=config)
        assert done["TrainingJobStatus"] == "Completed", done.get("FailureReason")
        assert (
            json.loads(place.archive(done["ModelArtifacts"]["S3ModelArtifacts"])["algo-1.json"])["resumed"] == resumed
        )


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("reads", "Data download failed"), ("writes", "Artifact upload failed"), ("pulls", "ecr:BatchGetImage")],
)
def test_job_has_its_roles_rights_only(place: Place, missing: str, reason: str) -> None:
    """Data, artifacts and image are read and written with the execution role's own rights."""
    rights = {"reads": place.reads, "writes": place.writes, "pulls": pulls(place.registry)}
    statements = [s for name, group in rights.items() if name != missing for s in group]
    done = place.train(f"lacks-{missing}", RoleArn=role(place.running, f"lacks-{missing}", *statements))
    assert done["TrainingJobStatus"] == "Failed"
    assert done["FailureReason"].startswith("ClientError: ")
    assert reason in done["FailureReason"]


def test_jobs_are_listed_by_status(place: Place) -> None:
    """Lists have the jobs of the status and the part of a name that are asked for."""
    place.train("listed-good", HyperParameters={"do": "nothing"})
    place.train("listed-bad", HyperParameters={"do": "fail"})
    for status, name in (("Completed", "listed-good"), ("Failed", "listed-bad")):
        found = place.aws.list_training_jobs(NameContains="listed", StatusEquals=status)["TrainingJobSummaries"]
        assert [job["TrainingJobName"] for job in found] == [name]
    processing(place, "listed")
    found = place.aws.list_processing_jobs(NameContains="listed")["ProcessingJobSummaries"]
    assert [job["ProcessingJobStatus"] for job in found] == ["Completed"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"TrainingJobName": "taken"}, "ResourceInUse"),
        ({"RoleArn": "arn:aws:iam::123456789012:role/none"}, "ValidationException"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "ValidationException"),
        ({"EnableManagedSpotTraining": True}, "ValidationException"),
        ({"VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["s-1"]}}, "ValidationException"),
    ],
)
def test_job_that_can_not_run_is_refused(place: Place, changes: dict[str, Any], code: str) -> None:
    """A name that is taken, a role that isn't there, a limit out of range and what isn't emulated start nothing."""
    if "TrainingJobName" in changes:
        place.train("taken", HyperParameters={"do": "nothing"})
    request = {**place.request("refused-job"), **changes}
    assert code_of(lambda: place.aws.create_training_job(**request)) == code
    assert not place.aws.list_training_jobs(NameContains="refused-job")["TrainingJobSummaries"]


def test_pipe_mode_is_refused(place: Place) -> None:
    """What isn't emulated is refused in words: here streams instead of files."""
    request = place.request("pipes")
    request["AlgorithmSpecification"]["TrainingInputMode"] = "Pipe"
    with pytest.raises(ClientError, match="emulates TrainingInputMode File and FastFile only, not Pipe"):
        place.aws.create_training_job(**request)
