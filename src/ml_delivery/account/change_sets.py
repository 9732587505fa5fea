"""Creates, updates and deletes stacks, by CloudFormation's change sets."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery.account import policies, stacks
from ml_delivery.account.events import Event, Events
from ml_delivery.cloud import code_of
from ml_delivery.errors import CloudError
from ml_delivery.records import Foundation
from ml_delivery.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.account.policies import PolicyChange
    from ml_delivery.account.stacks import Stack
    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = [
    "Change",
    "InfraPlan",
    "apply",
    "delete",
    "discard",
    "ensure",
    "foundation",
    "outputs",
    "plan",
    "provider_stands",
    "stands",
    "state",
]

DIGEST_TAG = "template-digest"
# States in which all of a stack's resources stand; in those of ROLLED_BACK, as before an update that failed.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
ROLLED_BACK = ("UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE")
COMPLETE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE", *ROLLED_BACK)
# The next command for states in which CloudFormation changes nothing.
STUCK = {
    "UPDATE_ROLLBACK_FAILED": "aws cloudformation continue-update-rollback --stack-name {}",
    "CREATE_FAILED": "aws cloudformation delete-stack --stack-name {}",
    "ROLLBACK_FAILED": "aws cloudformation delete-stack --stack-name {}",
    "DELETE_FAILED": "aws cloudformation delete-stack --stack-name {}",
}


@dataclass(frozen=True)
class Change:
    """One resource that would change: ``action`` is CloudFormation's Add, Modify or Remove."""

    action: str
    resource: str
    type: str
    replacement: bool


@dataclass(frozen=True)
class InfraPlan:
    """A change set that can be carried out; ``change_set`` is empty when there is nothing to change.

    ``policies``: how the statements of its policies differ from those of the template that is there.
    """

    stack: str
    change_set: str
    create: bool
    changes: tuple[Change, ...]
    place: str
    policies: tuple[PolicyChange, ...] = ()


def foundation(config: Config, environment: Environment, cloud: Cloud) -> Foundation | None:
    """The environment's foundation; None when its stack does not exist or was never completely created. One API call, or two
    after a failed update."""
    found = outputs(stacks.service(config, environment), cloud)
    return found and Foundation(found[0]["Bucket"], *found)


def outputs(wanted: Stack, cloud: Cloud) -> tuple[dict[str, str], bool] | None:
    """The outputs of the stack, and whether it is up to date; None when it does not exist or was never completely created."""
    stack = _describe(cloud, wanted.name)
    if stack is None or "Outputs" not in stack:
        return None
    return {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}, _is_current(cloud, wanted, stack)


def provider_stands(config: Config, cloud: Cloud) -> bool:
    """Whether the account already has GitHub as an identity provider that was not created by this pipeline's stack."""
    with cloud.faults():
        listed = cloud.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
    there = any(provider["Arn"].endswith(f":oidc-provider/{stacks.ISSUER}") for provider in listed)
    return there and _describe(cloud, stacks.github(config).name) is None


def plan(stack: Stack, cloud: Cloud) -> InfraPlan:
    """Create a change set for ``stack``, and return its changes. A new stack takes what an earlier one retained: the bucket.

    Raises:
        CloudError: CloudFormation refused the template, or changes nothing in the stack's state; the message has its reason.
    """
    client = cloud.client("cloudformation")
    there = _describe(cloud, stack.name)
    if there and there["StackStatus"] == "ROLLBACK_COMPLETE":  # its creation failed: it can only be deleted
        delete(stack.name, cloud)
        there = None
    _require_changeable(there)
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
            TemplateBody=_with_literal_names(stack, cloud.account),
            ImportExistingResources=create,
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
    changed = policies.compared(stack, None if create else there, cloud)
    return InfraPlan(stack.name, change_set, create, changes, stack.place, changed)


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
    events = Events(client, planned.stack)
    with cloud.faults():
        # If the stack can't be created, retain nothing but what was there: new resources would make the next attempt fail.
        imports = any(change.action == "Import" for change in planned.changes)
        client.execute_change_set(
            ChangeSetName=planned.change_set,
            StackName=planned.stack,
            RetainExceptOnCreate=planned.create and not imports,
        )

        def settled() -> str | None:
            stack = _describe(cloud, planned.stack)
            for event in events.news():
                tell(event)
            status = stack["StackStatus"] if stack else "DELETE_COMPLETE"
            return None if status.endswith("_IN_PROGRESS") else status

        status = wait(settled, what=f"the stack {planned.stack}", seconds=900)
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            first = events.first_failure() or Event("it", status, "")
            raise CloudError(
                f"the stack {planned.stack} ended as {status}: {first.resource}: {first.reason or 'no reason given'}",
                next=f"correct {planned.place} or fix what the reason names, then run this again",
            )


