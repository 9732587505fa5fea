"""Hashed requirements files, read for one target, and checked against what ``pyproject.toml`` declares.

``python -m pipeline.dependencies.locks`` exits with 1 and names what is stale; with ``--make`` it has uv compile them anew, for all
platforms and Pythons, keeping the versions that still fit; further words (``--upgrade``) go to uv.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pipeline import config
from pipeline.errors import BuildError, PipelineError

__all__ = ["Pin", "declared", "for_target", "make", "read", "shipped", "stale"]

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
        BuildError: there is no such file, or a line is not ``name==version [; marker] --hash=sha256:…``.
    """
    pins = []
    try:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    except OSError as error:
        raise BuildError(f"{FOLDER}/{path.name} can't be read: {error}", next="nox -s lock") from error
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
            raise BuildError(f"{FOLDER}/{path.name}: {words.strip()} is not pinned with a hash", next="nox -s lock")
        pins.append(
            Pin(
                canonicalize_name(requirement.name),
                version,
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


def declared(root: Path) -> dict[str, list[str]]:
    """What each lock is made from, as ``pyproject.toml`` declares it.

    ``serve`` is the project's dependencies, each other lock a dependency group; but ``train`` also holds what serves,
    and ``check`` all of ``serve``, ``train`` and ``dev``, since checks run on the whole.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    serve = list(project["project"].get("dependencies", []))
    groups = {name: list(content) for name, content in project.get("dependency-groups", {}).items()}
    train = serve + groups.get("train", [])
    found = {"serve": serve, **groups}
    return found if "train" not in groups else {**found, "train": train, "check": train + groups.get("dev", [])}


def make(root: Path, words: list[str]) -> None:
    """Compile every lock of ``root``.

    Raises:
        SetupError: uv could not; the reason is its own.
    """
    from pipeline.dependencies.envs import uv

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    overrides = project.get("tool", {}).get("pipeline", {}).get("locks", {}).get("override-dependencies", [])
    oldest = project["project"]["requires-python"].removeprefix(">=")
    (root / FOLDER).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        override = Path(scratch, "override.txt")
        for name, requirements in declared(root).items():
            wanted = Path(scratch, f"{name}.in")
            wanted.write_text("\n".join(requirements))
            # What only serves and trains can do without; tools that need it still get it.
            override.write_text("\n".join(overrides if name in ("serve", "train") else []))
            options = ["--universal", "--generate-hashes", "--no-annotate", "--no-emit-index-url", "--quiet"]
            made = f"nox -s lock ({_inputs(requirements)})"
            options += ["--python-version", oldest, "--custom-compile-command", made, "--override", str(override)]
            lock = root / FOLDER / f"{name}.txt"
            uv("pip", "compile", *options, *words, str(wanted), "--output-file", str(lock.resolve()))


def stale(root: Path) -> list[str]:
    """What the locks in ``root`` lack of what its ``pyproject.toml`` declares; one line each, empty when all is well."""
    problems = []
    for name, requirements in declared(root).items():
        path = root / FOLDER / f"{name}.txt"
        if not path.is_file():
            problems.append(f"{FOLDER}/{name}.txt: missing")
            continue
        pins = read(path)
        known = len(problems)
        for text in requirements:
            requirement = Requirement(text)
            versions = [p.version for p in pins if p.name == canonicalize_name(requirement.name)]
            if not any(requirement.specifier.contains(version, prereleases=True) for version in versions):
                locked = f"locks {', '.join(versions)}" if versions else "does not lock it"
                problems.append(f"{FOLDER}/{name}.txt: pyproject.toml declares {text}, the lock {locked}")
        if known == len(problems) and _inputs(requirements) not in path.read_text(encoding="utf-8")[:500]:
            problems.append(f"{FOLDER}/{name}.txt: made from other declarations than those in pyproject.toml")
    return problems


def _inputs(requirements: list[str]) -> str:
    """What a lock's head says it was made from."""
    return "from " + hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:16]


def _applies(marker: str, environment: dict[str, str]) -> bool:
    return not marker or bool(Requirement(f"x; {marker}").marker.evaluate(environment))  # type: ignore[union-attr]


def shipped(root: Path) -> list[str]:
    """What goes into the artifact on the service's own Python and architecture, each as ``name==version``."""
    service = config.load(root).service
    pins = for_target(read(root / FOLDER / "serve.txt"), service.python, service.architecture)
    return [f"{pin.name}=={pin.version}" for pin in pins]


def main() -> int:
    """Print what is stale; exit code 1 if anything is. With ``--make``, make them instead."""
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
        print(problem)
    if problems:
        print("next: nox -s lock", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
