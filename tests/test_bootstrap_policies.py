"""What `bootstrap` prints of policies before it asks: each statement that is added, removed or changed, and nothing else."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from roles import ACCOUNT
from tiny import INFRA, Tiny

from ml_delivery import cloudformation, emulator
from ml_delivery.account import change_sets, policies, stacks
from ml_delivery.account.policies import Part
from ml_delivery.cloud import Cloud

PSEUDO = {"AWS::AccountId": ACCOUNT, "AWS::Region": "eu-west-1", "AWS::Partition": "aws"}


def template(*statements: Any, **more: Any) -> dict[str, Any]:
    """A template with one role that has these statements."""
    document = {"Statement": list(statements)}
    role = {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": {"Fn::Sub": "${Name}-deploy"},
            "AssumeRolePolicyDocument": {
                "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}}]
            },
            "Policies": [{"PolicyName": "stage", "PolicyDocument": document}],
        },
    }
    parameters = {"Name": {"Type": "String"}, "Secrets": {"Type": "CommaDelimitedList", "Default": "none"}}
    found = {"Parameters": parameters, "Resources": {"DeployRole": role}}
    return {**found, **more}


def diff(old: dict[str, Any], new: dict[str, Any], **parameters: str) -> list[policies.PolicyChange]:
    values = {"Name": "a", **parameters}
    before, after = (policies.statements(one, values, PSEUDO) for one in (old, new))
    return list(policies.difference(before, after))


READ = {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}


def parts(changes: list[policies.PolicyChange]) -> list[tuple[str, str, str, list[str], list[str]]]:
    return [
        (
            c.change,
            c.resource,
            c.sid,
            [f"{p.element} {p.value}" for p in c.added],
            [f"{p.element} {p.value}" for p in c.removed],
        )
        for c in changes
    ]


@pytest.mark.parametrize(
    ("change", "added", "removed"),
    [
        ({"Action": ["s3:GetObject", "s3:*"]}, ["Action s3:*"], []),
        ({"Resource": "*"}, ["Resource *"], ["Resource arn:aws:s3:::b/*"]),
        ({"Effect": "Deny"}, ["Effect Deny"], ["Effect Allow"]),
        (
            {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}},
            ["Condition Bool aws:MultiFactorAuthPresent true"],
            [],
        ),
        ({"NotAction": "iam:*"}, ["NotAction iam:*"], []),
        ({"Principal": {"AWS": ["1", "*"]}}, ["Principal AWS *", "Principal AWS 1"], []),
    ],
)
def test_change_of_a_statement_is_named_by_its_parts(
    change: dict[str, Any], added: list[str], removed: list[str]
) -> None:
    """Only what differs, with the role's and the statement's name."""
    assert parts(diff(template(READ), template({**READ, **change}))) == [
        ("changed", "a-deploy", "Read", added, removed)
    ]


def test_whole_statements_come_and_go() -> None:
    """By their Sid, or their position without one; what stays the same, in another order and spelling, is not mentioned."""
    write = {"Sid": "Write", "Effect": "Allow", "Action": ["s3:PutObject"], "Resource": ["b", "a"]}
    other = {**write, "Action": "s3:PutObject", "Resource": ["a", "b"]}
    assert diff(template(READ, write), template(other, READ)) == []
    added = ("added", "a-deploy", "Write", ["Action s3:PutObject", "Effect Allow", "Resource a", "Resource b"], [])
    assert parts(diff(template(READ), template(READ, write))) == [added]
    assert parts(diff(template(READ, write), template(READ)))[0][:3] == ("removed", "a-deploy", "Write")
    assert parts(diff(template(), template({"Effect": "Allow", "Action": "x"})))[0][2] == "1"


def test_functions_are_resolved() -> None:
    """Parameters, conditions, lists and texts of parts; what only CloudFormation knows keeps its name."""
    resources: list[Any] = [
        {"Fn::Sub": "arn:${AWS::Partition}:s3:::${Name}-${AWS::AccountId}/${!literal}"},
        {"Fn::Join": [":", ["arn", {"Ref": "AWS::Region"}]]},
        {"Fn::GetAtt": ["Log", "Arn"]},
        {"Ref": "Topic"},
        {"Fn::If": ["Never", "no", {"Ref": "AWS::NoValue"}]},
        {"Fn::If": ["Always", "yes", "no"]},
        {"Fn::Select": [1, {"Fn::Split": ["-", "x-y"]}]},
        {"Fn::ImportValue": "other"},
    ]
    conditions = {"Never": {"Fn::Not": [{"Condition": "Always"}]}, "Always": {"Fn::Equals": [{"Ref": "Name"}, "a"]}}
    made = template({**READ, "Resource": resources}, Conditions=conditions)
    made["Resources"]["Skipped"] = {"Condition": "Never", **made["Resources"]["DeployRole"]}
    (trust, found) = policies.statements(made, {"Name": "a"}, PSEUDO)
    assert trust.policy == "trust"
    assert {part.value for part in found.parts if part.element == "Resource"} == {
        f"arn:aws:s3:::a-{ACCOUNT}/${{literal}}",
        "arn:eu-west-1",
        "${Log.Arn}",
        "${Topic}",
        "yes",
        "y",
        '${{"Fn::ImportValue": "other"}}',
    }
    widened = template({**READ, "Resource": {"Ref": "Secrets"}})
    before, after = (policies.statements(widened, {"Name": "a", "Secrets": value}, PSEUDO) for value in ("x", "x, y"))
    (change,) = policies.difference(before, after)
    assert (change.added, change.removed) == ((Part("Resource", "y"),), ())


def test_every_kind_of_policy_is_read() -> None:
    """Those of roles, buckets, topics and permissions, and those that are attached by ARN."""
    shipped = cloudformation.read(INFRA / "foundation.yaml")
    found = {
        (one.resource, one.policy) for one in policies.statements(shipped, {"Name": "a", "Environment": "b"}, PSEUDO)
    }
    assert ("BucketPolicy", "PolicyDocument") in found
    more = {
        "R": {
            "Type": "AWS::IAM::Role",
            "Properties": {"ManagedPolicyArns": ["arn:admin"], "PermissionsBoundary": "arn:limit"},
        },
        "P": {"Type": "AWS::Lambda::Permission", "Properties": {"Action": "lambda:InvokeFunction", "Principal": "*"}},
        "K": {
            "Type": "AWS::KMS::Key",
            "Properties": {"KeyPolicy": {"Statement": {"Effect": "Allow", "Principal": "*"}}},
        },
    }
    changes = diff({"Resources": {}}, {"Resources": more})
    assert {(c.resource, c.policy, p.value) for c in changes for p in c.added} >= {
        ("R", "ManagedPolicyArns", "arn:admin"),
        ("R", "PermissionsBoundary", "arn:limit"),
        ("P", "permission", "*"),
        ("K", "KeyPolicy", "*"),
    }


def test_bootstrap_prints_it_before_it_asks(tiny_alone: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers the question, so nothing is changed, but all was shown: first everything, then one secret more."""
    tiny = tiny_alone
    tiny.replace("pipeline.toml", 'branch = "main"\n', f'branch = "main"\naccount = "{ACCOUNT}"\n')
    tiny.replace("pipeline.toml", "[github]\n", '[github]\nowner_id = "1"\nrepository_id = "2"\n')
    running = emulator.up(tiny.root)
    variables = {
        "AWS_ENDPOINT_URL": running.endpoint,
        "AWS_ACCESS_KEY_ID": running.access_key,
        "AWS_SECRET_ACCESS_KEY": running.secret_key,
        "PIPELINE_CLOUD": "aws",
    }
    monkeypatch.setattr(Tiny, "environment", {**tiny.environment, **variables})
    environment = tiny.config.environment("main")
    cloud = Cloud.open(tiny.config, environment, "embedded")

    def listed(code: int, *words: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            tiny.command("bootstrap", "--json", *words),
            cwd=tiny.root,
            env=tiny.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["stacks"]
        return found

    name = f"{tiny.name}-production"
    first = listed(1)
    assert [plan["applied"] for plan in first] == [False] * 4
    made = {(c["resource"], c["policy"], c["sid"]): c for plan in first for c in plan["policies"]}
    trust = made[f"{name}-deploy", "trust", "1"]
    assert {
        "element": "Principal",
        "value": f"Federated arn:aws:iam::{ACCOUNT}:oidc-provider/{stacks.ISSUER}",
    } in trust["added"]
    sub = f"StringEquals {stacks.ISSUER}:sub repo:an-owner@1/a-repository@2:environment:production"
    assert {"element": "Condition", "value": sub} in trust["added"]
    assert change_sets.state(stacks.service(tiny.config, environment), cloud) == "missing"
    assert [plan["applied"] for plan in listed(0, "--yes")] == [True] * 4
    assert [plan["policies"] for plan in listed(0)] == [[]] * 4

    tiny.replace("pipeline.toml", "[promote]", '[function.secrets]\nAPI_KEY = "ssm:/a/key"\n\n[promote]')
    printed = tiny.invoke("bootstrap", code=1)
    lines = printed.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  policy added"))
    assert lines[at] == f"  policy added: {name}-function, secrets, 1: Allow"
    assert f"    + Resource  arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter/a/key" in lines
    assert f"{name} was not changed" in printed
    left = cloud.client("cloudformation").list_change_sets(StackName=name)["Summaries"]
    assert [one for one in left if one["ExecutionStatus"] == "AVAILABLE"] == []
