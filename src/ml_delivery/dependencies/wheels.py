"""Fetches wheels for the platform that a service runs on, by their hash, and caches them."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from ml_delivery.dependencies.envs import find_python
from ml_delivery.dependencies.locks import MACHINES
from ml_delivery.errors import BuildError, SetupError
from ml_delivery.keys import PYTHONS

if TYPE_CHECKING:
    from ml_delivery.dependencies.locks import Pin

__all__ = ["Platform", "fetch", "sha256"]


@dataclass(frozen=True)
class Platform:
    """The platform of wheels: a Python ("3.12"), an architecture ("x86_64" or "arm64"), and the minor version of glibc 2."""

    python: str
    architecture: str
    glibc: int

    def __str__(self) -> str:
        return f"{self.python}-{self.architecture}-{self.glibc}"


def fetch(pins: list[Pin], platform: Platform, folder: Path) -> list[Path]:
    """The wheel of each pin, in order, as ``<folder>/<sha256>/<file name>``; only missing ones are downloaded.

    Raises:
        BuildError: a pin has no wheel for this platform, or a kept one was altered; names it.
        SetupError: the package index does not answer.
    """
    found = {pin: _kept(pin, platform, folder) for pin in pins}
    missing = [pin for pin, wheel in found.items() if wheel is None]
    if missing:
        _download(missing, platform, folder)
        found |= {pin: _kept(pin, platform, folder) for pin in missing}
    wheels = []
    for pin in pins:
        wheel = found[pin]
        if wheel is None:
            raise _no_wheel(pin, platform, [pin])
        wheels.append(wheel)
    return wheels


def _kept(pin: Pin, platform: Platform, folder: Path) -> Path | None:
    """The kept wheel of ``pin``; one lockfile covers many platforms, so ``pins`` says for which one it was fetched.

    Raises:
        BuildError: its bytes are not those that it was kept as; it is removed.
    """
    mark = folder / "pins" / f"{pin.name}-{pin.version}-{platform}"
    try:
        wheel = folder / mark.read_text()
    except FileNotFoundError:
        return None
    if not wheel.is_file() or wheel.parent.name not in pin.hashes:
        return None
    if sha256(wheel) != wheel.parent.name:
        wheel.unlink()
        raise BuildError(
            f"{wheel} was altered after it was fetched; it is removed",
            next="find out what writes to the cache, then invoke build, which fetches the wheel again",
        )
    return wheel


def sha256(file: Path) -> str:
    """The digest of a file's content, in hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _options(platform: Platform) -> list[str]:
    """pip's options for wheels of a platform, which need not be this machine's."""
    machine = MACHINES[platform.architecture]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(platform.glibc, 4, -1)]
    platforms += [f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}", f"linux_{machine}"]
    words = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    words += ["--implementation", "cp", "--python-version", platform.python]
    words += [w for abi in (f"cp{platform.python.replace('.', '')}", "abi3", "none") for w in ("--abi", abi)]
    return words + [w for name in platforms for w in ("--platform", name)]


