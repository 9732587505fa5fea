"""SageMaker's models, configurations, registry and tags on the embedded AWS: checks, rights, and what is refused in words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from emulated import client, code_of
from made_images import Registry, allow, pulls, role, user

from ml_delivery import emulator

SERVICE = "arn:aws:sagemaker:eu-west-1:123456789012"
CLIENT_CHECKS_NOTHING = {"parameter_validation": False}


class Place:
    """An image that isn't run, a role, and a client that sends whatever it is given."""

    def __init__(self, running: emulator.Running) -> None:
        self.running = running
        self.aws = client(running, "sagemaker", **CLIENT_CHECKS_NOTHING)
        self.registry = Registry(running, "models")
        self.image = self.registry.push("1", "")
        self.role = role(running, "models", *pulls(self.registry))

    def model(self, name: str, **changes: Any) -> dict[str, Any]:
        given = {"ModelName": name, "ExecutionRoleArn": self.role, "PrimaryContainer": {"Image": self.image}}
        return dict(self.aws.create_model(**{**given, **changes}))

    def variant(self, **changes: Any) -> dict[str, Any]:
        given = {"VariantName": "v", "ModelName": "kept", "InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}
        return {**given, **changes}

    def config(self, name: str, *variants: dict[str, Any], **changes: Any) -> dict[str, Any]:
        given = {"EndpointConfigName": name, "ProductionVariants": list(variants) or [self.variant()]}
        return dict(self.aws.create_endpoint_config(**{**given, **changes}))


@pytest.fixture(scope="module")
def place(running: emulator.Running) -> Place:
    made = Place(running)
    made.model("kept", Tags=[{"Key": "team", "Value": "prices"}])
    return made


def error_of(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as fault:
        call()
    return fault.value.response["Error"]["Code"], fault.value.response["Error"]["Message"]


def test_model_is_created_described_listed_deleted(place: Place) -> None:
    """A model is what was created, has a name of its own, and is gone after its deletion."""
    assert place.model("Mine")["ModelArn"] == f"{SERVICE}:model/mine"
    found = place.aws.describe_model(ModelName="Mine")
    assert (found["PrimaryContainer"], found["ExecutionRoleArn"]) == ({"Image": place.image}, place.role)
    assert error_of(lambda: place.model("Mine"))[1].startswith("Cannot create already existing model")
    assert [m["ModelName"] for m in place.aws.list_models(NameContains="min")["Models"]] == ["Mine"]
    place.aws.delete_model(ModelName="Mine")
    code, message = error_of(lambda: place.aws.describe_model(ModelName="Mine"))
    assert (code, message) == ("ValidationException", f'Could not find model "{SERVICE}:model/mine".')


def test_configuration_is_created_described_listed_deleted(place: Place) -> None:
    """A configuration has the default weight 1, unique variants, and models that exist."""
    place.config("one")
    found = place.aws.describe_endpoint_config(EndpointConfigName="one")
    assert found["ProductionVariants"] == [place.variant(InitialVariantWeight=1.0)]
    listed = place.aws.list_endpoint_configs(NameContains="one")["EndpointConfigs"]
    assert [c["EndpointConfigName"] for c in listed] == ["one"]
    assert "already existing" in error_of(lambda: place.config("one"))[1]
    assert "must be unique" in error_of(lambda: place.config("two", place.variant(), place.variant()))[1]
    assert "Could not find model" in error_of(lambda: place.config("two", place.variant(ModelName="none")))[1]
    place.aws.delete_endpoint_config(EndpointConfigName="one")
    assert code_of(lambda: place.aws.describe_endpoint_config(EndpointConfigName="one")) == "ValidationException"


def test_lists_come_in_pages(place: Place) -> None:
    """A list has at most MaxResults entries, the newest first, and a token for the rest."""
    for number in range(5):
        place.config(f"page-{number}")
    pages, token = [], {}
    while True:
        page = place.aws.list_endpoint_configs(NameContains="page-", MaxResults=2, **token)
        pages.append([c["EndpointConfigName"] for c in page["EndpointConfigs"]])
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert len(place.aws.list_endpoint_configs()["EndpointConfigs"]) >= 5
    assert pages == [["page-4", "page-3"], ["page-2", "page-1"], ["page-0"]]
    by_name = place.aws.list_endpoint_configs(NameContains="page-", SortBy="Name", SortOrder="Ascending")
    assert by_name["EndpointConfigs"][0]["EndpointConfigName"] == "page-0"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ModelName": "x" * 64}, "'modelName' failed to satisfy constraint: Member must have length less than"),
        ({"ModelName": "a_b"}, "Member must satisfy regular expression pattern"),
        ({"ModelName": None}, "Value null at 'modelName' failed to satisfy constraint: Member must not be null"),
        ({"ExecutionRoleArn": "arn:aws:iam::1:role/x"}, "executionRoleArn"),
        ({"PrimaryContainer": {"Image": "a b"}}, "primaryContainer.image"),
        ({"ModelName": 5}, "Value '5' at 'modelName' failed to satisfy constraint: Member must be a string"),
        ({"PrimaryContainer": {"Environment": {"1": "x"}, "Image": "x"}}, "primaryContainer.environment.key"),
        ({"Tags": [{"Key": "x" * 129, "Value": ""}]}, "tags.1.member.key"),
    ],
)
def test_request_is_checked_by_awss_own_model(place: Place, changes: dict[str, Any], words: str) -> None:
    """Names, lengths, patterns and types are AWS's, and the message says which member breaks which."""
    given = {k: v for k, v in {"ModelName": "refused", **changes}.items() if v is not None}
    code, message = error_of(
        lambda: place.model(given.pop("ModelName"), **given) if "ModelName" in given else bare(place)
    )
    assert code == "ValidationException"
    assert words in message


