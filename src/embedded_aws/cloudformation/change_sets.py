"""A change set lists only resources whose condition holds, and none is made for a stack that failed to be created.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/conditions-section-structure.html
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html (ROLLBACK_COMPLETE: delete only)
ministack's change sets list all resources of a template, though it creates the right ones; and it accepts change sets of a
stack in ROLLBACK_COMPLETE.
"""

from __future__ import annotations

from typing import Any


def patch() -> None:
    """Remove other resources from both templates that ministack compares; refuse such stacks with AWS's message."""
    from ministack.services.cloudformation import changesets, handlers

    resolve = changesets._resolve_props_for_diff

    def resolve_existing(template: Any, params: Any, *where: Any) -> Any:
        resolved = resolve(template, params, *where)
        if template:
            holds = changesets._evaluate_conditions(template, params)
            resources = resolved["Resources"]
            resolved["Resources"] = {n: r for n, r in resources.items() if holds.get(r.get("Condition"), True)}
        return resolved

    create = handlers._ACTION_HANDLERS["CreateChangeSet"]

    def create_unless_rolled_back(params: Any) -> Any:
        stack = handlers._resolve_stack(changesets._p(params, "StackName"))
        if stack and stack.get("StackStatus") == "ROLLBACK_COMPLETE":
            message = f"Stack:{stack['StackId']} is in ROLLBACK_COMPLETE state and can not be updated."
            return changesets._error("ValidationError", message)
        return create(params)

    changesets._resolve_props_for_diff = resolve_existing
    handlers._ACTION_HANDLERS["CreateChangeSet"] = create_unless_rolled_back
