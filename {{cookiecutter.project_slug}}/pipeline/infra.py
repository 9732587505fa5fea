"""What an environment stands on, by CloudFormation change sets from ``infra/service.yaml``."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.cloud import code_of
from pipeline.errors import CloudError
from pipeline.waiting import wait

if TYPE_CHECKING:
    from pipeline.cloud import Cloud
    from pipeline.config import Config
    from pipeline.keys import Environment

__all__ = ["Change", "Foundation", "InfraPlan", "apply", "foundation", "plan"]

TEMPLATE = "infra/service.yaml"
DIGEST_TAG = "template-digest"


@dataclass(frozen=True)
class Foundation:
    """What the deploy stands on: the stack's outputs, and whether they are those of the template in the tree."""

    bucket: str
    role: str
    log_group: str
    current: bool


@dataclass(frozen=True)
class Change:
    """One resource that would change: ``action`` is CloudFormation's Add, Modify or Remove."""

    action: str
    resource: str
    type: str
    replacement: bool


@dataclass(frozen=True)
class InfraPlan:
    """A change set that waits to be carried out; ``change_set`` is empty when there is nothing to change."""

    stack: str
    change_set: str
    create: bool
    changes: tuple[Change, ...]


def stack_name(config: Config, environment: Environment) -> str:
    """The stack of one environment: ``<service>-<environment>``."""
    return f"{config.service.name}-{environment.name}"


def foundation(config: Config, environment: Environment, cloud: Cloud) -> Foundation | None:
    """What stands now; None when nothing does, or when it was never finished. One call."""
    stack = _describe(cloud, stack_name(config, environment))
    if stack is None or "Outputs" not in stack:
        return None
    outputs = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
    tags = {t["Key"]: t["Value"] for t in stack.get("Tags", [])}
    return Foundation(
        bucket=outputs["Bucket"],
        role=outputs["FunctionRole"],
        log_group=outputs["LogGroup"],
        current=tags.get(DIGEST_TAG) == _template(config)[1] and stack["StackStatus"].endswith("_COMPLETE"),
    )


def plan(config: Config, environment: Environment, cloud: Cloud) -> InfraPlan:
    """Make a change set of what the template in the tree would change, and read it.

    Raises:
        CloudError: CloudFormation refused the template; the reason is its own.
    """
    name = stack_name(config, environment)
    body, digest = _template(config)
    client = cloud.client("cloudformation")
    stack = _describe(cloud, name)
    create = stack is None or stack["StackStatus"] == "REVIEW_IN_PROGRESS"
    with cloud.faults():
        made = client.create_change_set(
            StackName=name,
            ChangeSetName=f"tree-{digest[:12]}-{int(time.time() * 1000)}",
            ChangeSetType="CREATE" if create else "UPDATE",
            TemplateBody=body,
            Parameters=[
                {"ParameterKey": "Name", "ParameterValue": config.service.name},
                {"ParameterKey": "Environment", "ParameterValue": environment.name},
            ],
            Tags=[
                {"Key": "service", "Value": config.service.name},
                {"Key": "environment", "Value": environment.name},
                {"Key": DIGEST_TAG, "Value": digest},
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        change_set = made["Id"]

        def made_ready() -> dict[str, Any] | None:
            answer = client.describe_change_set(ChangeSetName=change_set, StackName=name)
            return answer if answer["Status"] in ("CREATE_COMPLETE", "FAILED") else None

        described = wait(made_ready, what=f"the change set of {name}")
        if described["Status"] == "FAILED":
            reason = described.get("StatusReason", "no reason given")
            client.delete_change_set(ChangeSetName=change_set, StackName=name)
            if "didn't contain changes" in reason or "No updates are to be performed" in reason:
                return InfraPlan(name, "", create, ())
            raise CloudError(f"CloudFormation refused {TEMPLATE}: {reason}", next=f"mend {TEMPLATE}")
    changes = tuple(
        Change(
            action=c["ResourceChange"]["Action"],
            resource=c["ResourceChange"]["LogicalResourceId"],
            type=c["ResourceChange"]["ResourceType"],
            replacement=c["ResourceChange"].get("Replacement") == "True",
        )
        for c in described.get("Changes", [])
    )
    return InfraPlan(name, change_set, create, changes)


def discard(cloud: Cloud, planned: InfraPlan) -> None:
    """Drop a change set that nobody wants carried out, and the empty stack that came with it."""
    if planned.change_set:
        with cloud.faults():
            client = cloud.client("cloudformation")
            client.delete_change_set(ChangeSetName=planned.change_set, StackName=planned.stack)
            if planned.create:
                client.delete_stack(StackName=planned.stack)


def apply(cloud: Cloud, planned: InfraPlan) -> None:
    """Carry out ``planned`` and wait until the stack stands.

    Raises:
        CloudError: it did not; names the resource that failed first and CloudFormation's reason.
    """
    if not planned.change_set:
        return
    client = cloud.client("cloudformation")
    with cloud.faults():
        client.execute_change_set(ChangeSetName=planned.change_set, StackName=planned.stack)

        def settled() -> str | None:
            stack = _describe(cloud, planned.stack)
            status = stack["StackStatus"] if stack else "DELETE_COMPLETE"
            return None if status.endswith("_IN_PROGRESS") else status

        status = wait(settled, what=f"the stack {planned.stack}", seconds=900)
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            events = client.describe_stack_events(StackName=planned.stack)["StackEvents"]
            failed = [e for e in reversed(events) if e["ResourceStatus"].endswith("_FAILED")]
            first = failed[0] if failed else {}
            raise CloudError(
                f"the stack {planned.stack} ended as {status}: {first.get('LogicalResourceId', 'it')}: "
                f"{first.get('ResourceStatusReason', 'no reason given')}",
                next=f"mend {TEMPLATE} or what the reason names, then run this again",
            )


def _template(config: Config) -> tuple[str, str]:
    body = (config.root / TEMPLATE).read_text(encoding="utf-8")
    return body, hashlib.sha256(body.encode()).hexdigest()


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
