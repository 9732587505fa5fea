"""Creates, updates and deletes stacks, by CloudFormation's change sets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery.account import stacks
from ml_delivery.cloud import code_of
from ml_delivery.errors import CloudError
from ml_delivery.records import Foundation
from ml_delivery.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.account.stacks import Stack
    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = [
    "Change",
    "Event",
    "InfraPlan",
    "apply",
    "delete",
    "discard",
    "ensure",
    "foundation",
    "plan",
    "provider_stands",
    "state",
]

DIGEST_TAG = "template-digest"


@dataclass(frozen=True)
class Change:
    """One resource that would change: ``action`` is CloudFormation's Add, Modify or Remove."""

    action: str
    resource: str
    type: str
    replacement: bool


@dataclass(frozen=True)
class InfraPlan:
    """A change set that can be carried out; ``change_set`` is empty when there is nothing to change."""

    stack: str
    change_set: str
    create: bool
    changes: tuple[Change, ...]
    place: str


@dataclass(frozen=True)
class Event:
    """What happened to one resource of a stack, as reported by CloudFormation; ``reason`` is usually empty."""

    resource: str
    status: str
    reason: str


def foundation(config: Config, environment: Environment, cloud: Cloud) -> Foundation | None:
    """The environment's foundation; None when its stack does not exist or was never completely created. One API call."""
    wanted = stacks.service(config, environment)
    stack = _describe(cloud, wanted.name)
    if stack is None or "Outputs" not in stack:
        return None
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
    return Foundation(outputs["Bucket"], outputs, _is_current(wanted, stack))


def provider_stands(config: Config, cloud: Cloud) -> bool:
    """Whether the account already has GitHub as an identity provider that was not created by this pipeline's stack."""
    with cloud.faults():
        listed = cloud.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
    there = any(provider["Arn"].endswith(f":oidc-provider/{stacks.ISSUER}") for provider in listed)
    return there and _describe(cloud, stacks.github(config).name) is None


def plan(stack: Stack, cloud: Cloud) -> InfraPlan:
    """Create a change set for ``stack``, and return its changes.

    Raises:
        CloudError: CloudFormation refused the template; the message has its reason.
    """
    client = cloud.client("cloudformation")
    there = _describe(cloud, stack.name)
    if there and there["StackStatus"] == "ROLLBACK_COMPLETE":  # its creation failed: it can only be deleted
        delete(stack.name, cloud)
        there = None
    create = there is None or there["StackStatus"] == "REVIEW_IN_PROGRESS"
    tags = {
        "service": stack.parameters.get("Name", ""),
        "environment": stack.parameters.get("Environment", ""),
        DIGEST_TAG: stack.digest,
    }
    with cloud.faults():
        made = client.create_change_set(
            StackName=stack.name,
            ChangeSetName=f"tree-{stack.digest[:12]}-{int(time.time() * 1000)}",
            ChangeSetType="CREATE" if create else "UPDATE",
            TemplateBody=stack.body,
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in stack.parameters.items()],
            Tags=[{"Key": k, "Value": v} for k, v in tags.items() if v],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        change_set = made["Id"]

        def made_ready() -> dict[str, Any] | None:
            answer = client.describe_change_set(ChangeSetName=change_set, StackName=stack.name)
            return answer if answer["Status"] in ("CREATE_COMPLETE", "FAILED") else None

        described = wait(made_ready, what=f"the change set of {stack.name}")
        if described["Status"] == "FAILED":
            reason = described.get("StatusReason", "no reason given")
            client.delete_change_set(ChangeSetName=change_set, StackName=stack.name)
            if "didn't contain changes" in reason or "No updates are to be performed" in reason:
                return InfraPlan(stack.name, "", create, (), stack.place)
            raise CloudError(f"CloudFormation refused {stack.place}: {reason}", next=f"correct {stack.place}")
    changes = tuple(
        Change(
            action=c["ResourceChange"]["Action"],
            resource=c["ResourceChange"]["LogicalResourceId"],
            type=c["ResourceChange"]["ResourceType"],
            replacement=c["ResourceChange"].get("Replacement") == "True",
        )
        for c in described.get("Changes", [])
    )
    return InfraPlan(stack.name, change_set, create, changes, stack.place)


def discard(cloud: Cloud, planned: InfraPlan) -> None:
    """Delete a change set that won't be carried out, and the empty stack that it created."""
    if planned.change_set:
        with cloud.faults():
            client = cloud.client("cloudformation")
            client.delete_change_set(ChangeSetName=planned.change_set, StackName=planned.stack)
            if planned.create:
                client.delete_stack(StackName=planned.stack)


