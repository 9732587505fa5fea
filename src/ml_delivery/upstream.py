"""The template that a service was made from: its versions, and what is new.

Git reads the template's repository each time; ``.cruft.json`` has its address and the commit of the last update.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_delivery.errors import ConfigError, SetupError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SHIPPED", "STATE", "Available", "environment", "git", "last", "newest", "opened", "show", "state"]

STATE = ".cruft.json"
HEAD_SECONDS = 5
SHIPPED = "{{cookiecutter.project_slug}}"
# What a bake is made from, without the template's own tests and documents.
MADE_FROM = ("cookiecutter.json", "hooks", "local_extensions", "pyproject.toml", "src", SHIPPED)


@dataclass(frozen=True)
class Available:
    """A service's template.

    Attributes:
        template: its git repository.
        commit, version: what the service was last updated to; the version is empty if that had no package.
        newest, newest_version: what it can be updated to.
        newer: whether they differ in anything that a bake is made from.
        changes: the sections of the changelog that are new or changed.
    """

    template: str
    commit: str
    version: str
    newest: str
    newest_version: str
    newer: bool
    changes: tuple[str, ...]


@contextmanager
def opened(root: Path, to: str = "") -> Iterator[tuple[Available, Path]]:
    """What the service in ``root`` can be updated to, and a clone of its template, which exists during the block.

    Args:
        root: the service's folder.
        to: a tag, branch or commit of the template; default: the newest commit of its default branch.

    Raises:
        ConfigError: the service is not linked to a template, or ``to`` does not exist there.
        SetupError: the template can't be cloned.
    """
    linked = state(root)
    template, commit = linked["template"], linked["commit"]
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch, "template")
        done = _run(root, "clone", "--quiet", "--no-checkout", template, str(clone))
        if done.returncode != 0:
            raise SetupError(
                f"the template {template} can't be cloned: {last(done.stderr)}",
                next="check the network, and that git may read the repository; then run this again",
            )
        newest = ""
        for name in (f"origin/{to}", to) if to else ("HEAD",):
            newest = newest or _run(clone, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").stdout.strip()
        if not newest:
            raise ConfigError("--to", [f"{template} has no tag, branch or commit {to!r}"])
        if _run(clone, "cat-file", "-e", f"{commit}^{{commit}}").returncode != 0:
            raise ConfigError(
                STATE,
                [f"commit: {template} no longer has the commit {commit}"],
                next=f"write the commit that replaced it into {STATE}",
            )
        newer = _run(clone, "diff", "--quiet", commit, newest, "--", *MADE_FROM).returncode != 0
        old, new = (_sections(show(clone, one, "CHANGELOG.md")) for one in (commit, newest))
        changes = tuple(section for title, section in new.items() if old.get(title) != section)
        yield (
            Available(template, commit, _version(clone, commit), newest, _version(clone, newest), newer, changes),
            clone,
        )


def newest(root: Path) -> str:
    """The newest commit of the template's default branch, without a clone; empty if it can't be read within 5 s.

    Raises:
        ConfigError: as ``state`` raises it.
    """
    template = state(root)["template"]
    try:
        words = ["git", "ls-remote", "--quiet", template, "HEAD"]
        done = subprocess.run(
            words, cwd=root, capture_output=True, text=True, check=False, env=environment(), timeout=HEAD_SECONDS
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\t")[0] if done.returncode == 0 else ""


def state(root: Path) -> dict[str, Any]:
    """What cruft stores about the service in ``root``: ``template``, ``commit``, ``skip`` and more.

    Raises:
        ConfigError: there is no such file, or it is damaged.
    """
    try:
        found: dict[str, Any] = json.loads((root / STATE).read_text(encoding="utf-8"))
        return found | {name: str(found[name]) for name in ("template", "commit")}
    except FileNotFoundError as error:
        raise ConfigError(
            STATE,
            [
                f"{root} is not linked to a template: it was made by cookiecutter, which stores no link, or without a template"
            ],
            next="uvx cruft link TEMPLATE --checkout COMMIT, with the repository and the commit or tag that it was made from; "
            "or, without a template, lock a newer ml-delivery",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            STATE, [f"can't be read: {type(error).__name__}: {error}"], next=f"git checkout HEAD -- {STATE}"
        ) from error


def _sections(changelog: str) -> dict[str, str]:
    """The sections of a changelog by their headings (https://keepachangelog.com)."""
    parts = re.split(r"^(?=## )", changelog, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part.strip() for part in parts if part.partition("\n")[2].strip()}


def _version(clone: Path, commit: str) -> str:
    found = re.search(r'^__version__ = "([^"]+)"$', show(clone, commit, "src/ml_delivery/__init__.py"), re.MULTILINE)
    return found[1] if found else ""


def show(clone: Path, commit: str, path: str) -> str:
    """The text of a file of the template at ``commit``; empty if it does not exist."""
    done = _run(clone, "show", f"{commit}:{path}")
    return done.stdout if done.returncode == 0 else ""


def git(root: Path, *words: str) -> str:
    """The output of a git command in ``root``.

    Raises:
        SourceError: it failed; the message has git's reason.
    """
    done = _run(root, *words)
    if done.returncode != 0:
        raise SourceError(f"git {words[0]} failed: {last(done.stderr)}", next="git status")
    return done.stdout


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=False, env=environment()
        )
    except FileNotFoundError as error:
        raise SourceError("git is not installed", next="install git") from error


def environment() -> dict[str, str]:
    """The environment variables for git, which then fails instead of asking for a password."""
    return {**os.environ, "GIT_TERMINAL_PROMPT": "0"}


def last(text: str) -> str:
    """The last line of a program's output, which is usually the reason."""
    return (text.strip().splitlines() or ["no reason given"])[-1]
