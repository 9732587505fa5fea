"""CloudFormation and S3 on the embedded AWS: what the infrastructure and the ledger stand on."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any

import pytest
from emulated import client, code_of
from tiny import INFRA, TARGETS

from ml_delivery import cloudformation, emulator
from ml_delivery.waiting import wait

BODY = cloudformation.write(
    cloudformation.foundation(
        cloudformation.read(INFRA / "foundation.yaml"), cloudformation.part(TARGETS / "lambda_function")
    )
)
NO_CHANGES = "The submitted information didn't contain changes. Submit different information to create a change set."


class Stack:
    """One stack from a template, by change sets."""

    def __init__(self, running: emulator.Running, name: str) -> None:
        self.name = name
        self.aws = client(running, "cloudformation")

    def change(self, kind: str, body: str) -> dict[str, Any]:
        """Make a change set; its description once it is settled."""
        made = self.aws.create_change_set(
            StackName=self.name,
            ChangeSetName=f"set-{time.time_ns()}",
            ChangeSetType=kind,
            TemplateBody=body,
            Parameters=[
                {"ParameterKey": "Name", "ParameterValue": self.name},
                {"ParameterKey": "Environment", "ParameterValue": "staging"},
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )

        def settled() -> dict[str, Any] | None:
            found: dict[str, Any] = self.aws.describe_change_set(ChangeSetName=made["Id"])
            return found if found["Status"] in ("CREATE_COMPLETE", "FAILED") else None

        return wait(settled, what="the change set")

    def execute(self, change: dict[str, Any]) -> str:
        """Carry it out; the stack's status afterwards."""
        self.aws.execute_change_set(ChangeSetName=change["ChangeSetId"])

        def settled() -> str | None:
            status: str = self.aws.describe_stacks(StackName=self.name)["Stacks"][0]["StackStatus"]
            return None if status.endswith("_IN_PROGRESS") else status

        return wait(settled, what="the stack")


@pytest.fixture(scope="module")
def stack(running: emulator.Running) -> Stack:
    """The shipped infrastructure, made."""
    made = Stack(running, "stack")
    change = made.change("CREATE", BODY)
    assert {c["ResourceChange"]["Action"] for c in change["Changes"]} == {"Add"}
    assert made.execute(change) == "CREATE_COMPLETE"
    return made


