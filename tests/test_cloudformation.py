"""Templates put together from the package's and the target's parts: CloudFormation takes them, and an update replaces nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import INFRA, PRICING, ROOT, TARGETS, Tiny

from ml_delivery import cloudformation, config, plugin
from ml_delivery.account import stacks
from ml_delivery.errors import ConfigError
from ml_delivery.monitoring import stack as monitoring

SETTINGS = """\
[service]
name = "{name}"
target = "{target}"
python = "3.12"
region = "eu-west-1"
architecture = "{architecture}"

[function.secrets]
API_KEY = "ssm:/path/of/a/parameter"

[github]
repository = "an-owner/a-repository"

[monitoring]
slack_workspace = "T0123ABCD"
slack_channel = "C0123ABCD"
grafana_principal = "{principal}"
grafana_external_id = "an-external-id"

[environments.production]
branch = "main"
"""
PRINCIPALS = ("user", "grafana.amazonaws.com", "arn:aws:iam::111122223333:root", "")
# The last commit whose templates were checked-in files, the same for each target, and where they were.
PREVIOUS = "f74dbf5:{{cookiecutter.project_slug}}/infra/"


def settings(
    root: Path, target: str, architecture: str = "x86_64", principal: str = "user", name: str = "demand"
) -> Any:
    """A configuration with all that makes the templates longer."""
    text = SETTINGS.format(target=target, architecture=architecture, principal=principal, name=name)
    (root / "infra").mkdir(exist_ok=True)
    (root / "infra/metrics.toml").write_text((PRICING / "infra/metrics.toml").read_text())
    (root / "pipeline.toml").write_text(text)
    return config.load(root, {})


def all_stacks(found: Any) -> list[stacks.Stack]:
    environment = found.environments["production"]
    return [kind(found, environment) for kind in (stacks.service, stacks.delivering, monitoring.wanted)]


@pytest.mark.parametrize("target", plugin.built_in())
def test_composed_templates_are_clean_and_small(tmp_path: Path, target: str) -> None:
    """cfn-lint finds nothing in any of a target's templates, even with the longest names they fit into a request, and each
    is the same a second time.
    """
    files = {}  # by their text, since most of the choices make no difference to most of the templates
    for number, (principal, architecture) in enumerate(
        [*((one, "x86_64") for one in PRINCIPALS), (PRINCIPALS[0], "arm64")]
    ):
        composed = all_stacks(settings(tmp_path, target, architecture, principal, name="a" * 32))
        again = all_stacks(settings(tmp_path, target, architecture, principal, name="a" * 32))
        assert [stack.body for stack in again] == [stack.body for stack in composed]
        for stack in composed:
            files[stack.body] = file = tmp_path / f"{number}-{stack.name[-8:]}.json"
            file.write_text(stack.body)
            assert len(stack.body.encode()) < cloudformation.LIMIT
            assert set(stack.parameters) <= set(json.loads(stack.body).get("Parameters", {}))
    words = [Path(sys.executable).with_name("cfn-lint"), "--non-zero-exit-code", "warning", "--", *files.values()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def resolved(value: Any, known: dict[str, Any], conditions: dict[str, Any]) -> Any:
    """``value`` with parameters and conditions put in; CloudFormation's own names stay."""
    if isinstance(value, list):
        found = [resolved(inner, known, conditions) for inner in value]
        return [inner for inner in found if inner != {"Ref": "AWS::NoValue"}]
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"} and value["Ref"] in known:
        return known[value["Ref"]]
    if "Fn::Sub" in value:
        text = re.sub(r"\$\{(\w+)\}", lambda name: str(known.get(name[1], name[0])), value["Fn::Sub"])
        return {"Fn::Sub": text.replace("${!", "${")} if "${AWS::" in text else text.replace("${!", "${")
    if "Fn::Equals" in value:
        first, second = (resolved(inner, known, conditions) for inner in value["Fn::Equals"])
        return first == second
    if "Fn::Not" in value:
        return not resolved(value["Fn::Not"][0], known, conditions)
    if "Fn::If" in value:
        name, yes, no = value["Fn::If"]
        return resolved(yes if resolved(conditions[name], known, conditions) else no, known, conditions)
    return {name: resolved(inner, known, conditions) for name, inner in value.items()}


