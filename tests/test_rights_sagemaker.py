"""The roles of a service whose target is an endpoint: what they may is what their stages call, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import emulated
import endpointed
import pytest
from botocore.exceptions import ClientError
from botocore.session import Session
from endpointing import based, root, sagemaker, service
from tiny import Tiny

from ml_delivery import cloud as clouds
from ml_delivery import emulator
from ml_delivery.account import stacks
from ml_delivery.errors import CloudError, PipelineError, Refused
from ml_delivery.records import Traffic
from ml_delivery.release import deploy, plan
from ml_delivery.targets.sagemaker.names import OWNER, RELEASE

__all__ = ["based", "root", "service"]  # fixtures
ROLE = "arn:aws:iam::{}:role/{}"


@contextmanager
def acting(service: Tiny, role: str) -> Iterator[None]:
    """Be the role ``<service>-production-<role>``, which is made to trust its account for this."""
    running = emulator.up(service.root)
    name = f"{service.name}-production-{role}"
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{running.account}:root"},
        "Action": "sts:AssumeRole",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    emulated.client(running, "iam").update_assume_role_policy(RoleName=name, PolicyDocument=document)
    asked = {"RoleArn": ROLE.format(running.account, name), "RoleSessionName": "tests"}
    keys = emulated.client(running, "sts").assume_role(**asked)["Credentials"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
        patched.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
        patched.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
        patched.setenv("PIPELINE_ENDPOINT", running.endpoint)
        yield


def policy(service: Tiny, role: str) -> dict[str, Any]:
    iam = emulated.client(emulator.up(service.root), "iam")
    found: dict[str, Any] = iam.get_role_policy(RoleName=f"{service.name}-production-{role}", PolicyName="stage")
    document: dict[str, Any] = found["PolicyDocument"]
    return document


def actions(statement: dict[str, Any]) -> list[str]:
    found = statement["Action"]
    return found if isinstance(found, list) else [found]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The actions that are asked for from now on."""
    found: set[str] = set()
    made = clouds._session

    def session(region: str, *, embedded: bool) -> Session:
        opened: Session = made(region, embedded=embedded)

        def note(model: Any, **_: Any) -> None:
            found.add(f"{model.service_model.signing_name}:{model.name}")

        opened.register("before-call", note)
        return opened

    monkeypatch.setattr(clouds, "_session", session)
    return found


def test_roles_may_what_their_stages_do_and_nothing_else(service: Tiny, recorded: set[str]) -> None:
    """A refused first release, deploys, a rollback and what is pruned pass with its rights; each of them is used."""
    service.push()
    service.invoke("bootstrap", "--yes")
    says = endpointed.fault(service, "exits")
    service.push()
    with acting(service, "deploy"), pytest.raises(Refused) as refusal:
        deploy.deploy(service.open(prepare=False), report=lambda step: None)
    assert says in str(refusal.value)
    rules = "[deploy]\nkeep = 1\nkeep_days = 0\n\n[promote]"
    service.replace("pipeline.toml", "[promote]", rules)
    for note in ("second", "third"):
        endpointed.repair(service, note)
        service.push()
        recorded.clear() if note == "second" else None
        with acting(service, "deploy"):
            outcome = deploy.deploy(service.open(prepare=False), report=lambda step: None)
        assert outcome.release
        postponed = [step.result for step in outcome.steps if getattr(step.result, "postponed", "")]
        assert not postponed
    with acting(service, "deploy"):
        deploy.rollback(service.open(prepare=False), 0, report=lambda step: None)
    assert service.live() == 2
    allowed = {action for one in policy(service, "deploy")["Statement"] for action in actions(one)}
    ours = {action for action in allowed if action.startswith("sagemaker:")}
    assert ours - recorded == {"sagemaker:DeleteEndpoint"}  # of the refused first release, above
    assert {action for action in recorded if action.startswith("sagemaker:")} <= ours
    _refused_elsewhere(service)
    _plan_role_needs_each_of_its_rights(service)


