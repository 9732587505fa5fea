"""Brings a newer template into a service: what is new, cruft's update, and what the service's own locks need then.

cruft (https://cruft.github.io/cruft/) renders the template as it was and as it is, and applies the difference. It skips what
the owner of the service owns: ``[tool.cruft] skip`` of ``pyproject.toml``, which is the owner's itself, and ``skip`` of
``.cruft.json``, which is written here after each update, so that the list can grow.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_delivery.dependencies import envs, locks
from ml_delivery.errors import ConfigError, Conflict, SetupError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OWNED", "Available", "Updated", "look", "opened", "update"]

STATE = ".cruft.json"
SHIPPED = "{{cookiecutter.project_slug}}"
# What a bake is made from; the template's own tests and documents are not.
MADE_FROM = ("cookiecutter.json", "hooks", "local_extensions", "pyproject.toml", "src", SHIPPED)
DELIVERY, UV = "requirements/delivery.txt", "requirements/uv.txt"
OWNED = Path(__file__).parent / "owned.txt"  # what an update never touches; in the wheel, that of its version
LOCK = Path(__file__).parent / "locks/upgrade.txt"


@dataclass(frozen=True)
class Available:
    """A service's template.

    Attributes:
        template: its git repository.
        commit, version: what the service was last updated to; the version is empty for one without a package.
        newest, newest_version: what it can be updated to.
        newer: whether the two differ in anything that reaches a service.
        changes: the sections of the changelog that are new or were changed between the two.
    """

    template: str
    commit: str
    version: str
    newest: str
    newest_version: str
    newer: bool
    changes: tuple[str, ...]


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


def look(root: Path, to: str = "") -> Available:
    """What the service in ``root`` can be updated to.

    Args:
        root: the service's folder.
        to: a tag, branch or commit of the template; default: the head of its default branch.

    Raises:
        ConfigError: the service is not linked to a template, or ``to`` does not exist there.
        SetupError: the template can't be cloned.
    """
    with opened(root, to) as (found, _):
        return found


@contextmanager
def opened(root: Path, to: str = "") -> Iterator[tuple[Available, Path]]:
    """``look``, and the clone of the template that it looked at, for as long as the block runs."""
    state = _state(root)
    template, commit = state["template"], state["commit"]
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch, "template")
        done = _run(root, "clone", "--quiet", "--no-checkout", template, str(clone))
        if done.returncode != 0:
            raise SetupError(
                f"the template {template} can't be cloned: {_last(done.stderr)}",
                next="check the network, and that git may read it; then run this again",
            )
        newest = ""
        for name in (f"origin/{to}", to) if to else ("HEAD",):
            newest = newest or _run(clone, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").stdout.strip()
        if not newest:
            raise ConfigError("--to", [f"{template} has no tag, branch or commit {to!r}"])
        if _run(clone, "cat-file", "-e", f"{commit}^{{commit}}").returncode != 0:
            raise ConfigError(
                STATE,
                [f"commit: {template} has no commit {commit} any more"],
                next=f"write the commit there that replaced it into {STATE}",
            )
        newer = _run(clone, "diff", "--quiet", commit, newest, "--", *MADE_FROM).returncode != 0
        old, new = (_sections(_show(clone, one, "CHANGELOG.md")) for one in (commit, newest))
        changes = tuple(section for title, section in new.items() if old.get(title) != section)
        yield (
            Available(template, commit, _version(clone, commit), newest, _version(clone, newest), newer, changes),
            clone,
        )


def update(root: Path, found: Available, clone: Path, to: str = "") -> Updated:
    """Update the service in ``root`` to ``found.newest``; nothing of it is committed.

    Args:
        root: the service's folder.
        found: what ``opened`` gave, with the ``clone``.
        clone: the template.
        to: as for ``look``.

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
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode != 0 or _state(root)["commit"] == found.commit:
        raise SetupError(
            f"cruft update failed: {_last(done.stderr) or _last(done.stdout)}",
            next=f"git status, then {' '.join(words)}, which prints all of it",
        )
    _write_skip(root)
    changed = _status(root)
    conflicts = [name for code, name in changed if "U" in code or code in ("AA", "DD") or name.endswith((".rej", ".orig"))]
    conflicts += [f"{name} (the template removed it, and you had changed it)" for name in _left(root, clone, found)]
    if conflicts:
        raise Conflict(
            "the update conflicts with changes of yours:\n  " + "\n  ".join(conflicts),
            next="correct each file (a .rej holds what did not fit), remove what is not needed, then make setup && nox; "
            "git reset --hard && git clean -df takes the update back",
        )
    return Updated(restored, tuple(name for _, name in changed), tuple(locks.stale(root)))


