"""Brings a newer template into a service: what is new, cruft's update, and what the service's own locks need then.

cruft (https://cruft.github.io/cruft/) renders the template as it was and as it is, and applies the difference. It skips what
the owner of the service owns: ``[tool.cruft] skip`` of ``pyproject.toml``, which is the owner's itself, and ``skip`` of
``.cruft.json``, which is written here after each update, so that the list can grow.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery.dependencies import envs, locks
from ml_delivery.errors import Conflict, SetupError, SourceError
from ml_delivery.upstream import SHIPPED, STATE, environment, git, last, show, state

if TYPE_CHECKING:
    from ml_delivery.upstream import Available

__all__ = ["OWNED", "Updated", "branch", "propose", "update"]

DELIVERY, UV = "requirements/delivery.txt", "requirements/uv.txt"
OWNED = Path(__file__).parent / "owned.txt"  # what an update never touches; in the wheel, that of its version
LOCK = Path(__file__).parent / "locks/upgrade.txt"


@dataclass(frozen=True)
class Updated:
    """What an update did.

    Attributes:
        restored: generated files that had been changed, which were put back in a commit of their own first.
        changed: the files that differ from that commit now.
        stale: what the service's locks lack, one line each (``locks.stale``).
    """

    restored: tuple[str, ...]
    changed: tuple[str, ...]
    stale: tuple[str, ...]


def update(root: Path, found: Available, clone: Path, to: str = "") -> Updated:
    """Update the service in ``root`` to ``found.newest``; nothing of it is committed.

    Args:
        root: the service's folder.
        found: what ``opened`` gave, with the ``clone``.
        clone: the template.
        to: as for ``opened``.

    Raises:
        SourceError: the tree has changes.
        Conflict: the update is in the tree, and conflicts with changes of the owner; names the files.
        SetupError: cruft can't be installed, or failed.
    """
    _require_clean(root)
    restored = _restore(root, clone, found.commit)
    python = envs.find_python(f"{sys.version_info.major}.{sys.version_info.minor}")
    cruft = envs.ensure(root, "upgrade", LOCK, python).parent / "cruft"
    words = [str(cruft), "update", "--skip-apply-ask", *(["--checkout", to] if to else [])]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False, env=environment())
    if done.returncode != 0 or state(root)["commit"] == found.commit:
        raise SetupError(
            f"cruft update failed: {last(done.stderr) or last(done.stdout)}",
            next=f"git status, then {' '.join(words)}, which prints all of it",
        )
    _write_skip(root)
    changed = _status(root)
    conflicts = [
        name for code, name in changed if "U" in code or code in ("AA", "DD") or name.endswith((".rej", ".orig"))
    ]
    conflicts += [f"{name} (the template removed it, and you had changed it)" for name in _left(root, clone, found)]
    if conflicts:
        raise Conflict(
            "the update conflicts with changes of yours:\n  " + "\n  ".join(conflicts),
            next="correct each file (a .rej holds what did not fit), remove what is not needed, then make setup && nox; "
            "git reset --hard && git clean -df takes the update back",
        )
    return Updated(restored, tuple(name for _, name in changed), tuple(locks.stale(root)))


def branch(root: Path, found: Available) -> str:
    """A new branch for the update, checked out; empty when ``origin`` has it already.

    Raises:
        SourceError: the tree has changes, or git refused.
    """
    _require_clean(root)
    name = f"ml-delivery-{found.newest_version}-{found.newest[:7]}"
    if git(root, "ls-remote", "--heads", "origin", f"refs/heads/{name}"):
        return ""
    git(root, "switch", "--quiet", "--create", name)
    return name


def propose(root: Path, name: str, title: str, body: str) -> str:
    """Commit all to the branch ``name``, push it, and open a pull request for it; its address.

    Raises:
        SourceError: git refused.
        SetupError: GitHub's gh is not installed, or refused.
    """
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", title)
    git(root, "push", "--quiet", "--set-upstream", "origin", name)
    words = ["gh", "pr", "create", "--head", name, "--title", title, "--body", body]
    try:
        done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SetupError("gh is not installed; the branch is pushed", next="open its pull request on GitHub") from error
    if done.returncode != 0:
        raise SetupError(
            f"the branch {name} is pushed, but gh pr create failed: {last(done.stderr)}",
            next="open its pull request on GitHub",
        )
    return done.stdout.strip()


def _require_clean(root: Path) -> None:
    if changed := _status(root):
        names = ", ".join(name for _, name in changed[:5]) + (", …" if len(changed) > 5 else "")
        raise SourceError(
            f"there are changes that are not committed, which an update would mix with its own: {names}",
            next="git stash --include-untracked, or git commit; then invoke upgrade",
        )


def _restore(root: Path, clone: Path, commit: str) -> tuple[str, ...]:
    """Put back what the template generates and a bot may have bumped, in a commit; the names of what had been changed.

    The update then applies to what it expects. A bump in these comes with the template.
    """
    wanted = {UV: show(clone, commit, f"{SHIPPED}/{UV}")}
    if wheel := _wheel(root):
        wanted[DELIVERY] = _delivery(wheel)
    changed = [
        name
        for name, text in sorted(wanted.items())
        if text and (root / name).is_file() and (root / name).read_text(encoding="utf-8") != text
    ]
    if changed:
        for name in changed:
            (root / name).write_text(wanted[name], encoding="utf-8")
        message = "Restore what the template generates, before an update of it"
        git(root, "commit", "--quiet", "--message", message, "--", *changed)
    return tuple(changed)


def _left(root: Path, clone: Path, found: Available) -> list[str]:
    """What the template has removed and is still there; cruft leaves a file that was changed, without reporting it."""
    old, new = (
        set(git(clone, "ls-tree", "-r", "--name-only", "-z", f"{commit}:{SHIPPED}").split("\0"))
        for commit in (found.commit, found.newest)
    )
    owned = tuple(OWNED.read_text(encoding="utf-8").split())
    gone = [name for name in sorted(old - new) if name and not f"{name}/".startswith(tuple(f"{one}/" for one in owned))]
    return [name for name in gone if (root / name).is_file()]


def _wheel(root: Path) -> Path | None:
    """The vendored package, if there is one."""
    found = sorted((root / "vendor").glob("ml_delivery-*.whl"))
    return found[-1] if found else None


def _delivery(wheel: Path) -> str:
    """The lock of what delivers, as the hook of a bake writes it for ``wheel``."""
    version = wheel.name.split("-")[1]
    line = f"ml-delivery=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    with zipfile.ZipFile(wheel) as archive:
        return archive.read("ml_delivery/locks/delivery.txt").decode() + line


def _write_skip(root: Path) -> None:
    """Write what the owner owns, as the package that has just arrived says, where the next update reads it."""
    listed = OWNED.read_text(encoding="utf-8")
    if wheel := _wheel(root):
        with zipfile.ZipFile(wheel) as archive:
            listed = archive.read("ml_delivery/owned.txt").decode()
    written = state(root) | {"skip": listed.split()}
    (root / STATE).write_text(json.dumps(written, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _status(root: Path) -> list[tuple[str, str]]:
    """What differs from the last commit: git's two letters, and the file."""
    listed = git(root, "status", "--porcelain", "--no-renames", "--untracked-files=all", "-z")
    return [(entry[:2], entry[3:]) for entry in listed.split("\0") if entry]