def _refused_elsewhere(service: Tiny) -> None:
    """What bears another name, and another role, is not the deploy's."""
    with acting(service, "deploy"):
        deployer = sagemaker(service)
        aws, runtime = deployer.client, deployer.context.cloud.client("sagemaker-runtime")
        model = {"Image": f"{deployer.context.output('Repository')}:x"}
        own, other = f"{service.name}-production-r9", "someones-r9"
        role, build = deployer.context.output("ServiceRole"), f"{service.name}-production-build"
        account = emulator.up(service.root).account
        for call in (
            lambda: runtime.invoke_endpoint(EndpointName="someones", Body=b""),
            lambda: aws.delete_endpoint(EndpointName="someones"),
            lambda: aws.delete_model(ModelName=other),
            lambda: aws.delete_endpoint_config(EndpointConfigName="someones"),
            lambda: aws.create_model(ModelName=other, ExecutionRoleArn=role, PrimaryContainer=model),
            lambda: aws.create_model(
                ModelName=own, ExecutionRoleArn=ROLE.format(account, build), PrimaryContainer=model
            ),
        ):
            with pytest.raises(ClientError) as refusal:
                call()
            assert "AccessDenied" in refusal.value.response["Error"]["Code"]


@contextmanager
def without(service: Tiny, role: str, sid: str, action: str) -> Iterator[None]:
    """The role lacks one action of one statement meanwhile."""
    iam, name = emulated.client(emulator.up(service.root), "iam"), f"{service.name}-production-{role}"
    whole = policy(service, role)
    less = copy.deepcopy(whole)
    for statement in less["Statement"]:
        if statement["Sid"] == sid:
            statement["Action"] = [one for one in actions(statement) if one != action]
    less["Statement"] = [statement for statement in less["Statement"] if statement["Action"]]
    iam.put_role_policy(RoleName=name, PolicyName="stage", PolicyDocument=json.dumps(less))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=name, PolicyName="stage", PolicyDocument=json.dumps(whole))


def _plan_role_needs_each_of_its_rights(service: Tiny) -> None:
    """With its rights a plan passes; without any one that reads the endpoint it stops, and names it. It may change nothing."""
    with acting(service, "plan"):
        plan.make(service.open(prepare=False))
        for statement in policy(service, "plan")["Statement"]:
            for action in actions(statement):
                if not action.startswith("sagemaker:"):
                    continue
                with (
                    without(service, "plan", statement["Sid"], action),
                    pytest.raises(CloudError, match=f"not authorized to perform: {action}"),
                ):
                    plan.make(service.open(prepare=False))
        with pytest.raises(ClientError, match="not authorized to perform: sagemaker:DeleteEndpoint"):
            sagemaker(service).endpoint.delete()


# What the deploy role has for its endpoint, and has beside what it has for an image: by statement.
OWN = {
    "ChangeEndpoint": "endpoint/",
    "ChangeConfiguration": "endpoint-config/",
    "ChangeModels": "model/",
    "FindReleases": "",
    "GiveContainersTheirRole": "-service",
    "SayWhyItDoesNotStart": "log-group",
}
# Before there is an endpoint, a deploy stops at each of these; once there is one, at the others of what a deploy changes.
FIRST = {
    ("ChangeEndpoint", "sagemaker:AddTags"),
    ("ChangeEndpoint", "sagemaker:CreateEndpoint"),
    ("ChangeConfiguration", "sagemaker:CreateEndpoint"),
    ("ChangeConfiguration", "sagemaker:CreateEndpointConfig"),
    ("ChangeModels", "sagemaker:AddTags"),
    ("ChangeModels", "sagemaker:CreateModel"),
    ("GiveContainersTheirRole", "iam:PassRole"),
}


def test_deploy_role_needs_each_of_its_rights(service: Tiny) -> None:
    """A stage, or a step of one, stops without any one action, and names it with its resource; with all of them they pass."""
    service.push()
    service.invoke("bootstrap", "--yes")
    listed = [(s["Sid"], action) for s in policy(service, "deploy")["Statement"] for action in actions(s)]
    own = [right for right in listed if right[0] in OWN]
    assert {sid for sid, _ in own} == set(OWN)
    assert set(own) >= FIRST
    with acting(service, "deploy"):
        for sid, action in own:
            if (sid, action) in FIRST:
                _stops_without(service, sid, action, _deploy)
        _deploy(service)
    endpointed.repair(service, "another")
    service.push()
    steps = _steps(service)
    with acting(service, "deploy"):
        for sid, action in own:
            if (sid, action) not in FIRST:
                _stops_without(service, sid, action, steps.get(action, lambda at: sagemaker(at).live()))
        _deploy(service)
        sagemaker(service).retire()