def apply(cloud: Cloud, planned: InfraPlan, tell: Callable[[Event], None] = lambda event: None) -> None:
    """Carry out ``planned`` and wait until the stack is complete; ``tell`` is called with each event.

    Raises:
        CloudError: it failed; the message names the resource that failed first and CloudFormation's reason.
    """
    if not planned.change_set:
        return
    client = cloud.client("cloudformation")
    events = _Events(client, planned.stack)
    with cloud.faults():
        # If the stack can't be created, retain nothing: existing resources would make the next attempt fail.
        client.execute_change_set(
            ChangeSetName=planned.change_set, StackName=planned.stack, RetainExceptOnCreate=planned.create
        )

        def settled() -> str | None:
            stack = _describe(cloud, planned.stack)
            for event in events.news():
                tell(event)
            status = stack["StackStatus"] if stack else "DELETE_COMPLETE"
            return None if status.endswith("_IN_PROGRESS") else status

        status = wait(settled, what=f"the stack {planned.stack}", seconds=900)
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            failed = [event for event in events.all if event.status.endswith("_FAILED")]
            first = failed[0] if failed else Event("it", status, "")
            raise CloudError(
                f"the stack {planned.stack} ended as {status}: {first.resource}: {first.reason or 'no reason given'}",
                next=f"correct {planned.place} or fix what the reason names, then run this again",
            )


def state(stack: Stack, cloud: Cloud) -> str:
    """The state of ``stack``: missing, current, outdated, or CloudFormation's status if it is not complete."""
    there = _describe(cloud, stack.name)
    if there is None:
        return "missing"
    if there["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        return str(there["StackStatus"])
    return "current" if _is_current(stack, there) else "outdated"


def ensure(stack: Stack, cloud: Cloud) -> None:
    """Create or update ``stack`` if necessary, without asking; for the embedded cloud.

    Raises:
        CloudError: as raised by ``plan`` and ``apply``.
    """
    if state(stack, cloud) != "current":
        apply(cloud, plan(stack, cloud))


def delete(stack: str, cloud: Cloud) -> bool:
    """Delete the stack with this name and wait until it is deleted, except what it retains. Returns whether it existed.

    Raises:
        CloudError: CloudFormation could not delete it.
    """
    if _describe(cloud, stack) is None:
        return False
    with cloud.faults():
        cloud.client("cloudformation").delete_stack(StackName=stack)

        def settled() -> str | None:
            there = _describe(cloud, stack)
            status = there["StackStatus"] if there else "DELETE_COMPLETE"
            return None if status == "DELETE_IN_PROGRESS" else status

        if (status := wait(settled, what=f"the stack {stack}", seconds=900)) != "DELETE_COMPLETE":
            raise CloudError(
                f"the stack {stack} ended as {status}",
                next=f"aws cloudformation describe-stack-events --stack-name {stack}, fix the reason, then run this again",
            )
    return True


class _Events:
    """The new events of a stack, oldest first, each once."""

    def __init__(self, client: Any, stack: str) -> None:
        self._client, self._stack = client, stack
        self._seen: set[str] = set()
        self.all: list[Event] = []
        self.news()
        self.all.clear()

    def news(self) -> list[Event]:
        try:
            listed = self._client.describe_stack_events(StackName=self._stack)["StackEvents"]
        except Exception as error:
            if code_of(error) != "ValidationError":
                raise
            return []  # a deleted stack has none
        fresh = [e for e in reversed(listed) if e["EventId"] not in self._seen]
        self._seen.update(e["EventId"] for e in fresh)
        news = [Event(e["LogicalResourceId"], e["ResourceStatus"], e.get("ResourceStatusReason", "")) for e in fresh]
        self.all += news
        return news


def _is_current(wanted: Stack, stack: dict[str, Any]) -> bool:
    tags = {t["Key"]: t["Value"] for t in stack.get("Tags", [])}
    complete = stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
    return complete and tags.get(DIGEST_TAG) == wanted.digest


def _describe(cloud: Cloud, name: str) -> dict[str, Any] | None:
    with cloud.faults():
        try:
            answer = cloud.client("cloudformation").describe_stacks(StackName=name)
        except Exception as error:
            if code_of(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise
        stack: dict[str, Any] = answer["Stacks"][0]
        return None if stack["StackStatus"] == "DELETE_COMPLETE" else stack