def _download(pins: list[Pin], platform: Platform, folder: Path) -> None:
    lines = [
        f"{pin.name}=={pin.version} " + " ".join(f"--hash=sha256:{digest}" for digest in pin.hashes) for pin in pins
    ]
    (folder / "pins").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wanted = Path(scratch, "wanted.txt")
        wanted.write_text("\n".join(lines))
        words = [sys.executable, "-m", "pip", "download", *_options(platform)]
        words += ["--require-hashes", "--requirement", str(wanted), "--dest", scratch]
        log = Path(scratch, "log.txt")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        # Why a wheel was not found is only in a log, with which pip takes half as long again: only a failure has it.
        if done.returncode != 0 and "Retrying" not in done.stderr:
            done = subprocess.run([*words, "--log", str(log)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise _fault(done.stderr, log, pins, platform)
        by_name = {canonicalize_name(wheel.name.split("-")[0]): wheel for wheel in Path(scratch).glob("*.whl")}
        for pin in pins:
            wheel = by_name[canonicalize_name(pin.name)]
            digest = sha256(wheel)
            (folder / digest).mkdir(exist_ok=True)
            wheel.replace(folder / digest / wheel.name)
            mark = folder / "pins" / f"{pin.name}-{pin.version}-{platform}"
            mark.write_text(f"{digest}/{wheel.name}")


def _newest(pins: list[Pin], platform: Platform) -> dict[str, str]:
    """The newest version, up to its pin's, that has a wheel for the platform, of each package; empty for a package without any.

    Without an entry where pip can't be asked.
    """
    wanted = {pin.name: f"{pin.name}<={pin.version}" for pin in pins}
    none = dict.fromkeys(wanted, "")
    while wanted:
        with tempfile.TemporaryDirectory() as scratch:
            words = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--report", "-"]
            words += ["--target", scratch, *_options(platform), *wanted.values()]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            about = [one["metadata"] for one in json.loads(done.stdout)["install"]]
            found = {str(canonicalize_name(one["name"])): one["version"] for one in about}
            held = {pin.name: pin.version for pin in pins}
            # Where there is nothing else, pip takes a version before the first.
            return none | {n: v for n, v in found.items() if v == held.get(n) or not Version(v).is_prerelease}
        without = re.search(r"No matching distribution found for ([\w.-]+)<=", done.stderr)
        if not without or not wanted.pop(canonicalize_name(without[1]), ""):
            break
    return {}


def _no_wheel(pin: Pin, platform: Platform, pins: list[Pin], log: str = "") -> BuildError:
    """The error for the first of the ``pins`` without a wheel, which names the others, too.

    ``log`` is pip's, which names each file of the index that pip looked at.
    """
    offered = [name for name in re.findall(r"[\w.+!-]+\.(?:whl|tar\.gz|zip)\b", log) if _is_of(name, pin)]
    if log and not offered:
        return BuildError(
            f"{pin.name} {pin.version} is not in the index that pip asks",
            next="name the index that has it by PIP_INDEX_URL, or in pip.conf, then invoke build",
        )
    # Only what would be built for as well: the same architecture, or a wheel of pure Python.
    others = [
        python
        for python in PYTHONS
        if python != platform.python and any(_runs(name, python, platform) for name in offered if name.endswith(".whl"))
    ]
    newest = _newest(pins, platform)
    lacking = [pin, *(one for one in pins if one != pin and not _same(one.version, newest.get(one.name, one.version)))]
    named = ", ".join(f"{one.name} {one.version}" for one in lacking)
    has = f"; {pin.name} has one for Python {', '.join(others)}" if others else ""
    other = f'set service.python to "{_here(others)}" in pipeline.toml, or ' if others else ""
    older = ", ".join(
        f'"{one.name}<={newest[one.name]}"' if newest.get(one.name) else f"a version of {one.name} that has one"
        for one in lacking
    )
    return BuildError(
        f"no wheel for Python {platform.python} on {platform.architecture} with glibc 2.{platform.glibc}: {named}{has}",
        next=f"{other}declare {older} in pyproject.toml, then nox -s lock",
    )


def _same(version: str, other: str) -> bool:
    return bool(other) and Version(version) == Version(other)


def _here(pythons: list[str]) -> str:
    """The newest of these Pythons that this machine has; the newest of all, if it has none of them."""
    for python in reversed(pythons):
        with suppress(SetupError):
            find_python(python)
            return python
    return pythons[-1]


def _is_of(file: str, pin: Pin) -> bool:
    """Whether a file of an index is of this pin's version: a wheel's or an archive's name."""
    if file.endswith(".whl"):
        try:
            name, version, _, _ = parse_wheel_filename(file)
        except InvalidWheelFilename:
            return False
        return (name, str(version)) == (pin.name, pin.version)
    stem, _, number = re.sub(r"\.(tar\.gz|zip)$", "", file).rpartition("-")
    return (canonicalize_name(stem), number) == (pin.name, pin.version)


def _runs(wheel: str, python: str, platform: Platform) -> bool:
    """Whether a wheel is for ``python`` on the platform's architecture, with whichever glibc."""
    short, machine = python.replace(".", ""), MACHINES[platform.architecture]
    return any(
        (tag.interpreter == f"cp{short}" or (tag.abi == "abi3" and int(tag.interpreter[3:]) <= int(short[1:])))
        and (tag.platform == "any" or ("linux" in tag.platform and tag.platform.endswith(machine)))
        for tag in parse_wheel_filename(wheel)[3]
        if tag.interpreter.startswith("cp3")
    )


def _fault(said: str, log: Path, pins: list[Pin], platform: Platform) -> Exception:
    """The error for a failed pip: a pin has no wheel, or the index does not answer.

    pip prints "No matching distribution" for both; only its log distinguishes them.
    """
    seen = log.read_text(errors="replace") if log.exists() else ""
    unreached = not seen or "Could not fetch URL" in seen
    for pin in pins:
        if f"No matching distribution found for {pin.name}==" in said and not unreached:
            return _no_wheel(pin, platform, pins, seen)
    reasons = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines()[-1:]
    return SetupError(
        f"the wheels could not be fetched: {reasons[0] if reasons else 'pip gave no reason'}",
        next="check the network, then run this again; wheels that were already fetched are cached",
    )