def _stops_without(service: Tiny, sid: str, action: str, step: Callable[[Tiny], object]) -> None:
    with without(service, "deploy", sid, action), pytest.raises(PipelineError) as refusal:
        step(service)
    assert f"not authorized to perform: {action} on resource: " in str(refusal.value), (sid, refusal.value)
    assert OWN[sid] in str(refusal.value).partition("on resource: ")[2], (sid, refusal.value)


def _deploy(service: Tiny) -> None:
    outcome = deploy.deploy(service.open(prepare=False), report=lambda step: None)
    postponed = [step.result.postponed for step in outcome.steps if getattr(step.result, "postponed", "")]
    if postponed:
        raise CloudError(postponed[0])


def _steps(service: Tiny) -> dict[str, Callable[[Tiny], object]]:
    """What needs an action once there is an endpoint; what it changes is arranged here, as an administrator."""
    deployer = sagemaker(service)
    aws, endpoint, names, state = deployer.client, deployer.endpoint, deployer.names, deployer.endpoint.read()
    assert state
    (live,) = state.shares
    known = aws.describe_model(ModelName=names.model(live))
    made = {"ExecutionRoleArn": known["ExecutionRoleArn"], "PrimaryContainer": known["PrimaryContainer"]}
    marks = [{"Key": OWNER, "Value": service.name}, {"Key": RELEASE, "Value": "999"}]
    aws.create_model(ModelName=names.model("r999"), Tags=marks, **made)
    endpoint._config([{**endpoint.described(state.config)[live], "InitialInstanceCount": 9}])
    endpoint.reweigh({live: 50})
    endpoint.settle()
    return {
        "sagemaker:UpdateEndpoint": _deploy,
        "sagemaker:UpdateEndpointWeightsAndCapacities": lambda at: sagemaker(at).shift(
            Traffic(live), sagemaker(at).traffic(), "release 1"
        ),
        "sagemaker:DeleteEndpointConfig": lambda at: sagemaker(at).discard(set(), 0),
        "sagemaker:DeleteEndpoint": lambda at: sagemaker(at).retire(),
        "sagemaker:DeleteModel": lambda at: sagemaker(at).remove("r999"),
        "sagemaker:InvokeEndpoint": lambda at: sagemaker(at).call("/version"),
        "sagemaker:ListModels": lambda at: sagemaker(at).deployed(),
        "sagemaker:ListEndpointConfigs": lambda at: sagemaker(at).endpoint.sweep(),
        "logs:FilterLogEvents": lambda at: list(sagemaker(at).logs(0)),
    }


# What only a function has beside that.
OF_FUNCTIONS = {"GiveFunctionItsRole", "PruneVersions", "ReadFront", "ReadFunction", "Release"}


def test_other_rights_of_the_deploy_role_are_those_of_an_image(tiny: Tiny) -> None:
    """What is not for the endpoint is what a function from an image has, whose own proof takes all of it away."""
    endpointed.endpoint(tiny)

    def others() -> set[str]:
        body = stacks.delivering(tiny.config, tiny.config.environment("main")).body
        (stage,) = json.loads(body)["Resources"]["DeployRole"]["Properties"]["Policies"]
        listed = stage["PolicyDocument"]["Statement"]
        kept = [one for one in listed if one["Sid"] not in {*OWN, *OF_FUNCTIONS}]
        return {json.dumps(one, sort_keys=True) for one in kept}

    ours = others()
    tiny.replace("pipeline.toml", 'target = "sagemaker"', 'target = "lambda-image"')
    tiny.replace("pipeline.toml", endpointed.SETTINGS, "")
    assert ours == others()
