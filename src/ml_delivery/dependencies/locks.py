"""Lockfiles, which are hashed requirements files: read for one target, and checked against ``pyproject.toml``.

``python -m ml_delivery.dependencies.locks`` prints what is stale, and then exits with 1. With ``--make``, uv compiles the
lockfiles for all platforms and Pythons, and keeps versions that still fit; further arguments (``--upgrade``) go to uv.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ml_delivery import config
from ml_delivery.dependencies.pyproject import SERVE, declared, how, inputs, table
from ml_delivery.errors import BuildError, ConfigError, PipelineError

__all__ = [
    "SERVE",
    "Pin",
    "Stale",
    "declared",
    "direct",
    "for_target",
    "how",
    "make",
    "markers",
    "read",
    "shipped",
    "shown",
    "stale",
    "unlocked",
]

MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Pin:
    """One locked package: its canonical name, exact version, marker (may be empty), and its files' sha256 digests."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


@dataclass(frozen=True)
class Stale:
    """One difference between a lockfile and ``pyproject.toml``.

    Attributes:
        lockfile: its name in the service.
        kind: the file is ``missing``, was made from ``other`` declarations, or ``differs`` in one requirement.
        requirement: the requirement as declared, if the lockfile differs in it.
        locked: the versions that are locked instead of it; none if the package is not locked.
    """

    lockfile: str
    kind: Literal["missing", "other", "differs"]
    requirement: str = ""
    locked: tuple[str, ...] = ()


def read(path: Path, root: Path | None = None) -> list[Pin]:
    """The pins of a lockfile, in its order.

    Args:
        path: the lockfile.
        root: the service's folder, if that is not the one above the lockfile's; a refusal names its command.

    Raises:
        BuildError: there is no such file, or a line is not ``name==version [; marker] --hash=sha256:…``.
    """
    root = root or path.absolute().parent.parent
    pins = []
    try:
        text = path.read_text(encoding="utf-8-sig").replace("\\\n", " ")
    except OSError as error:
        raise BuildError(f"{path.name} can't be read: {error}", next=how(root)) from error
    for line in text.splitlines():
        if not (line := line.partition(" #")[0].strip()) or line.startswith("#"):
            continue
        words, *hashes = line.split("--hash=sha256:")
        try:
            requirement = Requirement(words.strip())
            (version,) = [s.version for s in requirement.specifier if s.operator == "=="]
        except (InvalidRequirement, ValueError):
            version = ""
        if not version or not hashes:
            raise _not_pinned(path, words.strip(), root)
        pins.append(
            Pin(
                canonicalize_name(requirement.name),
                version,
                str(requirement.marker or ""),
                tuple(h.strip() for h in hashes),
            )
        )
    return pins


def _not_pinned(path: Path, line: str, root: Path) -> BuildError:
    """What is wrong with a line; ``nox -s lock`` would write some of them again."""
    if line.startswith("-"):  # https://pip.pypa.io/en/stable/reference/requirements-file-format/
        option = line.split()[0].partition("=")[0]
        index = "; name the index by PIP_INDEX_URL, or in pip.conf, and for the lockfile by UV_DEFAULT_INDEX"
        return BuildError(
            f"{path.name}: {option} is an option; each line of a lockfile is a package with its version and hashes",
            next=f"remove that line{index if 'index' in option or option == '-i' else ''}",
        )
    if " @ " in line:
        name, _, address = line.partition(" @ ")
        build = f"build a wheel of {name}, upload it to an index, declare {name}==VERSION in pyproject.toml"
        return BuildError(
            f"{path.name}: {name} comes from {address.split('#')[0]}, not from an index, so there is no wheel and no hash",
            next=f"{build}, then {how(root)}; or copy its code into src/",
        )
    return BuildError(f"{path.name}: {line} is not pinned with a hash", next=how(root))


def for_target(pins: list[Pin], python: str, architecture: str) -> list[Pin]:
    """The pins that apply to CPython ``python`` ("3.12") on ``architecture`` ("x86_64" or "arm64")."""
    values = markers(python, architecture)
    return [pin for pin in pins if _applies(pin.marker, values)]