def bare(place: Place) -> None:
    place.aws.create_model(ExecutionRoleArn=place.role)


def test_image_and_role_must_exist(place: Place) -> None:
    """An unknown image, a role that isn't there, trusts another service or may not pull is refused at once."""
    untrusting = role(place.running, "untrusting", *pulls(place.registry), service="lambda.amazonaws.com")
    powerless = role(place.running, "powerless")
    missing = f"arn:aws:iam::{place.running.account}:role/missing"
    for changes, words in (
        ({"PrimaryContainer": {"Image": f"{place.registry.uri}:none"}}, "not found"),
        ({"ExecutionRoleArn": missing}, "Could not assume role"),
        ({"ExecutionRoleArn": untrusting}, "Could not assume role"),
        ({"ExecutionRoleArn": powerless}, "ecr:BatchGetImage"),
    ):
        code, message = error_of(functools.partial(place.model, "refused", **changes))
        assert code == "ValidationException"
        assert words in message


@pytest.mark.parametrize(
    ("operation", "request_", "words"),
    [
        (
            "create_endpoint_config",
            {"variants": {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}},
            "serverless",
        ),
        ("create_endpoint_config", {"AsyncInferenceConfig": {"OutputConfig": {}}}, "asynchronous"),
        ("create_endpoint_config", {"ShadowProductionVariants": [{"VariantName": "s", "ModelName": "kept"}]}, "shadow"),
        ("create_endpoint_config", {}, ""),
        (
            "create_inference_component",
            {"InferenceComponentName": "i", "EndpointName": "e"},
            "CreateInferenceComponent",
        ),
        ("create_notebook_instance", {"NotebookInstanceName": "n"}, "CreateNotebookInstance"),
    ],
)
def test_what_is_not_emulated_is_refused_in_words(
    place: Place, operation: str, request_: dict[str, Any], words: str
) -> None:
    """Nothing is answered in part: the message names what isn't emulated."""
    given = {k: v for k, v in request_.items() if v is not None and k != "variants"}
    if operation == "create_endpoint_config":
        given["EndpointConfigName"] = "refused"
        given["ProductionVariants"] = [place.variant(**request_.get("variants", {}))]
    if not words:
        place.aws.create_endpoint_config(**given)  # the same request without it is accepted
        place.aws.delete_endpoint_config(EndpointConfigName="refused")
        return
    _, message = error_of(lambda: getattr(place.aws, operation)(**given))
    assert message.startswith("the embedded AWS does not emulate")
    assert words in message


def test_tags_are_added_listed_removed(place: Place) -> None:
    """A resource's tags are those of its creation, plus added, minus removed; one that doesn't exist has none."""
    arn = f"{SERVICE}:model/kept"
    place.aws.add_tags(ResourceArn=arn, Tags=[{"Key": "cost", "Value": "1"}])
    assert place.aws.list_tags(ResourceArn=arn)["Tags"] == [
        {"Key": "team", "Value": "prices"},
        {"Key": "cost", "Value": "1"},
    ]
    place.aws.delete_tags(ResourceArn=arn, TagKeys=["cost"])
    assert len(place.aws.list_tags(ResourceArn=arn)["Tags"]) == 1
    assert code_of(lambda: place.aws.list_tags(ResourceArn=f"{SERVICE}:model/none")) == "ValidationException"
    assert (
        code_of(lambda: place.aws.add_tags(ResourceArn=arn, Tags=[{"Key": "aws:x", "Value": ""}]))
        == "ValidationException"
    )