def _state(root: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((root / STATE).read_text(encoding="utf-8"))
        return state | {name: str(state[name]) for name in ("template", "commit")}
    except FileNotFoundError as error:
        raise ConfigError(
            STATE,
            [f"{root} is not linked to a template: cookiecutter made it, which keeps no link, or it never was made from one"],
            next="uvx cruft link TEMPLATE --checkout COMMIT, with the repository and the commit or tag that it was made from; "
            "or, without a template, a newer ml-delivery in its own lock",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            STATE, [f"can't be read: {type(error).__name__}: {error}"], next=f"git checkout HEAD -- {STATE}"
        ) from error


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
    wanted = {UV: _show(clone, commit, f"{SHIPPED}/{UV}")}
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
        done = _run(root, "commit", "--quiet", "--message", message, "--", *changed)
        if done.returncode != 0:
            raise SourceError(
                f"{', '.join(changed)} can't be committed as the template generates it: {_last(done.stderr)}",
                next=f"git commit -- {' '.join(changed)}, then invoke upgrade",
            )
    return tuple(changed)


def _left(root: Path, clone: Path, found: Available) -> list[str]:
    """What the template has removed and is still there; cruft leaves a file that was changed, without reporting it."""
    old, new = (
        set(_run(clone, "ls-tree", "-r", "--name-only", "-z", f"{commit}:{SHIPPED}").stdout.split("\0"))
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
    state = json.loads((root / STATE).read_text(encoding="utf-8")) | {"skip": listed.split()}
    (root / STATE).write_text(json.dumps(state, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _sections(changelog: str) -> dict[str, str]:
    """The sections of a changelog by their headings (https://keepachangelog.com)."""
    parts = re.split(r"^(?=## )", changelog, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part.strip() for part in parts if part.partition("\n")[2].strip()}


def _version(clone: Path, commit: str) -> str:
    found = re.search(r'^__version__ = "([^"]+)"$', _show(clone, commit, "src/ml_delivery/__init__.py"), re.MULTILINE)
    return found[1] if found else ""


def _show(clone: Path, commit: str, path: str) -> str:
    """A file of the template; empty when it had none."""
    done = _run(clone, "show", f"{commit}:{path}")
    return done.stdout if done.returncode == 0 else ""


def _status(root: Path) -> list[tuple[str, str]]:
    """What differs from the last commit: git's two letters, and the file."""
    words = ["status", "--porcelain", "--no-renames", "--untracked-files=all", "-z"]
    done = _run(root, *words)
    if done.returncode != 0:
        raise SourceError(f"git status: {_last(done.stderr)}", next="git init && git add -A && git commit -m Start")
    return [(entry[:2], entry[3:]) for entry in done.stdout.split("\0") if entry]


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=False, env=_environment()
        )
    except FileNotFoundError as error:
        raise SourceError("git is not installed", next="install git") from error


def _environment() -> dict[str, str]:
    """Git fails rather than ask for a password on a terminal that may not be there."""
    return {**os.environ, "GIT_TERMINAL_PROMPT": "0"}


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
