"""What of AWS's limits is checked before anything reaches AWS: in ``pipeline.toml``, in a build, in the repository's templates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import SETTINGS, Tiny

from embedded_aws.aws_lambda import limits
from ml_delivery import config, plugin
from ml_delivery.account import stacks
from ml_delivery.artifact import build
from ml_delivery.errors import BuildError, ConfigError
from ml_delivery.monitoring import stack as monitoring
from ml_delivery.targets import lambda_image
from ml_delivery.targets.lambda_function import settings

LONGEST = {"service": "s" * 32, "environment": "e" * 16, "account": "1" * 12}
CHECKS: dict[str, Callable[[Path], None]] = {}


def check(row: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Register the check of a row of ``docs/limits.toml``; it gets an empty folder."""

    def add(function: Callable[[Path], None]) -> Callable[[Path], None]:
        assert row not in CHECKS, row
        CHECKS[row] = function
        return function

    return add


def load(root: Path, *edits: tuple[str, str], more: str = "") -> config.Config:
    text = SETTINGS.format(name="limits", python="3.12")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    (root / "pipeline.toml").write_text(text + more)
    return config.load(root, {})


def refuses(root: Path, problem: str, *edits: tuple[str, str], more: str = "") -> None:
    with pytest.raises(ConfigError) as fault:
        load(root, *edits, more=more)
    assert any(problem in line for line in fault.value.problems), fault.value.problems


def own(text: str) -> str:
    return f"[environments.other]\nbranch = 'other'\n[environments.other.variables]\n{text}\n"


@check("apigateway.time")
def behind_an_api(root: Path) -> None:
    api = '\n[http]\nfront = "http-api"\n'
    load(root, ("timeout = 3", "timeout = 30"), more=api)
    refuses(root, "function.timeout: 31 s, and an HTTP API", ("timeout = 3", "timeout = 31"), more=api)


BALANCER = """
[http]
front = "load-balancer"
access = "open"
domain = "api.example.com"
certificate = "arn:aws:acm:eu-west-1:123456789012:certificate/12345678"
vpc = "vpc-00000001"
subnets = ["subnet-00000001", "subnet-00000002"]
"""


def balanced(root: Path, *edits: tuple[str, str]) -> dict[str, Any]:
    """The properties of the resources of a load balancer, by their logical names."""
    read = load(root, *edits, more=BALANCER)
    stack = stacks.front(read, read.environments["production"])
    assert stack is not None
    return {name: one["Properties"] for name, one in json.loads(stack.body)["Resources"].items()}


@check("elb.zones")
def zones(root: Path) -> None:
    balanced(root)
    refuses(root, "http.subnets: AWS wants at least two", more=BALANCER.replace(', "subnet-00000002"', ""))


@check("elb.idle")
def waits(root: Path) -> None:
    for seconds, idle in ((3, 60), (900, 915)):
        made = balanced(root, ("timeout = 3", f"timeout = {seconds}"))["Balancer"]["LoadBalancerAttributes"]
        assert {"Key": "idle_timeout.timeout_seconds", "Value": str(idle)} in made


@check("elb.group-name")
def group_name(root: Path) -> None:
    names = []
    for service in ("limits", "a-service-with-a-very-long-name", "a-service-with-a-very-long-nam2"):
        names.append(balanced(root, ('name = "limits"', f'name = "{service}"'))["Group"]["Name"])
    assert names[0] == "limits-production"
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"(?=.{1,32}$)[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)


@check("lambda.variables-size")
def variables_size(root: Path) -> None:
    load(root, more=own(f"LARGE = '{'x' * 3900}'"))
    refuses(root, "environments.other.variables.LARGE: all variables have", more=own(f"LARGE = '{'x' * 4000}'"))
    refuses(root, "environments.other.variables.LARGE: all variables have", more=own(f"LARGE = '{'é' * 2000}'"))


