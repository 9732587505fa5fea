"""The roles of a service whose target is an endpoint: what they may is what their stages call, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import emulated
import endpointed
import pytest
from botocore.exceptions import ClientError
from botocore.session import Session
from endpointing import based, sagemaker, service
from tiny import Tiny

from ml_delivery import cloud as clouds
from ml_delivery import emulator
from ml_delivery.errors import CloudError, Refused
from ml_delivery.release import deploy, plan

__all__ = ["based", "service"]  # fixtures
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


def _plan_role_needs_each_of_its_rights(service: Tiny) -> None:
    """With its rights a plan passes; without any one that reads the endpoint it stops, and names it. It may change nothing."""
    iam, name = emulated.client(emulator.up(service.root), "iam"), f"{service.name}-production-plan"
    whole = policy(service, "plan")
    with acting(service, "plan"):
        plan.make(service.open(prepare=False))
        for number, statement in enumerate(whole["Statement"]):
            for action in actions(statement):
                if not action.startswith("sagemaker:"):
                    continue
                less = copy.deepcopy(whole)
                left = [one for one in actions(statement) if one != action]
                less["Statement"][number]["Action"] = left
                if not left:
                    del less["Statement"][number]
                iam.put_role_policy(RoleName=name, PolicyName="stage", PolicyDocument=json.dumps(less))
                with pytest.raises(CloudError, match=f"not authorized to perform: {action}"):
                    plan.make(service.open(prepare=False))
        iam.put_role_policy(RoleName=name, PolicyName="stage", PolicyDocument=json.dumps(whole))
        with pytest.raises(ClientError, match="not authorized to perform: sagemaker:DeleteEndpoint"):
            sagemaker(service).endpoint.delete()