def test_stack_makes_what_its_template_says(running: emulator.Running, stack: Stack) -> None:
    """Bucket, policy, role and log group are there with all their properties."""
    bucket = {"Bucket": "stack-staging-123456789012"}
    s3 = client(running, "s3")
    assert s3.get_bucket_versioning(**bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"].values())
    encryption = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert encryption["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert "TLSOnly" in s3.get_bucket_policy(**bucket)["Policy"]
    rules = {rule.pop("ID"): rule for rule in s3.get_bucket_lifecycle_configuration(**bucket)["Rules"]}
    assert set(rules) == {"unfinished-uploads", "previous-versions"}
    assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rules["previous-versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}
    assert not any("Expiration" in rule for rule in rules.values())  # nothing that a rollback could need
    assert client(running, "iam").list_role_policies(RoleName="stack-staging-function")["PolicyNames"] == ["logs"]
    groups = client(running, "logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/stack-staging")["logGroups"]
    assert [group["retentionInDays"] for group in groups] == [30]


def test_change_set_without_changes_fails_with_the_reason_of_aws(stack: Stack) -> None:
    """Nothing to change is a change set that failed, in AWS's words."""
    change = stack.change("UPDATE", BODY)
    assert (change["Status"], change["StatusReason"]) == ("FAILED", NO_CHANGES)


def test_change_set_names_what_it_changes_and_does_it(running: emulator.Running, stack: Stack) -> None:
    """A changed property is one modification; it is made when the change set is carried out, not before."""
    change = stack.change("UPDATE", BODY.replace('"DaysAfterInitiation":1', '"DaysAfterInitiation":3'))
    changes = {c["ResourceChange"]["LogicalResourceId"]: c["ResourceChange"]["Action"] for c in change["Changes"]}
    assert changes["Bucket"] == "Modify"
    s3 = client(running, "s3")

    def days() -> int:
        rules = s3.get_bucket_lifecycle_configuration(Bucket="stack-staging-123456789012")["Rules"]
        found: int = rules[0]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
        return found

    assert days() == 1
    assert stack.execute(change) == "UPDATE_COMPLETE"
    assert days() == 3


def test_retained_bucket_outlives_its_stack(running: emulator.Running) -> None:
    """Deleting a stack keeps what is to be retained and removes the rest."""
    brief = Stack(running, "brief")
    brief.execute(brief.change("CREATE", BODY))
    brief.aws.delete_stack(StackName="brief")
    wait(
        lambda: True if code_of(lambda: brief.aws.describe_stacks(StackName="brief")) else None, what="the stack's end"
    )
    client(running, "s3").head_bucket(Bucket="brief-staging-123456789012")
    roles = {role["RoleName"] for role in client(running, "iam").list_roles()["Roles"]}
    assert "brief-staging-function" not in roles


def test_s3_keeps_conditions_and_checksums(running: emulator.Running) -> None:
    """Conditional writes and deletes hold, and bytes that don't match their checksum are refused."""
    s3 = client(running, "s3")
    s3.create_bucket(Bucket="conditions", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    put = {"Bucket": "conditions", "Key": "k"}
    tag = s3.put_object(**put, Body=b"1", IfNoneMatch="*")["ETag"]
    assert code_of(lambda: s3.put_object(**put, Body=b"2", IfNoneMatch="*")) == "PreconditionFailed"
    new = s3.put_object(**put, Body=b"3", IfMatch=tag)["ETag"]
    assert code_of(lambda: s3.put_object(**put, Body=b"4", IfMatch=tag)) == "PreconditionFailed"
    assert code_of(lambda: s3.delete_object(**put, IfMatch=tag)) == "PreconditionFailed"
    assert s3.get_object(**put)["Body"].read() == b"3"
    s3.delete_object(**put, IfMatch=new)
    checksum = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    assert code_of(lambda: s3.put_object(**put, Body=b"5", ChecksumSHA256=checksum)) in ("BadDigest", "InvalidRequest")


def test_s3_keeps_versions(running: emulator.Running) -> None:
    """In a versioned bucket nothing that was written is lost, by an overwrite or by a deletion."""
    s3 = client(running, "s3")
    s3.create_bucket(Bucket="versions", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    put = {"Bucket": "versions", "Key": "k"}
    first, second = (s3.put_object(**put, Body=body)["VersionId"] for body in (b"1", b"2"))
    s3.delete_object(**put)
    assert code_of(lambda: s3.get_object(**put)) == "NoSuchKey"
    assert s3.get_object(**put, VersionId=first)["Body"].read() == b"1"
    assert s3.get_object(**put, VersionId=second)["Body"].read() == b"2"


CONDITIONS = """
Parameters: {Wanted: {Type: String}}
Conditions: {IsWanted: !Equals [!Ref Wanted, "yes"]}
Resources:
  Always: {Type: AWS::SNS::Topic, Properties: {TopicName: always}}
  Sometimes: {Type: AWS::SNS::Topic, Condition: IsWanted, Properties: {TopicName: sometimes}}
"""


@pytest.mark.parametrize(("wanted", "named"), [("yes", {"Always", "Sometimes"}), ("no", {"Always"})])
def test_change_set_names_what_its_conditions_allow(running: emulator.Running, wanted: str, named: set[str]) -> None:
    """A resource whose condition does not hold is no change."""
    aws, name = client(running, "cloudformation"), f"conditions-{wanted}"
    aws.create_change_set(
        StackName=name,
        ChangeSetName="set",
        ChangeSetType="CREATE",
        TemplateBody=CONDITIONS,
        Parameters=[{"ParameterKey": "Wanted", "ParameterValue": wanted}],
    )
    found = aws.describe_change_set(StackName=name, ChangeSetName="set")["Changes"]
    assert {change["ResourceChange"]["LogicalResourceId"] for change in found} == named


PROVIDER = """
Resources:
  Provider:
    Type: AWS::IAM::OIDCProvider
    Properties:
      Url: https://issuer.localhost
      ClientIdList: [AUDIENCE]
Outputs:
  Provider:
    Value: !Ref Provider
"""


def test_stack_can_hold_an_identity_provider(running: emulator.Running) -> None:
    """Made, changed in place and removed with its stack; its reference is its ARN, as on AWS."""
    aws, iam = client(running, "cloudformation"), client(running, "iam")
    arn = "arn:aws:iam::123456789012:oidc-provider/issuer.localhost"

    def settled() -> dict[str, Any] | None:
        stack: dict[str, Any] = aws.describe_stacks(StackName="provider")["Stacks"][0]
        return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

    aws.create_stack(StackName="provider", TemplateBody=PROVIDER.replace("AUDIENCE", "one"))
    assert wait(settled, what="the stack")["Outputs"][0]["OutputValue"] == arn
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"] == ["one"]
    aws.update_stack(StackName="provider", TemplateBody=PROVIDER.replace("AUDIENCE", "two"))
    assert wait(settled, what="the stack")["StackStatus"] == "UPDATE_COMPLETE"
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"] == ["two"]
    aws.delete_stack(StackName="provider")

    def gone() -> bool | None:
        listed = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
        return None if {"Arn": arn} in listed else True

    assert wait(gone, what="the provider's end")
