"""Contracts of CloudFormation's templates, parameters and stacks."""

from __future__ import annotations

import json
import time
from typing import Any

from contract import Accepted, Account, contract, refused
from contract_management import ERROR, TRUST, policy


def template(**sections: Any) -> str:
    wait = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    return json.dumps({"Resources": {"One": wait}, **sections})


def create(at: Account, body: str = "", **words: Any) -> None:
    cloudformation, name = at.client("cloudformation"), words.pop("StackName", at.name())
    body = body or ("" if "TemplateURL" in words else template())
    if body:
        words["TemplateBody"] = body
    cloudformation.create_stack(StackName=name, **words)
    at.undo.append(lambda: cloudformation.delete_stack(StackName=name))


@contract("cloudformation.body-size")
def body_size(at: Account) -> None:
    """51,200 bytes of a template in a request."""
    room = 51_200 - len(template(Metadata={"a": ""}))
    create(at, template(Metadata={"a": "x" * room}))
    refused(lambda: create(at, template(Metadata={"a": "x" * (room + 1)})), ERROR)


@contract("cloudformation.object-size")
def object_size(at: Account) -> None:
    """1 MB of a template in S3."""
    s3, bucket = at.client("s3"), at.bucket()
    s3.put_object(Bucket=bucket, Key="t.json", Body=template(Metadata={"a": "x" * 2**20}).encode())
    host = at.endpoint or f"https://s3.{at.region}.amazonaws.com"
    refused(lambda: create(at, TemplateURL=f"{host}/{bucket}/t.json"), ERROR)


@contract("cloudformation.description")
def stack_description(at: Account) -> None:
    """1,024 bytes of a template's description."""
    refused(lambda: create(at, template(Description="x" * 1025)), ERROR)


@contract("cloudformation.parameters")
def parameters(at: Account) -> None:
    """200 parameters, with names of 255 and values of 4,096 characters."""
    kind = {"Type": "String", "Default": "x"}
    refused(lambda: create(at, template(Parameters={f"P{i}": kind for i in range(201)})), ERROR)
    refused(lambda: create(at, template(Parameters={"P" * 256: kind})), ERROR)
    given = [{"ParameterKey": "P", "ParameterValue": "x" * 4097}]
    refused(lambda: create(at, template(Parameters={"P": kind}), Parameters=given), ERROR)


@contract("cloudformation.outputs")
def outputs(at: Account) -> None:
    """200 outputs."""
    refused(lambda: create(at, template(Outputs={f"O{i}": {"Value": "x"} for i in range(201)})), ERROR)


@contract("cloudformation.resources")
def resources(at: Account) -> None:
    """500 resources."""
    wait = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    refused(lambda: create(at, json.dumps({"Resources": {f"R{i}": wait for i in range(501)}})), ERROR)


@contract("cloudformation.stack-name")
def stack_name(at: Account) -> None:
    """128 letters, digits and dashes, of which the first is a letter."""
    for wrong in ("x" * 129, "1contract", "contract_stack", "contract.stack"):
        refused(lambda wrong=wrong: create(at, StackName=wrong), ERROR)  # type: ignore[misc]


@contract("cloudformation.logical-names")
def logical_names(at: Account) -> None:
    """Logical names are letters and digits."""
    wait = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    refused(lambda: create(at, json.dumps({"Resources": {"One-Two": wait}})), ERROR)


@contract("cloudformation.stack-tags")
def stack_tags(at: Account) -> None:
    """50 tags."""
    refused(lambda: create(at, Tags=[{"Key": f"k{i}", "Value": "v"} for i in range(51)]), ERROR)


@contract("cloudformation.stack-resources")
def stack_resources(at: Account) -> None:
    """A resource that its own service would refuse fails its stack, which is rolled back."""
    inline = [{"PolicyName": f"p{i}", "PolicyDocument": json.loads(policy(5200))} for i in range(2)]
    own: dict[str, tuple[str, dict[str, Any]]] = {
        "AWS::IAM::Role": ("RoleName", {"AssumeRolePolicyDocument": TRUST, "Policies": inline}),
        "AWS::Logs::LogGroup": ("LogGroupName", {"RetentionInDays": 31}),
        "AWS::SSM::Parameter": ("Name", {"Type": "String", "Value": "x" * 4097}),
        "AWS::ECR::Repository": ("", {"RepositoryName": "Contract"}),
    }
    cloudformation = at.client("cloudformation")
    for kind, (key, properties) in own.items():
        stack = at.name()
        named = {key: f"/{stack}" if key == "Name" else stack} if key else {}
        body = json.dumps({"Resources": {"One": {"Type": kind, "Properties": {**named, **properties}}}})
        create(at, body, StackName=stack, Capabilities=["CAPABILITY_NAMED_IAM"])
        end, state = time.monotonic() + 120, "CREATE_IN_PROGRESS"
        while state.endswith("IN_PROGRESS") and time.monotonic() < end:
            time.sleep(0.1 if at.endpoint else 2)
            state = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
        if state != "ROLLBACK_COMPLETE":
            raise Accepted(f"{kind}: {state}")