def state(stack: Stack, cloud: Cloud) -> str:
    """The state of ``stack``: missing, current, outdated, or CloudFormation's status if it is not complete."""
    there = _describe(cloud, stack.name)
    if there is None:
        return "missing"
    if there["StackStatus"] not in COMPLETE:
        return str(there["StackStatus"])
    return "current" if _is_current(cloud, stack, there) else "outdated"


def stands(name: str, cloud: Cloud) -> bool:
    """Whether there is a stack with this name, in any state."""
    return _describe(cloud, name) is not None


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


def _is_current(cloud: Cloud, wanted: Stack, stack: dict[str, Any]) -> bool:
    if stack["StackStatus"] in ROLLED_BACK:  # its tags may be those of the update that failed
        with cloud.faults():
            client = cloud.client("cloudformation")
            body = client.get_template(StackName=stack["StackName"], TemplateStage="Original")["TemplateBody"]
        there = _parsed(body) if isinstance(body, str) else body
        declared = there.get("Parameters", {}) if isinstance(there, dict) else {}
        defaults = {name: str(parameter["Default"]) for name, parameter in declared.items() if "Default" in parameter}
        parameters = {p["ParameterKey"]: p["ParameterValue"] for p in stack.get("Parameters", [])}
        same = there == _parsed(_with_literal_names(wanted, cloud.account))
        return same and parameters == defaults | wanted.parameters
    tags = {t["Key"]: t["Value"] for t in stack.get("Tags", [])}
    return stack["StackStatus"] in COMPLETE and tags.get(DIGEST_TAG) == wanted.digest


def _parsed(body: str) -> Any:
    """A template that is JSON, as botocore returns it, else its text."""
    return json.loads(body) if body.startswith("{") else body


def _require_changeable(stack: dict[str, Any] | None) -> None:
    status = stack["StackStatus"] if stack else ""
    if stack and status in STUCK:
        raise CloudError(
            f"the stack {stack['StackName']} is {status}: {stack.get('StackStatusReason') or 'no reason given'}",
            next=f"{STUCK[status].format(stack['StackName'])}, then run this again",
        )
    if stack and status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        raise CloudError(
            f"the stack {stack['StackName']} is being changed already ({status})",
            next=f"aws cloudformation describe-stack-events --stack-name {stack['StackName']}, then run this again",
        )


def _with_literal_names(stack: Stack, account: str) -> str:
    """The template with the names of retained resources as literals: CloudFormation imports what exists by such names only.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/import-resources-automatically.html
    """
    template = _parsed(stack.body)
    if isinstance(template, str):
        return template
    known = {**stack.parameters, "AWS::AccountId": account}
    for resource in template["Resources"].values():
        if resource.get("DeletionPolicy") == "Retain":
            for name, value in resource["Properties"].items():
                if name in ("BucketName", "RepositoryName") and isinstance(value, dict) and "Fn::Sub" in value:
                    resource["Properties"][name] = re.sub(r"\$\{(.+?)\}", lambda m: known[m[1]], value["Fn::Sub"])
    return json.dumps(template)


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