@check("lambda.variables-reserved")
def variables_reserved(root: Path) -> None:
    for name in ("AWS_REGION", "LAMBDA_TASK_ROOT", "AWS_SECRET_ACCESS_KEY"):
        refuses(root, f"environments.other.variables.{name}: Lambda sets it", more=own(f"{name} = 'x'"))
    load(root, more=own("AWS_LAMBDA_EXEC_WRAPPER = 'x'"))
    assert settings.RESERVED == limits.RESERVED  # the emulator's


@check("lambda.variables-names")
def variables_names(root: Path) -> None:
    for name in ("A", "_HANDLER", "'A-B'"):
        refuses(root, "not an allowed name", more=own(f"{name} = 'x'"))


@check("lambda.memory-size")
def memory_size(root: Path) -> None:
    for megabytes in (127, 10_241):
        refuses(
            root,
            "is not between 128 and 10240",
            more=f"[environments.other]\nbranch='o'\nfunction={{memory={megabytes}}}\n",
        )


@check("lambda.timeout")
def timeout(root: Path) -> None:
    for seconds in (0, 901):
        refuses(
            root, "is not between 1 and 900", more=f"[environments.other]\nbranch='o'\nfunction={{timeout={seconds}}}\n"
        )


@check("lambda.runtime")
def runtime(root: Path) -> None:
    refuses(root, "service.python", ('python = "3.12"', 'python = "3.8"'))


@check("lambda.architectures")
def architectures(root: Path) -> None:
    refuses(root, "service.architecture", ('python = "3.12"', 'python = "3.12"\narchitecture = "riscv"'))


def longest(root: Path, target: str) -> list[stacks.Stack]:
    """All stacks of an environment with names that are as long as ``pipeline.toml`` allows."""
    name, account = LONGEST["service"], LONGEST["account"]
    text = SETTINGS.format(name=name, python="3.12").replace('"lambda-zip"', f'"{target}"')
    text = re.sub(r"\[environments\.\w+\]", f"[environments.{LONGEST['environment']}]", text, count=1)
    (root / "pipeline.toml").write_text(text)
    loaded = config.load(root, {})
    environment = next(iter(loaded.environments.values()))
    assert (len(loaded.service.name), len(environment.name), len(account)) == (32, 16, 12)
    return [
        stacks.service(loaded, environment),
        stacks.delivering(loaded, environment),
        monitoring.wanted(loaded, environment),
    ]


def filled(text: Any) -> str:
    """A name in a template, with its parameters."""
    text = text["Fn::Sub"] if isinstance(text, dict) and "Fn::Sub" in text else str(text)
    for parameter, value in (("Name", "service"), ("Environment", "environment"), ("AWS::AccountId", "account")):
        text = text.replace(f"${{{parameter}}}", LONGEST[value])
    return str(text)


def resources(root: Path) -> list[dict[str, Any]]:
    found = []
    for target in ("lambda-zip", "lambda-image"):
        for stack in longest(root, target):
            found += list(json.loads(stack.body)["Resources"].values())
    return found


def names(root: Path, kind: str, key: str) -> list[str]:
    found = [
        filled(r["Properties"][key]) for r in resources(root) if r["Type"] == kind and key in r.get("Properties", {})
    ]
    assert found
    return found


@check("lambda.name")
def function_name(root: Path) -> None:
    assert len(f"{LONGEST['service']}-{LONGEST['environment']}") <= 64
    refuses(root, "service.name", ('name = "limits"', f'name = "{"s" * 33}"'))
    refuses(root, "environments", more=f"[environments.{'e' * 17}]\nbranch='o'\n")


@check("s3.bucket-name")
def bucket_name(root: Path) -> None:
    assert all(re.fullmatch(r"[a-z0-9-]{3,63}", name) for name in names(root, "AWS::S3::Bucket", "BucketName"))


@check("ecr.repository-name")
def repository_name(root: Path) -> None:
    assert all(
        re.fullmatch(r"[a-z0-9-]{2,256}", name) for name in names(root, "AWS::ECR::Repository", "RepositoryName")
    )


