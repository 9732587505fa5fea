"""The task that updates the service from its template: upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke import Exit

from ml_delivery.tasks import console
from ml_delivery.tasks.base import JSON, action, find_root

if TYPE_CHECKING:
    from ml_delivery.upgrade import Updated
    from ml_delivery.upstream import Available

CHECK = "change nothing; exit 2 if there is a newer template, else 0"
TO = "a tag, branch or commit of the template; default: the newest commit of its default branch"
TARGET = "bring the files that another target needs, of the version that this service has"
PULL_REQUEST = "update on a new branch, commit, push, and open a pull request with GitHub's gh"


@action(help={"check": CHECK, "to": TO, "target": TARGET, "pull_request": PULL_REQUEST, "json": JSON})
def upgrade(
    _: Any, check: bool = False, to: str = "", target: str = "", pull_request: bool = False, json: bool = False
) -> None:
    """Update this service to the newest template; print what is new and what to do next."""
    from ml_delivery import upgrade as upgrading
    from ml_delivery import upstream

    root = find_root()
    done, branch, address = None, "", ""
    if target:
        _require_brought(target, alone=not (check or to or pull_request))
    with upstream.opened(root, to) as (found, clone):
        if target:
            done = upgrading.retarget(root, target)
        elif not json:
            console.say(_news(found))
        wanted = found.newer and not check and not target
        if wanted and pull_request and not (branch := upgrading.branch(root, found)):
            console.warn("a branch with this update was already pushed: merge its pull request, or delete the branch")
            wanted = False
        if wanted:
            done = upgrading.update(root, found, clone, to)
    if done and branch:
        title = f"Update to ml-delivery {found.newest_version}"
        address = upgrading.propose(root, branch, title, f"{_news(found)}\n\n{_next(done)}")
    if json:
        console.document({"template": found, "update": done, "pull_request": address})
    elif done:
        for name in done.restored:
            console.warn(
                f"{name} had local changes; it was restored in a separate commit before the template updated it"
            )
        where = f"and committed: {address}" if branch else "not committed: git diff HEAD shows what changed"
        console.say(f"{console.counted(len(done.changed), 'file')} changed, {where}")
        console.say(_target(target) if target else _next(done))
    if check and found.newer:
        raise Exit(code=2)


def _require_brought(target: str, *, alone: bool) -> None:
    """Check that the template has files for ``target``, and that nothing else is asked for.

    Raises:
        ConfigError: it has none, or there is.
    """
    from ml_delivery import plugin
    from ml_delivery.errors import ConfigError

    if not alone:
        raise ConfigError(
            "--target", ["stands alone, without --check, --to or --pull-request"], next="invoke upgrade --help"
        )
    if target not in (known := plugin.built_in()):
        raise ConfigError("--target", [f"{target!r} is not one of {', '.join(known)}"], next="invoke upgrade --help")


def _target(target: str) -> str:
    """What remains to be done by hand."""
    return (
        f'next: commit, then write target = "{target}" and its keys of [function] into pipeline.toml, as the page '
        "'Change the target' of the documentation describes"
    )


def _news(found: Available) -> str:
    """The installed and the newest version, and the changes in between."""
    here = f"ml-delivery {found.version or 'before 0.1.0'} ({found.commit[:7]})"
    if not found.newer:
        return f"{here} is the newest of {found.template}"
    there = f"{here} → {found.newest_version} ({found.newest[:7]}) of {found.template}"
    return "\n\n".join([there, *found.changes])


def _next(done: Updated) -> str:
    """What remains to be done."""
    from ml_delivery.dependencies.locks import shown

    lock = "nox -s lock && " if done.stale else ""
    return "\n".join(
        [*(f"stale: {shown(one)}" for one in done.stale), f"next: make setup && {lock}nox, then git commit --all"]
    )
