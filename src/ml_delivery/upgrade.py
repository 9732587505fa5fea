"""Updates a service to a newer template, by cruft, and checks the service's own lockfiles.

cruft (https://cruft.github.io/cruft/) renders the old and the new template, and applies the difference. It skips what the
service's owner owns: ``[tool.cruft] skip`` in ``pyproject.toml``, which the owner maintains, and ``skip`` in ``.cruft.json``,
which is written here after each update, so that the list can grow.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery.dependencies import envs, locks
from ml_delivery.errors import ConfigError, Conflict, SetupError, SourceError
from ml_delivery.upstream import SHIPPED, STATE, environment, git, last, show, state

if TYPE_CHECKING:
    from ml_delivery.upstream import Available

__all__ = ["OWNED", "Updated", "branch", "propose", "retarget", "update"]

DELIVERY, UV = "requirements/delivery.txt", "requirements/uv.txt"
OWNED = Path(__file__).parent / "owned.txt"  # what an update never touches; each wheel has its version's list
LOCK = Path(__file__).parent / "locks/upgrade.txt"


@dataclass(frozen=True)
class Updated:
    """What an update did.

    Attributes:
        restored: generated files with local changes, which were first restored in a separate commit.
        changed: the files that differ from the last commit after the update.
        stale: how the service's lockfiles differ from ``pyproject.toml``.
    """

    restored: tuple[str, ...]
    changed: tuple[str, ...]
    stale: tuple[locks.Stale, ...]


def update(root: Path, found: Available, clone: Path, to: str = "") -> Updated:
    """Update the service in ``root`` to ``found.newest``; the update itself is not committed.

    Args:
        root: the service's folder.
        found: what ``upstream.opened`` returned, with the ``clone``.
        clone: the template.
        to: as for ``upstream.opened``.

    Raises:
        SourceError: the tree has uncommitted changes.
        Conflict: the update is in the tree, and conflicts with the owner's changes; the message lists the files.
        SetupError: cruft can't be installed, or failed.
    """
    cruft = _cruft(root)
    restored = _restore(root, clone, found.commit)  # once nothing but cruft itself can fail
    _run(root, cruft, *(["--checkout", to] if to else []))
    _write_skip(root)
    return _updated(root, restored, _left(root, clone, found))


def retarget(root: Path, target: str) -> Updated:
    """Bring the files that another target needs, of the version that the service in ``root`` has; nothing is committed.

    The files of the earlier target stay, since an environment of that target may be live until its callers have moved.

    Args:
        root: the service's folder.
        target: one of the template's targets.

    Raises:
        ConfigError: the service is not linked to a template, or has this target's files from the start.
        SourceError: the tree has uncommitted changes.
        Conflict: a file of that name is there already; the message lists them.
        SetupError: cruft can't be installed, or failed.
    """
    before = state(root)
    if before.get("context", {}).get("cookiecutter", {}).get("target") == target:
        raise ConfigError(
            "--target",
            [f"the service was made for {target}, with its files: one that is missing was removed since"],
            next="git log --oneline --diff-filter=D --name-only -- 'Dockerfile*' src/ml_service",
        )
    cruft = _cruft(root)
    _run(root, cruft, "--checkout", before["commit"], "--variables-to-update", json.dumps({"target": target}))
    _write_skip(root, checkout=before.get("checkout"))
    if gone := git(root, "diff", "--name-only", "--no-renames", "--diff-filter=D", "-z", "HEAD").strip("\0"):
        git(root, "checkout", "--quiet", "HEAD", "--", *gone.split("\0"))
    return _updated(root, (), [])


def _cruft(root: Path) -> Path:
    """The program cruft, for a tree without uncommitted changes.

    Raises:
        SourceError: the tree has some.
        SetupError: cruft can't be installed.
    """
    _require_clean(root)
    python = envs.find_python(f"{sys.version_info.major}.{sys.version_info.minor}")
    return envs.ensure(root, "upgrade", LOCK, python).parent / "cruft"


def _run(root: Path, cruft: Path, *options: str) -> None:
    """Let cruft update the tree.

    Raises:
        SetupError: it failed, or did nothing.
    """
    before, words = state(root), [str(cruft), "update", "--skip-apply-ask", *options]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False, env=environment())
    if done.returncode != 0 or state(root) == before:
        raise SetupError(
            f"cruft update failed: {last(done.stderr) or last(done.stdout)}",
            next=f"git status, then {shlex.join(words)}, which prints the whole error",
        )


def _updated(root: Path, restored: tuple[str, ...], left: list[str]) -> Updated:
    """What the update did to the tree.

    Raises:
        Conflict: it conflicts with the owner's changes.
    """
    changed = _status(root)
    conflicts = [
        name for code, name in changed if "U" in code or code in ("AA", "DD") or name.endswith((".rej", ".orig"))
    ]
    conflicts += [f"{name} (the template removed it, and you had changed it)" for name in left]
    if conflicts:
        raise Conflict(
            "the update conflicts with your changes:\n  " + "\n  ".join(conflicts),
            next="correct each file (a .rej has what could not be applied), remove what is not needed, then make setup && nox; "
            "git reset --hard && git clean -df undoes the update",
        )
    return Updated(restored, tuple(name for _, name in changed), tuple(locks.stale(root)))


def branch(root: Path, found: Available) -> str:
    """Create and check out a branch for the update; returns its name, empty if ``origin`` already has it.

    Raises:
        SourceError: the tree has uncommitted changes, or git failed.
    """
    _require_clean(root)
    name = f"ml-delivery-{found.newest_version}-{found.newest[:7]}"
    if git(root, "ls-remote", "--heads", "origin", f"refs/heads/{name}"):
        return ""
    git(root, "switch", "--quiet", "--create", name)
    return name


def propose(root: Path, name: str, title: str, body: str) -> str:
    """Commit everything to the branch ``name``, push it, and open a pull request; returns its URL.

    Raises:
        SourceError: git failed.
        SetupError: GitHub's gh is not installed, or failed.
    """
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", title)
    git(root, "push", "--quiet", "--set-upstream", "origin", name)
    words = ["gh", "pr", "create", "--head", name, "--title", title, "--body", body]
    try:
        done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SetupError(
            f"gh is not installed; the branch {name} was pushed", next="open its pull request on GitHub"
        ) from error
    if done.returncode != 0:
        raise SetupError(
            f"the branch {name} was pushed, but gh pr create failed: {last(done.stderr)}",
            next="open its pull request on GitHub",
        )
    return done.stdout.strip()


def _require_clean(root: Path) -> None:
    if changed := _status(root):
        names = ", ".join(name for _, name in changed[:5]) + (", …" if len(changed) > 5 else "")
        raise SourceError(
            f"there are uncommitted changes, which the update would mix with its own: {names}",
            next="git stash --include-untracked, or git add --all && git commit; then invoke upgrade",
        )


def _restore(root: Path, clone: Path, commit: str) -> tuple[str, ...]:
    """Restore generated files, which a bot may have bumped, in a commit; returns the names of those that differed.

    The update then finds what it expects. New versions in these files come from the template.
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
    """Files that the template removed but that still exist: cruft keeps a changed file, without reporting it."""
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
    """The delivery lockfile, as a bake's hook writes it for ``wheel``."""
    version = wheel.name.split("-")[1]
    line = f"ml-delivery=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    with zipfile.ZipFile(wheel) as archive:
        return archive.read("ml_delivery/locks/delivery.txt").decode() + line


def _write_skip(root: Path, **more: object) -> None:
    """Write the new package's list of what the owner owns to where the next update reads it, and ``more`` beside it."""
    listed = OWNED.read_text(encoding="utf-8")
    if wheel := _wheel(root):
        with zipfile.ZipFile(wheel) as archive:
            listed = archive.read("ml_delivery/owned.txt").decode()
    written = state(root) | {"skip": listed.split()} | more
    (root / STATE).write_text(json.dumps(written, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _status(root: Path) -> list[tuple[str, str]]:
    """The files that differ from the last commit: git's two status letters, and the name."""
    listed = git(root, "status", "--porcelain", "--no-renames", "--untracked-files=all", "-z")
    return [(entry[:2], entry[3:]) for entry in listed.split("\0") if entry]