@check("iam.role-name")
def role_name(root: Path) -> None:
    assert all(re.fullmatch(r"[a-z0-9-]{1,64}", name) for name in names(root, "AWS::IAM::Role", "RoleName"))


def counted(document: Any) -> int:
    return len(re.sub(r"\s", "", filled({"Fn::Sub": json.dumps(document)})))


@check("iam.role-inline")
def role_inline(root: Path) -> None:
    for role in (r["Properties"] for r in resources(root) if r["Type"] == "AWS::IAM::Role"):
        assert sum(counted(policy) for policy in role.get("Policies", [])) <= 10_240, role["RoleName"]


@check("iam.trust-size")
def trust_size(root: Path) -> None:
    for role in (r["Properties"] for r in resources(root) if r["Type"] == "AWS::IAM::Role"):
        assert counted(role["AssumeRolePolicyDocument"]) <= 2_048, role["RoleName"]


@check("cloudformation.body-size")
def body_size(root: Path) -> None:
    for target in ("lambda-zip", "lambda-image"):
        assert all(len(stack.body.encode()) <= 51_200 for stack in longest(root, target))


@check("cloudformation.stack-name")
def stack_name(root: Path) -> None:
    for target in ("lambda-zip", "lambda-image"):
        assert all(re.fullmatch(r"[a-zA-Z][a-zA-Z0-9-]{0,127}", stack.name) for stack in longest(root, target))


@check("cloudwatch.alarm")
def alarm(root: Path) -> None:
    for one in (r["Properties"] for r in resources(root) if r["Type"] == "AWS::CloudWatch::Alarm"):
        assert len(filled(one["AlarmName"])) <= 255
        periods = (
            [one["Period"]]
            if "Period" in one
            else [m["MetricStat"]["Period"] for m in one["Metrics"] if "MetricStat" in m]
        )
        for period in periods:
            assert period in (10, 20, 30) or period % 60 == 0
            assert period * one["EvaluationPeriods"] <= 86_400


@check("cloudwatch.alarm-on-query")
def alarm_on_query(root: Path) -> None:
    endpoint = [('"lambda-zip"', '"sagemaker"'), ("memory = 256\ntimeout = 3", "idle_hours = 3")]
    made = load(root, *endpoint)
    found = json.loads(monitoring.wanted(made, made.environment("main")).body)["Resources"].values()
    asked = [
        resource["Properties"]
        for resource in found
        if any("SELECT" in metric.get("Expression", "") for metric in resource["Properties"].get("Metrics", []))
    ]
    assert asked
    assert all(one["EvaluationPeriods"] * one["Metrics"][0]["Period"] <= 3 * 3600 for one in asked)
    refuses(root, "function.idle_hours: 4", endpoint[0], (endpoint[1][0], "idle_hours = 4"))


@check("lambda.zip-unzipped")
def zip_unzipped(root: Path) -> None:
    service = Tiny(root / "service", root, "limits")
    service.write("pipeline.toml", (service.root / "pipeline.toml").read_text() + "\n[build]\nbudget = 10000\n")
    with (service.root / "src/service/ballast.bin").open("wb") as file:
        file.truncate(250 * 2**20)
    service.commit("ballast")
    with pytest.raises(BuildError, match="Lambda allows 250 MB"):
        build.build(service.config)


@check("lambda.image-size")
def image_size(root: Path) -> None:
    target = plugin.find("lambda-image", root)
    assert [limit.size for limit in target.limits(None)] == [lambda_image.UNCOMPRESSED_LIMIT] == [10 * 2**30]
    service = Tiny(root / "service", root, "limits")
    text = (service.root / "pipeline.toml").read_text().replace('"lambda-zip"', '"lambda-image"')
    service.write("pipeline.toml", text)
    service.write("Dockerfile.lambda", "FROM scratch\n")
    service.commit("image")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lambda_image, "UNCOMPRESSED_LIMIT", 100)
        with pytest.raises(BuildError, match="Lambda allows images of 10 GB"):
            build.build(service.config)
