"""Hashed requirements files, read for one target, and checked against what ``pyproject.toml`` declares.

``python -m pipeline.locks`` exits with 1 and names what is stale; ``nox -s lock`` makes the locks anew.
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["Pin", "for_target", "read", "stale"]

FOLDER = "requirements"
MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Pin:
    """One locked package: canonical name, exact version, its marker (may be empty), and its files' sha256 digests."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def read(path: Path) -> list[Pin]:
    """The pins of a lock, in its order.

    Raises:
        ValueError: a line is not ``name==version [; marker] --hash=sha256:…``.
    """
    pins = []
    text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    for line in text.splitlines():
        if not (line := line.partition(" #")[0].strip()) or line.startswith("#"):
            continue
        words, *hashes = line.split("--hash=sha256:")
        requirement = Requirement(words.strip())
        versions = [s.version for s in requirement.specifier if s.operator == "=="]
        if len(versions) != 1 or not hashes:
            raise ValueError(f"{path.name}: {words.strip()} is not pinned with a hash; nox -s lock")
        pins.append(
            Pin(
                canonicalize_name(requirement.name),
                versions[0],
                str(requirement.marker or ""),
                tuple(h.strip() for h in hashes),
            )
        )
    return pins


def for_target(pins: list[Pin], python: str, architecture: str) -> list[Pin]:
    """The pins that apply to Lambda's ``python`` ("3.12") on ``architecture`` ("x86_64" or "arm64")."""
    environment = {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": MACHINES[architecture],
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
        "extra": "",
    }
    return [pin for pin in pins if _applies(pin.marker, environment)]


def stale(root: Path) -> list[str]:
    """What the locks in ``root`` lack of what its ``pyproject.toml`` declares; one line each, empty when all is well."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    serve = project["project"].get("dependencies", [])
    groups = dict(project.get("dependency-groups", {}))
    declared = {"serve": serve, **groups, "train": [*serve, *groups.get("train", [])]}
    problems = []
    for name, requirements in declared.items():
        path = root / FOLDER / f"{name}.txt"
        if not path.is_file():
            problems.append(f"{FOLDER}/{name}.txt: missing")
            continue
        pins = read(path)
        for text in requirements:
            requirement = Requirement(text)
            versions = [p.version for p in pins if p.name == canonicalize_name(requirement.name)]
            if not any(requirement.specifier.contains(version, prereleases=True) for version in versions):
                locked = f"locks {', '.join(versions)}" if versions else "does not lock it"
                problems.append(f"{FOLDER}/{name}.txt: pyproject.toml declares {text}, the lock {locked}")
    return problems


def _applies(marker: str, environment: dict[str, str]) -> bool:
    return not marker or bool(Requirement(f"x; {marker}").marker.evaluate(environment))  # type: ignore[union-attr]


def main() -> int:
    """Print what is stale; exit code 1 if anything is."""
    problems = stale(Path.cwd())
    for problem in problems:
        print(problem)
    if problems:
        print("next: nox -s lock", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