def markers(python: str, architecture: str) -> dict[str, str]:
    """The values of markers there. https://packaging.python.org/en/latest/specifications/dependency-specifiers/"""
    return {
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


def direct(lock: Path) -> frozenset[str]:
    """The names of the packages that the ``pyproject.toml`` beside ``lock`` declares; empty where ``lock`` was made from others."""
    try:
        requirements = declared(lock.parent)[SERVE]
    except (OSError, KeyError, ValueError, ConfigError):
        return frozenset()
    if inputs(requirements) not in lock.read_text(encoding="utf-8")[:500]:
        return frozenset()
    return frozenset(canonicalize_name(Requirement(text).name) for text in requirements)


def make(root: Path, words: list[str]) -> None:
    """Compile every lockfile of ``root``.

    Raises:
        SetupError: uv could not; the message has uv's reason.
    """
    from ml_delivery.dependencies.envs import uv

    document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8-sig"))
    overrides = table(document).get("override-dependencies", {})
    oldest = document["project"]["requires-python"].removeprefix(">=")
    with tempfile.TemporaryDirectory() as scratch:
        override, wanted = Path(scratch, "override.txt"), Path(scratch, "wanted.in")
        for name, requirements in declared(root).items():
            wanted.write_text("\n".join(requirements))
            override.write_text("\n".join(overrides.get(name, [])))
            options = ["--universal", "--generate-hashes", "--no-annotate", "--no-emit-index-url", "--quiet"]
            made = f"nox -s lock ({inputs(requirements)})"
            options += ["--python-version", oldest, "--custom-compile-command", made, "--override", str(override)]
            (root / name).parent.mkdir(exist_ok=True)
            uv("pip", "compile", *options, *words, str(wanted), "--output-file", str((root / name).resolve()))


def stale(root: Path) -> list[Stale]:
    """How the lockfiles in ``root`` differ from what ``pyproject.toml`` declares; empty if they don't."""
    problems = []
    for name, requirements in declared(root).items():
        path = root / name
        if not path.is_file():
            problems.append(Stale(name, "missing"))
            continue
        missed = unlocked(name, requirements, read(path))
        problems += missed
        if not missed and inputs(requirements) not in path.read_text(encoding="utf-8")[:500]:
            problems.append(Stale(name, "other"))
    return problems


def unlocked(name: str, requirements: list[str], pins: list[Pin]) -> list[Stale]:
    """What the lockfile ``name`` with ``pins`` lacks or contradicts of what is declared."""
    problems = []
    for text in requirements:
        requirement = Requirement(text)
        versions = [p.version for p in pins if p.name == canonicalize_name(requirement.name)]
        if not any(requirement.specifier.contains(version, prereleases=True) for version in versions):
            problems.append(Stale(name, "differs", text, tuple(versions)))
    return problems


def shown(one: Stale) -> str:
    """The difference as one line, for this module's command, for errors and for tasks."""
    if one.kind == "missing":
        return f"{one.lockfile}: missing"
    if one.kind == "other":
        return f"{one.lockfile}: was made before pyproject.toml changed"
    locked = f"locks {', '.join(one.locked)}" if one.locked else "does not lock it"
    return f"{one.lockfile}: pyproject.toml declares {one.requirement}, the lockfile {locked}"


def _applies(marker: str, environment: dict[str, str]) -> bool:
    return not marker or bool(Requirement(f"x; {marker}").marker.evaluate(environment))  # type: ignore[union-attr]


def shipped(root: Path) -> list[str]:
    """The packages in the artifact for the service's Python and architecture, each as ``name==version``."""
    service = config.load(root).service
    pins = for_target(read(root / SERVE), service.python, service.architecture)
    return [f"{pin.name}=={pin.version}" for pin in pins]


def main() -> int:
    """Print what is stale; returns exit code 1 if anything is. With ``--make``, make the lockfiles instead."""
    root = Path.cwd()
    try:
        if sys.argv[1:2] == ["--make"]:
            make(root, sys.argv[2:])
            return 0
        problems = stale(root)
    except PipelineError as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    for problem in problems:
        print(shown(problem))
    if problems:
        print(f"next: {how(root)}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