def resources(template: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    """The resources that a template makes with these parameters; statements of policies in the order of their names."""
    defaults = {name: content.get("Default", "") for name, content in template.get("Parameters", {}).items()}
    known, conditions = {**defaults, **parameters}, template.get("Conditions", {})
    found = {}
    for name, resource in template["Resources"].items():
        if "Condition" not in resource or resolved(conditions[resource["Condition"]], known, conditions):
            made = resolved({k: v for k, v in resource.items() if k != "Condition"}, known, conditions)
            for policy in made["Properties"].get("Policies", []):
                policy["PolicyDocument"]["Statement"].sort(key=lambda statement: str(statement.get("Sid")))
            found[name] = made
    return found


def previous(file: str) -> dict[str, Any]:
    done = subprocess.run(["git", "show", f"{PREVIOUS}{file}"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("NOT CHECKED: this clone does not have the history")
    text = done.stdout.replace("former-versions", "previous-versions")  # the name of a rule, which is updated in place
    found: dict[str, Any] = cloudformation.yaml.load(text, cloudformation._Loader)
    return found


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
@pytest.mark.parametrize("target", ["lambda-zip", "lambda-image"])
def test_update_from_the_previous_templates_replaces_nothing(tmp_path: Path, target: str, architecture: str) -> None:
    """Foundation and delivery: the same logical ids, types and names as the files that were before, and all that they kept."""
    names = ("BucketName", "RoleName", "LogGroupName", "RepositoryName", "Name", "ManagedPolicyName")
    service, delivery, _ = all_stacks(settings(tmp_path, target, architecture))
    for stack, file in ((service, "service.yaml"), (delivery, "pipeline.yaml")):
        before = resources(previous(file), {**stack.parameters, "Target": target})
        after = resources(json.loads(stack.body), stack.parameters)
        assert set(before) == set(after)
        for name, old in before.items():
            new = after[name]
            assert (new["Type"], new.get("DeletionPolicy")) == (old["Type"], old.get("DeletionPolicy"))
            assert [new["Properties"].get(key) for key in names] == [old["Properties"].get(key) for key in names]
            both = old["Properties"].keys() | new["Properties"].keys()
            differ = {key for key in both if old["Properties"].get(key) != new["Properties"].get(key)}
            # Rights and trust are stricter than they were; nothing else is other than it was.
            assert differ <= {"PolicyDocument", "Policies", "AssumeRolePolicyDocument"}, (name, differ)


def test_update_of_monitoring_replaces_nothing(tmp_path: Path) -> None:
    """The same logical ids, types and names; alarms watch the same numbers, with the same limits."""
    stack = all_stacks(settings(tmp_path, "lambda-zip"))[2]
    parameters = {
        "Name": "demand",
        "Environment": "production",
        "Branch": "main",
        "GrafanaPrincipal": "user",
        "GrafanaExternalId": "an-external-id",
    }
    before, after = resources(previous("monitoring.yaml"), parameters), resources(json.loads(stack.body), {})
    assert {name: resource["Type"] for name, resource in after.items()} == {n: r["Type"] for n, r in before.items()}
    same = (
        "AlarmName",
        "DashboardName",
        "RoleName",
        "UserName",
        "ComparisonOperator",
        "EvaluationPeriods",
        "DatapointsToAlarm",
    )
    for name, resource in before.items():
        for key in {*same, "TreatMissingData"} & set(resource["Properties"]):
            assert after[name]["Properties"][key] == resource["Properties"][key], (name, key)
        if resource["Type"].endswith("Alarm"):
            assert float(after[name]["Properties"]["Threshold"]) == float(resource["Properties"]["Threshold"])
            metrics = [m["MetricStat"] for m in resource["Properties"]["Metrics"] if "MetricStat" in m]
            mine = [m["MetricStat"] for m in after[name]["Properties"]["Metrics"] if "MetricStat" in m]
            assert json.dumps(mine).replace(":eu-west-1:", ":") == json.dumps(metrics).replace(
                "${AWS::Region}", "eu-west-1"
            )
    assert (
        after["GrafanaRole"]["Properties"]["AssumeRolePolicyDocument"]
        == (before["GrafanaRole"]["Properties"]["AssumeRolePolicyDocument"])
    )


BARE = """\
from ml_delivery.target import Target


class Bare(Target):
    def pack(self, config, made, scratch): ...
    def push(self, context, manifest): ...
    def open(self, context): ...
"""


def test_target_without_parts_has_the_neutral_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target from outside the package that adds nothing: a bucket, the delivery's roles, a dashboard of builds; all clean."""
    (tmp_path / "bare_target.py").write_text(BARE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    service, delivery, observed = all_stacks(settings(tmp_path, "bare_target:Bare", principal="user"))
    assert set(json.loads(service.body)["Resources"]) == {"Bucket", "BucketPolicy"}
    made = json.loads(observed.body)["Resources"]
    assert set(made) == {"BackupAlarm", "DriftAlarm", "Dashboard", "GrafanaUser", "GrafanaRole"}
    assert not re.search("lambda|ecr:", service.body + delivery.body + observed.body, re.IGNORECASE)
    files = []
    for stack in (service, delivery, observed):
        files.append(tmp_path / f"{stack.name[-8:]}.json")
        files[-1].write_text(stack.body)
    words = [Path(sys.executable).with_name("cfn-lint"), "--non-zero-exit-code", "warning", "--", *files]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_short_functions_are_read_as_long_ones(tmp_path: Path) -> None:
    """Each form of a short function, and a bare date, as CloudFormation reads them."""
    file = tmp_path / "foundation.yaml"
    file.write_text(
        "AWSTemplateFormatVersion: 2010-09-09\n"
        'A: [!Ref B, !GetAtt B.C.D, !GetAtt [B, C], !Sub "${B}", !If [X, !Ref B, !Ref AWS::NoValue], !Condition X]\n'
        "B: !Transform {Name: x}\n"
    )
    found = json.loads(cloudformation.write(cloudformation.read(file)))
    assert found["AWSTemplateFormatVersion"] == "2010-09-09"
    assert found["A"] == [
        {"Ref": "B"},
        {"Fn::GetAtt": ["B", "C.D"]},
        {"Fn::GetAtt": ["B", "C"]},
        {"Fn::Sub": "${B}"},
        {"Fn::If": ["X", {"Ref": "B"}, {"Ref": "AWS::NoValue"}]},
        {"Condition": "X"},
    ]
    assert found["B"] == {"Fn::Transform": {"Name": "x"}}


def test_own_template_takes_the_place_of_the_packages(tiny: Tiny) -> None:
    """The target's part is put into the service's own template; what that defines itself wins."""
    environment = tiny.config.environment("main")
    assert stacks.service(tiny.config, environment).place == "ml_delivery/infra/foundation.yaml"
    text = (INFRA / "foundation.yaml").read_text()
    log = "  LogGroup:\n    Type: AWS::Logs::LogGroup\n    Properties:\n      LogGroupName: my-own\n"
    tiny.write("infra/foundation.yaml", text.replace("Resources:\n", f"Resources:\n{log}\n"))
    stack = stacks.service(tiny.config, environment)
    made = json.loads(stack.body)["Resources"]
    assert stack.place == "infra/foundation.yaml"
    assert made["LogGroup"]["Properties"] == {"LogGroupName": "my-own"}
    assert "FunctionRole" in made
    delivery = (INFRA / "delivery.yaml").read_text()
    tiny.write("infra/delivery.yaml", delivery.replace("TimeoutInMinutes: 30", "TimeoutInMinutes: 90", 1))
    made = json.loads(stacks.delivering(tiny.config, environment).body)["Resources"]
    assert made["Project"]["Properties"]["TimeoutInMinutes"] == 90
    sids = [s["Sid"] for s in made["DeployRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]]
    assert {"Notify", "Release"} <= set(sids)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "not YAML"),
        ("- a", "not a mapping"),
        ("Resources: {Project: {Properties: {}}}", "Resources.DeployRole: no role with a policy"),
        ("Resources: {}", "Resources.Project: no CodeBuild project"),
    ],
)
def test_own_template_that_lacks_something_is_refused(tiny: Tiny, text: str, says: str) -> None:
    """The place, the resource and the cause are named, and no traceback."""
    tiny.write("infra/delivery.yaml", text)
    with pytest.raises(ConfigError, match=r"infra/delivery\.yaml") as refusal:
        stacks.delivering(tiny.config, tiny.config.environment("main"))
    assert says in refusal.value.message


def test_template_that_is_too_large_is_refused() -> None:
    """Before CloudFormation refuses it, with both numbers."""
    with pytest.raises(ConfigError, match=r"6\d{4} bytes, CloudFormation accepts 51200: Alarms"):
        cloudformation.write({"Description": "Alarms", "Resources": {"x": "y" * 60_000}})


def test_neutral_templates_name_no_target() -> None:
    """What is a target's is in the target's folder: its services, actions and log groups."""
    words = re.compile("lambda|xray|ecr:|ECR|function", re.IGNORECASE)
    for path in INFRA.rglob("*"):
        if path.is_file():
            lines = [line for line in path.read_text().splitlines() if words.search(line)]
            assert lines == [], path.name
    code = re.compile(r"Lambda|lambda[-_]|lambda:\w|ml_delivery\.targets")
    for package in ("account", "monitoring"):
        for path in (INFRA.parent / package).glob("*.py"):
            assert [line for line in path.read_text().splitlines() if code.search(line)] == [], path.name
    assert {path.parent.name for path in TARGETS.glob("*/foundation.yaml")} == {
        "lambda_function",
        "lambda_image",
        "container_image",
        "eks",
        "sagemaker",
    }
