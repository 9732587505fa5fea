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
from ml_delivery.records import STAGED, Release, Traffic
from ml_delivery.release import deploy, plan
from ml_delivery.release.delivery import Delivery
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
        endpoint = f"arn:aws:sagemaker:eu-west-1:{account}:endpoint/{service.name}-production"
        for call in (
            lambda: runtime.invoke_endpoint(EndpointName="someones", Body=b""),
            lambda: aws.delete_endpoint(EndpointName="someones"),
            lambda: aws.delete_model(ModelName=other),
            lambda: aws.delete_endpoint_config(EndpointConfigName="someones"),
            lambda: aws.update_endpoint(EndpointName="someones", EndpointConfigName=f"{service.name}-production-x"),
            lambda: aws.list_endpoints(),
            lambda: aws.stop_training_job(TrainingJobName=f"{service.name}-production-x"),
            lambda: aws.delete_tags(ResourceArn=endpoint, TagKeys=["x"]),
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
# What a deploy needs before there is an endpoint, in the order of its calls: what is made stays when the next one is refused.
FIRST = (
    ("GiveContainersTheirRole", "iam:PassRole"),
    ("ChangeModels", "sagemaker:AddTags"),
    ("ChangeModels", "sagemaker:CreateModel"),
    ("ChangeConfiguration", "sagemaker:CreateEndpointConfig"),
    ("ChangeConfiguration", "sagemaker:CreateEndpoint"),
    ("ChangeEndpoint", "sagemaker:AddTags"),
    ("ChangeEndpoint", "sagemaker:CreateEndpoint"),
)


def test_deploy_role_needs_each_of_its_rights(service: Tiny) -> None:
    """A step of its stages stops without any one action, and names it; with all of them a deploy and its end pass."""
    service.push()
    service.invoke("bootstrap", "--yes")
    listed = [(s["Sid"], action) for s in policy(service, "deploy")["Statement"] for action in actions(s)]
    own = [right for right in listed if right[0] in OWN]
    assert {sid for sid, _ in own} == set(OWN)
    assert set(own) >= set(FIRST)
    with acting(service, "deploy"):
        opened = service.open(prepare=False)
        for sid, action in FIRST:
            _stops_without(service, opened, sid, action, lambda at: _stage(at, 1))
        deploy.deploy(opened, report=lambda step: None)
    steps = _steps(service)
    with acting(service, "deploy"):
        for sid, action in own:
            if (sid, action) not in FIRST:
                _stops_without(service, opened, sid, action, steps.get(action, lambda at: at.deployer.live()))
        opened.deployer.retire()
    assert not sagemaker(service).deployed()


def _stops_without(service: Tiny, opened: Delivery, sid: str, action: str, step: Callable[[Delivery], object]) -> None:
    with without(service, "deploy", sid, action), pytest.raises(PipelineError) as refusal:
        step(opened)
    says = str(refusal.value)
    assert f"not authorized to perform: {action} " in says, (sid, says)
    assert OWN[sid] in says.partition("on resource: ")[2] or "on resource: " not in says, (sid, says)


def _stage(opened: Delivery, number: int) -> None:
    own, variables = opened.deployer.settings(), opened.environment.variables
    opened.deployer.stage(Release(number, STAGED, opened.artifact(), own, variables, "tests", 0.0), ())


def _steps(service: Tiny) -> dict[str, Callable[[Delivery], object]]:
    """What needs an action once there is an endpoint; what it changes is arranged here, as an administrator."""
    deployer = sagemaker(service)
    endpoint, names, state = deployer.endpoint, deployer.names, deployer.endpoint.read()
    assert state
    (live,) = state.shares
    known = deployer.client.describe_model(ModelName=names.model(live))
    made = {"ExecutionRoleArn": known["ExecutionRoleArn"], "PrimaryContainer": known["PrimaryContainer"]}
    marks = [{"Key": OWNER, "Value": service.name}, {"Key": RELEASE, "Value": "999"}]
    deployer.client.create_model(ModelName=names.model("r999"), Tags=marks, **made)
    endpoint._config([{**endpoint.described(state.config)[live], "InitialInstanceCount": 9}])
    endpoint.reweigh({live: 50})
    endpoint.settle()
    return {
        "sagemaker:UpdateEndpoint": lambda at: _stage(at, 2),
        "sagemaker:UpdateEndpointWeightsAndCapacities": lambda at: at.deployer.shift(
            Traffic(live), at.deployer.traffic(), "release 1"
        ),
        "sagemaker:DeleteEndpoint": lambda at: at.deployer.retire(),
        "sagemaker:DeleteEndpointConfig": lambda at: at.deployer.discard(set(), 0),
        "sagemaker:DeleteModel": lambda at: at.deployer.remove("r999"),
        "sagemaker:InvokeEndpoint": lambda at: at.deployer.call("/version"),
        "sagemaker:ListModels": lambda at: at.deployer.deployed(),
        "sagemaker:ListEndpointConfigs": lambda at: at.deployer.discard(set(), 0),
        "logs:FilterLogEvents": lambda at: list(at.deployer.logs(0)),
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
