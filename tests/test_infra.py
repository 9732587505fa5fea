"""What an environment stands on: planned, shown, applied, refused, and applied again when its template changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tiny import INFRA, Tiny

from ml_delivery.account import change_sets, stacks
from ml_delivery.artifact import build
from ml_delivery.artifact import push as pushing
from ml_delivery.cloud import Cloud
from ml_delivery.errors import CloudError, ConfigError, Refused
from ml_delivery.records import Foundation
from ml_delivery.release import plan as planning
from ml_delivery.release.delivery import Delivery

FOUNDATION = (INFRA / "foundation.yaml").read_text()
LONGER = FOUNDATION.replace("NoncurrentDays: 90", "NoncurrentDays: 60")


@pytest.fixture
def own(tiny: Tiny) -> Tiny:
    """A tiny service with a foundation template of its own, to be changed."""
    tiny.write("infra/foundation.yaml", FOUNDATION)
    tiny.commit()
    return tiny


def opened(tiny: Tiny) -> Cloud:
    return Cloud.open(tiny.config, tiny.config.environment("main"), "embedded")


def planned(tiny: Tiny) -> change_sets.InfraPlan:
    return change_sets.plan(stacks.service(tiny.config, tiny.config.environment("main")), opened(tiny))


def test_stack_of_another_target_is_refused_in_words(tiny: Tiny) -> None:
    """An environment that was given another target, and not bootstrapped since, lacks outputs that the target reads."""
    found = tiny.open()
    stale = Foundation(found.foundation.bucket, {"Bucket": found.foundation.bucket}, current=False)
    other = Delivery(found.config, found.environment, found.cloud, stale)
    for read in (other.deployer.settings, lambda: list(other.deployer.logs(0))):
        with pytest.raises(CloudError, match="the stack of production has no ") as fault:
            read()
        assert fault.value.next == "invoke bootstrap --branch main"


def test_plan_names_each_resource_and_changes_nothing(own: Tiny) -> None:
    """A change set is shown before it is carried out; discarded, it leaves no stack behind."""
    plan = planned(own)
    assert {(c.action, c.type) for c in plan.changes} == {
        ("Add", "AWS::S3::Bucket"),
        ("Add", "AWS::S3::BucketPolicy"),
        ("Add", "AWS::Logs::LogGroup"),
        ("Add", "AWS::IAM::Role"),
    }
    change_sets.discard(opened(own), plan)
    assert change_sets.foundation(own.config, own.config.environment("main"), opened(own)) is None


def test_applied_twice_changes_nothing(own: Tiny) -> None:
    """What stands is found, is current, and a second plan is empty."""
    change_sets.apply(opened(own), planned(own))
    found = change_sets.foundation(own.config, own.config.environment("main"), opened(own))
    assert found is not None
    assert found.current
    assert found.bucket == f"{own.name}-production-123456789012"
    again = planned(own)
    assert (again.change_set, again.changes) == ("", ())


def test_bucket_is_private_versioned_and_encrypted(own: Tiny) -> None:
    """The artifact bucket is closed to the public, keeps versions and encrypts."""
    change_sets.apply(opened(own), planned(own))
    s3, bucket = opened(own).client("s3"), f"{own.name}-production-123456789012"
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert set(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert '"aws:SecureTransport"' in s3.get_bucket_policy(Bucket=bucket)["Policy"]


def test_changed_template_is_seen_shown_and_applied(own: Tiny) -> None:
    """A change of the template is in the deploy's plan; a deploy on the embedded cloud applies it by itself."""
    own.deploy()
    own.write("infra/foundation.yaml", LONGER)
    own.commit()
    assert not own.open(prepare=False).foundation.current
    own.push()  # the embedded cloud brings it up to date
    assert own.open(prepare=False).foundation.current
    bucket = f"{own.name}-production-123456789012"
    rules = opened(own).client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rules[1]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 60


