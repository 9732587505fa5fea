"""What ``pyproject.toml`` declares for each lockfile; without a parser of requirements, which most builds don't need."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

from ml_delivery.errors import ConfigError

__all__ = ["FILE", "SERVE", "declared", "how", "inputs", "table", "unconfirmed"]

FILE, SERVE = "pyproject.toml", "requirements/serve.txt"


def declared(root: Path) -> dict[str, list[str]]:
    """The requirements of each lockfile, by its path in ``root``, from ``[tool.ml-delivery.locks]`` of ``pyproject.toml``.

    That table lists the groups of each lockfile: ``project`` (the project's dependencies), an extra, or a dependency group.
    Without it there is one lockfile, ``requirements/serve.txt``, of the project's dependencies.

    Raises:
        ConfigError: a lockfile has a group that does not exist.
    """
    return _declared((root / FILE).read_text(encoding="utf-8-sig"))


def how(root: Path) -> str:
    """The command that makes the lockfiles of ``root``: a repository without the template's noxfile has no session for it."""
    return "nox -s lock" if (root / "noxfile.py").is_file() else "python -m ml_delivery.dependencies.locks --make"


def unconfirmed(text: str, lockfile: str) -> list[str]:
    """What the service declares for its artifact, unless the lockfile's header names exactly that; empty in most builds.

    Args:
        text: of ``pyproject.toml``; without a project table it declares nothing.
        lockfile: the text of ``requirements/serve.txt``.

    Raises:
        ConfigError: ``text`` is not TOML, or a lockfile has a group that does not exist.
    """
    try:
        requirements = _declared(text).get(SERVE, [])
    except KeyError:
        return []
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(FILE, [f"not TOML: {error}"], next=f"correct {FILE}") from error
    return [] if inputs(requirements) in lockfile[:500] else requirements


def _declared(text: str) -> dict[str, list[str]]:
    document = tomllib.loads(text)
    project = document["project"]
    groups = {
        "project": project.get("dependencies", []),
        **project.get("optional-dependencies", {}),
        **document.get("dependency-groups", {}),
    }
    locks = table(document).get("locks", {SERVE: ["project"]})
    problems = [f"{lock}: no group {name!r}" for lock, names in locks.items() for name in names if name not in groups]
    if problems:
        raise ConfigError(FILE, problems, next="correct [tool.ml-delivery.locks]")
    return {lock: [requirement for name in names for requirement in groups[name]] for lock, names in locks.items()}


def table(document: dict[str, Any]) -> dict[str, Any]:
    """``[tool.ml-delivery]`` of a ``pyproject.toml``."""
    found: dict[str, Any] = document.get("tool", {}).get("ml-delivery", {})
    return found


def inputs(requirements: list[str]) -> str:
    """The digest of the requirements, which is in a lockfile's header."""
    return "from " + hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:16]
