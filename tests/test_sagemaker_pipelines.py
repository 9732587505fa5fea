"""SageMaker's pipelines on the embedded AWS: their steps are real jobs, with the rights of the pipeline's role."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from made_images import allow, role
from sagemaker_jobs import Place, log_has
from sagemaker_serving import message_of

from ml_delivery import emulator
from ml_delivery.waiting import wait

NUMBER = "123456789012"


class Pipes(Place):
    """What pipelines need beside jobs: a role that may create them."""

    def __init__(self, running: emulator.Running) -> None:
        super().__init__(running, "pipes")
        ours = f"arn:aws:sagemaker:eu-west-1:{NUMBER}"
        jobs = [f"{ours}:{kind}/pipelines-*" for kind in ("processing-job", "training-job")]
        verbs = [
            f"sagemaker:{verb}{kind}Job"
            for verb in ("Create", "Describe", "Stop")
            for kind in ("Processing", "Training")
        ]
        packages = allow(
            "sagemaker:CreateModelPackage", "sagemaker:DescribeModelPackage", on=f"{ours}:model-package/pipes/*"
        )
        self.jobs, self.passes = allow(*verbs, on=jobs), allow("iam:PassRole", on=self.role)
        self.own = role(running, "pipes-own", self.jobs, self.passes, packages)
        self.aws.create_model_package_group(ModelPackageGroupName="pipes")

    def definition(self, **training: Any) -> dict[str, Any]:
        """Process, train on what that wrote, and register the model if its loss is small enough, else fail."""
        cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
        source = {"S3Uri": f"s3://{self.bucket}/in/", "LocalPath": "/opt/ml/processing/in", "S3DataType": "S3Prefix"}
        target = {
            "S3Uri": f"s3://{self.bucket}/out/data",
            "LocalPath": "/opt/ml/processing/out",
            "S3UploadMode": "EndOfJob",
        }
        process = {
            "RoleArn": self.role,
            "AppSpecification": {"ImageUri": self.image},
            "ProcessingResources": {"ClusterConfig": cluster},
            "ProcessingInputs": [{"InputName": "in", "S3Input": {**source, "S3InputMode": "File"}}],
            "ProcessingOutputConfig": {"Outputs": [{"OutputName": "out", "S3Output": target}]},
        }
        train = self.request("", **training)
        del train["TrainingJobName"]
        data = {"Get": "Steps.process.ProcessingOutputConfig.Outputs['out'].S3Output.S3Uri"}
        train["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = data
        model = {"Image": self.image, "ModelDataUrl": {"Get": "Steps.train.ModelArtifacts.S3ModelArtifacts"}}
        register = {
            "ModelPackageGroupName": "pipes",
            "ModelPackageDescription": {"Get": "Steps.process.ExitMessage"},
            "InferenceSpecification": {"Containers": [model]},
        }
        loss = {"Get": "Steps.train.FinalMetricDataList['loss'].Value"}
        limit = {"Get": "Parameters.Limit"}
        gate = {
            "Conditions": [{"Type": "LessThanOrEqualTo", "LeftValue": loss, "RightValue": limit}],
            "IfSteps": [{"Name": "register", "Type": "RegisterModel", "Arguments": register}],
            "ElseSteps": [{"Name": "refused", "Type": "Fail", "Arguments": {"ErrorMessage": "too large a loss"}}],
        }
        return {
            "Version": "2020-12-01",
            "Parameters": [{"Name": "Limit", "Type": "Float", "DefaultValue": 0.3}],
            "Steps": [  # in another order than the one in which they can run
                {"Name": "gate", "Type": "Condition", "Arguments": gate},
                {"Name": "train", "Type": "Training", "Arguments": train},
                {"Name": "process", "Type": "Processing", "Arguments": process},
            ],
        }

    def create(self, name: str, definition: dict[str, Any], own: str = "") -> str:
        given = {"PipelineName": name, "PipelineDefinition": json.dumps(definition), "RoleArn": own or self.own}
        arn: str = self.aws.create_pipeline(**given)["PipelineArn"]
        return arn

    def start(self, name: str, **values: str) -> str:
        given = [{"Name": key, "Value": value} for key, value in values.items()]
        arn: str = self.aws.start_pipeline_execution(PipelineName=name, PipelineParameters=given)[
            "PipelineExecutionArn"
        ]
        return arn

    def ended(self, arn: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """The execution once it has ended, and its steps by name."""

        def done() -> dict[str, Any] | None:
            found: dict[str, Any] = self.aws.describe_pipeline_execution(PipelineExecutionArn=arn)
            return found if found["PipelineExecutionStatus"] not in ("Executing", "Stopping") else None

        found = wait(done, what=arn, seconds=110)
        return found, {step["StepName"]: step for step in self.steps(arn)}

    def steps(self, arn: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.aws.list_pipeline_execution_steps(
            PipelineExecutionArn=arn, SortOrder="Ascending"
        )["PipelineExecutionSteps"]
        return found


@pytest.fixture(scope="module")
def place(running: emulator.Running) -> Pipes:
    return Pipes(running)


def test_pipeline_runs_its_steps(place: Pipes) -> None:
    """Each step waits for what it refers to, and gets the values of the steps before; the condition chooses."""
    arn = place.create("whole", place.definition())
    assert place.aws.describe_pipeline(PipelineName="whole")["PipelineStatus"] == "Active"
    assert "must be unique" in message_of(lambda: place.create("whole", place.definition()))
    found, steps = place.ended(place.start("whole"))
    assert found["PipelineExecutionStatus"] == "Succeeded", steps
    assert list(steps) == ["process", "train", "gate", "register"]
    assert {step["StepStatus"] for step in steps.values()} == {"Succeeded"}
    assert steps["gate"]["Metadata"]["Condition"] == {"Outcome": "True"}
    job = place.aws.describe_training_job(
        TrainingJobName=steps["train"]["Metadata"]["TrainingJob"]["Arn"].split("/")[1]
    )
    made = json.loads(place.archive(job["ModelArtifacts"]["S3ModelArtifacts"])["algo-1.json"])
    assert made["data"] == {"data/algo-1.txt": "ONE THREE TWO "}
    package = place.aws.describe_model_package(ModelPackageName=steps["register"]["Metadata"]["RegisterModel"]["Arn"])
    (container,) = package["InferenceSpecification"]["Containers"]
    assert container["ModelDataUrl"] == job["ModelArtifacts"]["S3ModelArtifacts"]
    assert package["ModelPackageDescription"].startswith("read pipelines-")
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    listing = {"PipelineExecutionArn": found["PipelineExecutionArn"], "SortOrder": "Ascending", "MaxResults": 3}
    first = place.aws.list_pipeline_execution_steps(**listing)
    rest = place.aws.list_pipeline_execution_steps(**listing, NextToken=first["NextToken"])
    pages = [*first["PipelineExecutionSteps"], *rest["PipelineExecutionSteps"]]
    assert [step["StepName"] for step in pages] == list(steps)
    assert "Invalid pagination token" in message_of(
        lambda: place.aws.list_pipeline_execution_steps(**listing, NextToken="x")
    )
    assert "The pipeline has no parameter Other" in message_of(lambda: place.start("whole", Other="1"))
    assert "The parameter Limit is no Float" in message_of(lambda: place.start("whole", Limit="small"))
    assert place.aws.delete_pipeline(PipelineName="whole")["PipelineArn"] == arn
    assert "does not exist" in message_of(lambda: place.aws.describe_pipeline(PipelineName="whole"))


def test_failed_step_ends_the_execution(place: Pipes) -> None:
    """A job that fails, a Fail step, and a right that the role lacks: the step has the reason, and nothing after it runs."""
    place.create("fails", place.definition(HyperParameters={"do": "fail"}))
    found, steps = place.ended(place.start("fails"))
    assert (found["PipelineExecutionStatus"], list(steps)) == ("Failed", ["process", "train"])
    assert "AlgorithmError: no luck" in steps["train"]["FailureReason"]
    definition = place.definition()
    del definition["Steps"][2], definition["Steps"][1]["Arguments"]["InputDataConfig"]
    gate = definition["Steps"][0]["Arguments"]
    gate["IfSteps"] = []
    place.aws.update_pipeline(PipelineName="fails", PipelineDefinition=json.dumps(definition))
    found, steps = place.ended(place.start("fails", Limit="0.1"))
    assert (found["PipelineExecutionStatus"], found["FailureReason"]) == ("Failed", "too large a loss")
    assert steps["gate"]["Metadata"]["Condition"] == {"Outcome": "False"}
    assert steps["refused"]["Metadata"]["Fail"] == {"ErrorMessage": "too large a loss"}
    lacks = role(place.running, "pipes-lacks", place.jobs)
    place.aws.update_pipeline(PipelineName="fails", RoleArn=lacks)
    found, steps = place.ended(place.start("fails"))
    assert found["PipelineExecutionStatus"] == "Failed"
    assert "iam:PassRole" in steps["train"]["FailureReason"]
    assert list(steps) == ["train"]


def test_stopped_execution_stops_its_job(place: Pipes) -> None:
    """The job of the step that runs gets its signal; no other step begins."""
    place.create("stops", place.definition(HyperParameters={"do": "stop"}))
    arn = place.start("stops")

    def training() -> str | None:
        found = {step["StepName"]: step for step in place.steps(arn)}
        job = found.get("train", {}).get("Metadata", {}).get("TrainingJob")
        return str(job["Arn"]).rpartition("/")[2] if job else None

    job = wait(training, what="the training", seconds=60)
    log_has(place, job, "waiting")
    assert "has an execution that runs" in message_of(lambda: place.aws.delete_pipeline(PipelineName="stops"))
    assert place.aws.stop_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionArn"] == arn
    found, steps = place.ended(arn)
    assert (found["PipelineExecutionStatus"], steps["train"]["StepStatus"]) == ("Stopped", "Stopped")
    assert list(steps) == ["process", "train"]
    assert place.aws.describe_training_job(TrainingJobName=job)["TrainingJobStatus"] == "Stopped"
    assert "has the status Stopped" in message_of(lambda: place.aws.stop_pipeline_execution(PipelineExecutionArn=arn))


def changed(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(definition: dict[str, Any]) -> None:
        place: Any = definition
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (changed("Version", to="2019"), "its version is '2019', not 2020-12-01"),
        (changed("Steps", to=[]), "it has no steps"),
        (changed("Parameters", 0, "Type", to="Date"), "the parameter Limit is of the unknown type Date"),
        (
            changed("Steps", 1, "Type", to="Lambda"),
            "does not emulate pipeline steps of the type Lambda (train, CreatePipeline)",
        ),
        (
            changed("Steps", 1, "CacheConfig", to={"Enabled": True}),
            "does not emulate CacheConfig of a pipeline's step (train",
        ),
        (
            changed("Steps", 1, "Arguments", "VpcConfig", to={"Subnets": ["s"]}),
            "does not emulate VPCs (CreateTrainingJob)",
        ),
        (
            changed("Steps", 1, "Arguments", "ProfilerConfig", to={"DisableProfiler": False}),
            "DisableProfiler True only",
        ),
        (
            changed("Steps", 2, "Arguments", "ProcessingInputs", 0, "AppManaged", to=True),
            "emulates AppManaged False only",
        ),
        (changed("Steps", 1, "Name", to="process"), "two steps have the same name"),
        (changed("Steps", 2, "DependsOn", to=["train"]), "the steps gate, train, process need each other"),
        (changed("Steps", 2, "DependsOn", to=["other"]), "the step process needs other, which is no step"),
        (changed("Steps", 2, "DependsOn", to=["register"]), "the step process needs register, which is no step"),
        (changed("Steps", 1, "Arguments", "RoleArn", to={"Get": "Parameters.Role"}), "refers to Parameters.Role"),
        (
            changed("Steps", 1, "Arguments", "RoleArn", to={"Std:JsonGet": {}}),
            "does not emulate Std:JsonGet in a pipeline",
        ),
        (
            changed("Steps", 0, "Arguments", "Conditions", 0, "Type", to="In"),
            "does not emulate conditions of the type In",
        ),
        (changed("Steps", 0, "Arguments", "Conditions", to=[]), "the condition gate compares nothing"),
        (
            changed("Steps", 0, "Arguments", "ElseSteps", 0, "Type", to="Tuning"),
            "a step of the type Tuning, which it can't",
        ),
    ],
)
def test_what_is_not_executed_is_refused_at_once(
    place: Pipes, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    """A definition that is wrong, or has what the emulator doesn't do, is refused when it is created."""
    definition = copy.deepcopy(place.definition())
    change(definition)
    assert says in message_of(lambda: place.create("wrong", definition))