def test_deploy_on_an_old_foundation_is_refused(own: Tiny) -> None:
    """Where nothing is brought up to date by itself, a deploy says what to run."""
    from ml_delivery.release import deploy

    own.deploy()
    own.write("infra/foundation.yaml", LONGER)
    own.commit()
    pushing.push(own.open(prepare=False), build.build(own.config))
    assert "infrastructure" in [change.what for change in planning.make(own.open(prepare=False)).changes]
    with pytest.raises(Refused, match="the stack of production is not up to date") as refusal:
        deploy.deploy(own.open(prepare=False), report=lambda step: None)
    assert refusal.value.next.startswith("invoke bootstrap --branch main")


def test_template_that_does_not_stand_is_refused_with_the_reason(own: Tiny) -> None:
    """CloudFormation's own reason reaches the user, and nothing is left behind."""
    own.write("infra/foundation.yaml", FOUNDATION.replace("AWS::S3::BucketPolicy", "AWS::S3::BucketPolicies"))
    with pytest.raises(CloudError) as fault:
        change_sets.apply(opened(own), planned(own))
    assert "AWS::S3::BucketPolicies" in fault.value.message
    assert change_sets.foundation(own.config, own.config.environment("main"), opened(own)) is None


def test_stack_that_could_not_be_made_is_made_anew(tiny_alone: Tiny) -> None:
    """After a creation that was rolled back, the stack is created once more: CloudFormation updates no such stack."""
    stack, cloud = stacks.github(tiny_alone.config), opened(tiny_alone)
    iam = cloud.client("iam")
    in_the_way = iam.create_open_id_connect_provider(Url=f"https://{stacks.ISSUER}", ClientIDList=["another"])
    with pytest.raises(CloudError, match="ended as ROLLBACK_COMPLETE: Provider: "):
        change_sets.ensure(stack, cloud)
    assert change_sets.state(stack, cloud) == "ROLLBACK_COMPLETE"
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=in_the_way["OpenIDConnectProviderArn"])
    change_sets.ensure(stack, cloud)
    assert change_sets.state(stack, cloud) == "current"


def test_container_images_get_a_repository(own: Tiny) -> None:
    """Tags can't be overwritten, images are scanned, only remains of broken pushes expire, and only our function pulls."""
    own.replace("pipeline.toml", 'target = "lambda-zip"', 'target = "lambda-image"')
    change_sets.ensure(stacks.service(own.config, own.config.environment("main")), opened(own))
    ecr, name = opened(own).client("ecr"), f"{own.name}-production"
    (repository,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    lifecycle = json.loads(ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"])
    assert [rule["selection"]["tagStatus"] for rule in lifecycle["rules"]] == ["untagged"]
    (statement,) = json.loads(ecr.get_repository_policy(repositoryName=name)["policyText"])["Statement"]
    pullers = [arn.partition(":function:")[2] for arn in statement["Condition"]["ArnLike"]["aws:SourceArn"]]
    assert pullers == [name, f"{name}:*"]
    found = change_sets.foundation(own.config, own.config.environment("main"), opened(own))
    assert found is not None
    assert found.outputs["Repository"] == repository["repositoryUri"]


def test_bootstrap_makes_all_and_then_nothing(own: Tiny) -> None:
    """One command makes what an environment stands on and is delivered by; a second one has nothing to do."""
    first = own.invoke("bootstrap")
    for name in (own.name + "-production", own.name + "-production-pipeline"):
        assert f"{name}: done" in first
    assert "CREATE_COMPLETE    DeployRole" in first
    iam = opened(own).client("iam")
    roles = {role["RoleName"] for role in iam.list_roles()["Roles"]}
    assert {f"{own.name}-production-{stage}" for stage in ("function", "codebuild", "build", "plan", "deploy")} <= roles
    (provider,) = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    known = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider["Arn"])
    assert known["ClientIDList"] == ["sts.amazonaws.com"]
    assert own.invoke("bootstrap").count("nothing to do") == 4


def test_project_builds_the_branch_and_is_privileged_for_images_only(own: Tiny) -> None:
    """The CodeBuild project clones the repository, runs buildspec.yml and may run an engine only if it needs one."""
    change_sets.ensure(stacks.delivering(own.config, own.config.environment("main")), opened(own))

    def project() -> dict[str, Any]:
        found: dict[str, Any] = opened(own).client("codebuild").batch_get_projects(names=[f"{own.name}-production"])
        return found["projects"][0]

    made = project()
    assert made["source"]["location"] == "https://github.com/an-owner/a-repository.git"
    assert (made["source"]["type"], made["source"]["buildspec"]) == ("GITHUB", "buildspec.yml")
    assert made["serviceRole"].endswith(f":role/{own.name}-production-codebuild")
    assert made["environment"]["privilegedMode"] is False
    own.replace("pipeline.toml", 'target = "lambda-zip"', 'target = "lambda-image"')
    change_sets.ensure(stacks.delivering(own.config, own.config.environment("main")), opened(own))
    assert project()["environment"]["privilegedMode"] is True


@pytest.mark.parametrize(
    ("owner", "repository", "subject"),
    [("", "", "repo:an-owner/a-repository"), ("12", "345", "repo:an-owner@12/a-repository@345")],
)
def test_subject_is_one_of_githubs_two_forms(tiny: Tiny, owner: str, repository: str, subject: str) -> None:
    """Without numbers roles trust the repository's name, with both its immutable form."""
    tiny.replace("pipeline.toml", "[github]\n", f'[github]\nowner_id = "{owner}"\nrepository_id = "{repository}"\n')
    assert stacks.subject(tiny.config) == subject


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('repository = "an-owner/a-repository"', "", "github.repository: empty; write OWNER/NAME"),
        ("[github]\n", '[github]\nowner_id = "12"\n', "only one is set; write both or none"),
    ],
)
def test_subject_that_names_no_repository_is_refused(tiny: Tiny, old: str, new: str, says: str) -> None:
    """Roles that would trust the wrong repository are not planned."""
    tiny.replace("pipeline.toml", old, new)
    with pytest.raises(ConfigError, match=says):
        stacks.delivering(tiny.config, tiny.config.environment("main"))