def test_registry_counts_versions_and_only_approved_ones_become_models(place: Place) -> None:
    """A group's packages are numbered; a model of one that waits for approval is refused."""
    place.aws.create_model_package_group(ModelPackageGroupName="prices")
    contents = {"Containers": [{"Image": place.image}], "SupportedContentTypes": ["text/csv"]}
    contents["SupportedResponseMIMETypes"] = ["text/csv"]
    arns = [
        place.aws.create_model_package(
            ModelPackageGroupName="prices",
            InferenceSpecification=contents,
            MetadataProperties={"CommitId": f"c{number}"},
            CustomerMetadataProperties={"data": "digest"},
        )["ModelPackageArn"]
        for number in (1, 2)
    ]
    assert arns == [f"{SERVICE}:model-package/prices/{number}" for number in (1, 2)]
    found = place.aws.describe_model_package(ModelPackageName=arns[1])
    assert (found["ModelPackageVersion"], found["ModelApprovalStatus"]) == (2, "PendingManualApproval")
    assert (found["MetadataProperties"]["CommitId"], found["CustomerMetadataProperties"]) == ("c2", {"data": "digest"})
    container = {"ModelPackageName": arns[1]}
    assert "is not approved" in error_of(lambda: place.model("packaged", PrimaryContainer=container))[1]
    place.aws.update_model_package(ModelPackageArn=arns[1], ModelApprovalStatus="Approved", ApprovalDescription="good")
    place.model("packaged", PrimaryContainer=container)
    approved = place.aws.list_model_packages(ModelPackageGroupName="prices", ModelApprovalStatus="Approved")
    assert [p["ModelPackageArn"] for p in approved["ModelPackageSummaryList"]] == [arns[1]]
    several = place.aws.batch_describe_model_package(ModelPackageArnList=[arns[0], f"{SERVICE}:model-package/none/1"])
    assert (list(several["ModelPackageSummaries"]), len(several["BatchDescribeModelPackageErrorMap"])) == ([arns[0]], 1)
    assert code_of(lambda: place.aws.delete_model_package_group(ModelPackageGroupName="prices")) == "ConflictException"
    groups = place.aws.list_model_package_groups(NameContains="pri")["ModelPackageGroupSummaryList"]
    assert [group["ModelPackageGroupName"] for group in groups] == ["prices"]
    for arn in arns:
        place.aws.delete_model_package(ModelPackageName=arn)
    place.aws.delete_model_package_group(ModelPackageGroupName="prices")
    assert (
        code_of(lambda: place.aws.describe_model_package_group(ModelPackageGroupName="prices")) == "ValidationException"
    )


def test_caller_needs_the_right_on_the_resource_and_to_pass_the_role(place: Place) -> None:
    """CreateModel needs sagemaker:CreateModel on that model and iam:PassRole for SageMaker; tags need AddTags."""
    own = allow("sagemaker:CreateModel", on=f"{SERVICE}:model/own-*")
    passes = {**allow("iam:PassRole", on=place.role), "Condition": equals("sagemaker.amazonaws.com")}
    elsewhere = {**allow("iam:PassRole", on=place.role), "Condition": equals("lambda.amazonaws.com")}
    given = {"ExecutionRoleArn": place.role, "PrimaryContainer": {"Image": place.image}}
    full = user(place.running, "full", "sagemaker", own, passes)
    full.create_model(ModelName="own-1", **given)
    denied = [
        lambda: full.create_model(ModelName="other-1", **given),
        lambda: full.create_model(ModelName="own-2", Tags=[{"Key": "a", "Value": "b"}], **given),
        lambda: full.describe_model(ModelName="own-1"),
        lambda: user(place.running, "no-pass", "sagemaker", own).create_model(ModelName="own-3", **given),
        lambda: user(place.running, "else", "sagemaker", own, elsewhere).create_model(ModelName="own-4", **given),
    ]
    for call in denied:
        assert code_of(call).startswith("AccessDenied")
    names = {model["ModelName"] for model in place.aws.list_models(NameContains="own-")["Models"]}
    assert names == {"own-1"}


def equals(service: str) -> dict[str, Any]:
    return {"StringEquals": {"iam:PassedToService": service}}


def test_invoking_needs_a_right_on_the_endpoint(place: Place) -> None:
    """Who may invoke one endpoint may not invoke another, whether or not it exists."""
    given = user(
        place.running, "invoker", "sagemaker-runtime", allow("sagemaker:InvokeEndpoint", on=f"{SERVICE}:endpoint/mine")
    )
    assert code_of(lambda: given.invoke_endpoint(EndpointName="mine", Body=b"")) == "ValidationError"  # there is none
    assert code_of(lambda: given.invoke_endpoint(EndpointName="yours", Body=b"")).startswith("AccessDenied")


def test_listing_trials_needs_a_right_on_their_tuning_job(place: Place) -> None:
    """Who may list the training jobs of one tuning job may not list those of another."""
    action = "sagemaker:ListTrainingJobsForHyperParameterTuningJob"
    given = user(place.running, "lister", "sagemaker", allow(action, on=f"{SERVICE}:hyper-parameter-tuning-job/mine"))
    listed = given.list_training_jobs_for_hyper_parameter_tuning_job
    assert code_of(lambda: listed(HyperParameterTuningJobName="mine")) == "ResourceNotFound"  # there is none
    assert code_of(lambda: listed(HyperParameterTuningJobName="yours")).startswith("AccessDenied")
