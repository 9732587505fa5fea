"""A change set lists only resources whose condition holds, none is made for a stack that failed to be created, and one imports.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/conditions-section-structure.html
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html (ROLLBACK_COMPLETE: delete only)
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/import-resources-automatically.html
ministack's change sets list all resources of a template, though it creates the right ones; it accepts change sets of a
stack in ROLLBACK_COMPLETE; and it refuses, as a conflict of names, the very bucket that a change set lists as imported.
"""

from __future__ import annotations

from typing import Any


def patch() -> None:
    """Remove other resources from both templates that ministack compares; refuse such stacks with AWS's message."""
    from ministack.services.cloudformation import _change_sets, changesets, handlers, stacks

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

    find_errors = stacks._validation_errors

    def errors_but_imports(*arguments: Any, **named: Any) -> list[Any]:
        stack = arguments[6]
        own = [change_set for change_set in _change_sets.values() if change_set.get("StackId") == stack]
        imported = {name for change_set in own for name in change_set.get("_import_existing") or ()}
        return [
            e for e in find_errors(*arguments, **named) if e[0] not in imported or e[2] != "NAME_CONFLICT_VALIDATION"
        ]

    changesets._resolve_props_for_diff = resolve_existing
    stacks._validation_errors = errors_but_imports
    handlers._ACTION_HANDLERS["CreateChangeSet"] = create_unless_rolled_back