def test_workflows_know_each_environment_with_an_account(tiny: Tiny) -> None:
    """Environments may share an account, have one each, or none yet; by branch, as the workflows ask."""
    assert set(stacks.workflows(tiny.config, "123456789012")) == {"main", "develop"}  # the embedded cloud has them all
    tiny.replace("pipeline.toml", 'branch = "main"\n', 'branch = "main"\naccount = "111111111111"\n')
    assert set(stacks.workflows(tiny.config, "111111111111")) == {"main"}
    tiny.replace("pipeline.toml", 'branch = "develop"\n', 'branch = "develop"\naccount = "222222222222"\n')
    known = stacks.workflows(tiny.config, "111111111111")
    assert known["main"]["deploy"] == f"arn:aws:iam::111111111111:role/{tiny.name}-production-deploy"
    assert known["develop"]["deploy"] == f"arn:aws:iam::222222222222:role/{tiny.name}-staging-deploy"
    assert known["develop"]["environment"] == "staging"


def test_channel_of_slack_is_asked_for_whole(tiny: Tiny) -> None:
    """With workspace and channel the stack has a channel that can command nothing; with one of them it is not planned."""
    text = (tiny.root / "pipeline.toml").read_text()
    environment = tiny.config.environment("main")
    for half in ('slack_workspace = "T0123ABCD"', 'slack_channel = "C0123ABCD"'):
        tiny.write("pipeline.toml", f"{text}\n[monitoring]\n{half}\n")
        with pytest.raises(ConfigError, match="only one is set; write both or none"):
            stacks.delivering(tiny.config, environment)
    tiny.write("pipeline.toml", f'{text}\n[monitoring]\nslack_workspace = "T0123ABCD"\nslack_channel = "C0123ABCD"\n')
    stack, cloud = stacks.delivering(tiny.config, environment), opened(tiny)
    change_sets.ensure(stack, cloud)
    resources = cloud.client("cloudformation").describe_stack_resources(StackName=stack.name)["StackResources"]
    made = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
    assert made["Slack"].endswith(f":chat-configuration/slack-channel/{tiny.name}-production")
    role = cloud.client("iam").get_role(RoleName=f"{tiny.name}-production-slack")["Role"]
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "chatbot.amazonaws.com"}
    assert cloud.client("iam").list_role_policies(RoleName=role["RoleName"])["PolicyNames"] == []
    tiny.write("pipeline.toml", text)
    change_sets.ensure(stacks.delivering(tiny.config, environment), cloud)
    resources = cloud.client("cloudformation").describe_stack_resources(StackName=stack.name)["StackResources"]
    assert "Slack" not in {resource["LogicalResourceId"] for resource in resources}


