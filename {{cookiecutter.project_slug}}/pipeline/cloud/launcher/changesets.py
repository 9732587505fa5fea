"""A change set names only resources whose condition holds.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/conditions-section-structure.html
ministack's change sets list all of a template, though it makes the right ones.
"""

from __future__ import annotations

from typing import Any


def mend() -> None:
    """Leave the others out of both templates that ministack compares."""
    from ministack.services.cloudformation import changesets

    resolve = changesets._resolve_props_for_diff

    def resolve_existing(template: Any, params: Any, *where: Any) -> Any:
        resolved = resolve(template, params, *where)
        if template:
            holds = changesets._evaluate_conditions(template, params)
            resources = resolved["Resources"]
            resolved["Resources"] = {n: r for n, r in resources.items() if holds.get(r.get("Condition"), True)}
        return resolved

    changesets._resolve_props_for_diff = resolve_existing
