"""The template that the service came from: upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke import Exit

from ml_delivery.tasks import console
from ml_delivery.tasks.base import JSON, action, find_root

if TYPE_CHECKING:
    from ml_delivery.upgrade import Available

CHECK = "change nothing; exit 2 when there is a newer template, 0 when there is none"
TO = "a tag, branch or commit of the template; default: the head of its default branch"


@action(help={"check": CHECK, "to": TO, "json": JSON})
def upgrade(_: Any, check: bool = False, to: str = "", json: bool = False) -> None:
    """Bring the newest template into this service: say what is new, update, and say what to do next."""
    from ml_delivery import upgrade as upgrading

    root = find_root()
    with upgrading.opened(root, to) as (found, clone):
        if not json:
            _print(found)
        done = None if check or not found.newer else upgrading.update(root, found, clone, to)
    if json:
        console.document({"template": found, "update": done})
    if check and found.newer:
        raise Exit(code=2)
    if done is None or json:
        return
    for name in done.restored:
        console.warn(f"{name} had been changed, and was restored in a commit of its own; the template brings its versions")
    console.say(f"{len(done.changed)} files are changed and not committed: git diff HEAD shows them")
    for problem in done.stale:
        console.warn(problem)
    console.say(f"next: make setup && {'nox -s lock && ' if done.stale else ''}nox, then git add --all && git commit")


def _print(found: Available) -> None:
    here = f"{found.version or 'before 0.1.0'} ({found.commit[:7]})"
    if not found.newer:
        return console.say(f"ml-delivery {here} is the newest of {found.template}")
    console.say(f"ml-delivery {here} → {found.newest_version} ({found.newest[:7]}) of {found.template}")
    for section in found.changes:
        console.say(f"\n{section}")
    console.say("")
