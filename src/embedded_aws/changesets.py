"""A change set names only resources whose condition holds, and changes no stack whose making failed.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/conditions-section-structure.html
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html (ROLLBACK_COMPLETE: delete only)
ministack's change sets list all of a template, though it makes the right ones; and take a stack that was rolled back for a new
one, or for one that can be updated.
"""

from __future__ import annotations

from typing import Any


def mend() -> None:
    """Leave the others out of both templates that ministack compares, and refuse such stacks in AWS's words."""
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

    def create_of_living(params: Any) -> Any:
        stack = handlers._resolve_stack(changesets._p(params, "StackName"))
        if stack and stack.get("StackStatus") == "ROLLBACK_COMPLETE":
            message = f"Stack:{stack['StackId']} is in ROLLBACK_COMPLETE state and can not be updated."
            return changesets._error("ValidationError", message)
        return create(params)

    changesets._resolve_props_for_diff = resolve_existing
    handlers._ACTION_HANDLERS["CreateChangeSet"] = create_of_living
