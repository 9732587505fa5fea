"""Imports every package of an artifact from a read-only folder, in the service's interpreter, before it is deployed.

A package that pruning breaks stops the build. One that can't be imported on this machine at all is recorded: it may lack a
library of the system, which the service's target may have.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery.dependencies.locks import MACHINES
from ml_delivery.errors import BuildError
from ml_delivery.packing import placement
from ml_delivery.records import Unimported

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml_delivery.packing.placement import Member

__all__ = ["check", "imports", "possible", "seal", "tops", "unpack"]

SECONDS = 300  # for all modules
LONGEST = 300  # characters of a reason
COMMANDS = {"conftest", "setup"}  # modules that are run, not imported


@dataclass(frozen=True)
class Fault:
    """Why a module can't be imported, and which module or file was not found, if that is why."""

    reason: str
    missing: str


def possible(architecture: str) -> bool:
    """Whether this machine loads what is built for ``architecture``: another machine's libraries it doesn't."""
    return platform.system() == "Linux" and platform.machine() == MACHINES[architecture]


def check(
    archive: Path, python: Path, packed: list[Member], left_out: list[Member], beside: list[Member]
) -> tuple[Unimported, ...]:
    """Import each package of ``archive``.

    Args:
        archive: the ZIP of all packages.
        python: the service's interpreter.
        packed, left_out: what is in it, and what pruning left out.
        beside: the files of packages that the target has.

    Returns what can't be imported on this machine, pruned or not.

    Raises:
        BuildError: a package can't be imported because of what was left out; names it, and how to keep that.
    """
    owner = tops(packed)
    with tempfile.TemporaryDirectory() as scratch:
        folder, has, home = Path(scratch, "task"), Path(scratch, "runtime"), Path(scratch, "home")
        home.mkdir(mode=0o555)
        folder.mkdir()
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                _write(folder / info.filename, opened.read(info), info.external_attr >> 16 & 0o111)
        unpack(beside, has)
        seal(folder)
        faults = imports(python, list(owner), folder, has, home)
        if faults:  # once more, without what the others changed in their process
            faults = imports(python, list(faults), folder, has, home)
        if faults and left_out:
            seal(folder, open_again=True)
            unpack(left_out, folder)
            seal(folder)
            whole = imports(python, list(faults), folder, has, home)
            for module, fault in faults.items():
                if module not in whole:
                    raise _broken(owner[module], module, fault, left_out)
    return tuple(Unimported(module, owner[module], fault.reason[:LONGEST]) for module, fault in sorted(faults.items()))


def tops(members: Iterable[Member]) -> dict[str, str]:
    """The modules to import and their package: ``numpy``, ``six``; of a namespace what is in it: ``google.cloud.storage``.

    What is private is imported by the modules that need it: ``google.cloud._storage`` needs an extra.
    """
    paths = {member.path: member.package for member in members if not _beside_code(member.path)}
    packages = {path.rpartition("/")[0] for path in paths if path.endswith("/__init__.py")}
    found: dict[str, str] = {}
    for path, package in paths.items():
        parts = path.split("/")
        stem, _, suffix = parts[-1].partition(".")
        if not suffix.endswith(("py", "so")) or not all(part.isidentifier() for part in [*parts[:-1], stem]):
            continue
        above = next((depth for depth in range(1, len(parts)) if "/".join(parts[:depth]) in packages), 0)
        module = parts[:above] if above else [stem]
        if not module[-1].startswith("_") and (above or (len(parts) == 1 and stem not in COMMANDS)):
            found.setdefault(".".join(module), package)
    return dict(sorted(found.items()))


def unpack(members: Iterable[Member], folder: Path) -> None:
    """Write what is installed of ``members`` into ``folder``."""
    folder.mkdir(exist_ok=True)
    for member, wheel in placement.contents(members):
        _write(folder / member.path, member.read(wheel), member.executable)


def _write(path: Path, content: bytes, executable: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o555 if executable else 0o444)


def seal(folder: Path, *, open_again: bool = False) -> None:
    """Make all folders read-only, or writable again."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o755 if open_again else 0o555)


def _beside_code(path: str) -> bool:
    """Whether an installer puts it outside the packages: scripts, headers; or it is metadata."""
    return path.startswith(("bin/", "include/", "share/")) or ".dist-info/" in path


def imports(python: Path, modules: list[str], folder: Path, has: Path, home: Path) -> dict[str, Fault]:
    """The faults of ``modules``; a process that a module ends is followed by another one for the rest."""
    faults: dict[str, Fault] = {}
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "HOME": str(home),
        "LD_LIBRARY_PATH": os.pathsep.join(
            [str(folder), f"{folder}/lib", os.environ.get("LD_LIBRARY_PATH", "")]
        ).rstrip(":"),
    }
    words = [str(python), "-I", "-S", "-X", "utf8", str(Path(__file__).with_name("importing.py"))]
    words += [str(folder), str(has)]
    while modules:
        asked = "\n".join(modules).encode()
        try:
            done = subprocess.run(words, input=asked, capture_output=True, env=env, timeout=SECONDS, check=False)
            output, reason = done.stdout, f"the process exited with code {done.returncode}"
        except subprocess.TimeoutExpired as late:
            output, reason = late.stdout or b"", f"timed out after {SECONDS} s"
        answers = [json.loads(line) for line in output.splitlines() if line.endswith(b"]")]
        here = f"{folder}/"
        faults |= {
            m: Fault(reason.replace(here, ""), missing.replace(here, "")) for m, reason, missing in answers if reason
        }
        modules = modules[len(answers) :]
        if modules:
            faults[modules.pop(0)] = Fault(reason, "")
    return faults


def _broken(package: str, module: str, fault: Fault, left_out: list[Member]) -> BuildError:
    """The error for a package that lacks what was left out."""
    path = fault.missing if "/" in fault.missing else fault.missing.replace(".", "/")
    own = [member.path for member in left_out if member.package == package]
    lacking = path if path in own else f"{path}/*" if path and any(p.startswith(f"{path}/") for p in own) else ""
    return BuildError(
        f"{package} can't be imported without the files that the build leaves out: {module}: {fault.reason[:LONGEST]}",
        next=f'build.keep = ["{lacking or module.split(".")[0] + "/*"}"] in pipeline.toml, then invoke build',
    )