@pytest.mark.parametrize("target", ["lambda-zip", "lambda-image"])
def test_stack_is_made_again_around_what_it_retained(own: Tiny, target: str) -> None:
    """A deleted stack leaves its bucket with the ledger; the next one takes it as it is."""
    own.replace("pipeline.toml", 'target = "lambda-zip"', f'target = "{target}"')
    environment, cloud = own.config.environment("main"), opened(own)
    wanted = stacks.service(own.config, environment)
    change_sets.ensure(wanted, cloud)
    found = change_sets.foundation(own.config, environment, cloud)
    assert found is not None
    s3 = cloud.client("s3")
    s3.put_object(Bucket=found.bucket, Key="note", Body=b"kept")
    change_sets.delete(wanted.name, cloud)
    again = change_sets.plan(wanted, cloud)
    assert ("Import", "Bucket") in {(change.action, change.resource) for change in again.changes}
    change_sets.apply(cloud, again)
    assert change_sets.foundation(own.config, environment, cloud) == found
    assert s3.get_object(Bucket=found.bucket, Key="note")["Body"].read() == b"kept"
    assert change_sets.plan(wanted, cloud).change_set == ""


def test_bucket_in_the_way_is_named(own: Tiny) -> None:
    """What CloudFormation refuses before it touches anything is named with its resource, not as a failed validation."""
    own.write(
        "infra/foundation.yaml", FOUNDATION.replace('"${Name}-${Environment}-${AWS::AccountId}"', "${Name}-taken")
    )
    cloud = opened(own)
    own.write(
        "infra/foundation.yaml",
        (own.root / "infra/foundation.yaml").read_text().replace("    DeletionPolicy: Retain\n", ""),
    )
    cloud.client("s3").create_bucket(
        Bucket=f"{own.name}-taken", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    with pytest.raises(CloudError, match=f"ROLLBACK_COMPLETE: Bucket: Resource .*{own.name}-taken' already exists"):
        change_sets.apply(cloud, planned(own))


PROVIDER = """
  Second:
    Type: AWS::IAM::OIDCProvider
    Properties:
      Url: !Sub "https://${Name}.example.org"
      ClientIdList: [one]

Outputs:"""


def fail_an_update(own: Tiny, cloud: Cloud) -> None:
    """Leave the stack in UPDATE_ROLLBACK_COMPLETE, as an update that stops at an identity provider which exists."""
    cloud.client("iam").create_open_id_connect_provider(Url=f"https://{own.name}.example.org", ClientIDList=["one"])
    own.write("infra/foundation.yaml", LONGER.replace("\nOutputs:", PROVIDER))
    wanted = stacks.service(own.config, own.config.environment("main"))
    with pytest.raises(CloudError, match="ended as UPDATE_ROLLBACK_COMPLETE: Second: "):
        change_sets.apply(cloud, change_sets.plan(wanted, cloud))
    assert change_sets.state(wanted, cloud) == "outdated"


def test_failed_update_is_no_dead_end(own: Tiny) -> None:
    """After an update that was rolled back, the previous template is current again, and a corrected one is applied."""
    environment, cloud = own.config.environment("main"), opened(own)
    change_sets.ensure(stacks.service(own.config, environment), cloud)
    fail_an_update(own, cloud)
    own.write("infra/foundation.yaml", FOUNDATION)
    found = change_sets.foundation(own.config, environment, cloud)
    assert found is not None
    assert found.current
    assert change_sets.state(stacks.service(own.config, environment), cloud) == "current"
    own.write("infra/foundation.yaml", LONGER)
    found = change_sets.foundation(own.config, environment, cloud)
    assert found is not None
    assert not found.current
    change_sets.ensure(stacks.service(own.config, environment), cloud)
    assert change_sets.state(stacks.service(own.config, environment), cloud) == "current"
