"""Where an installer puts the files of wheels, as ``pip install --target`` does.

https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import posixpath
import re
import stat
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from ml_delivery.errors import BuildError
from ml_delivery.records import Replaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Member", "Placed", "contents", "place", "require_apart"]

# What a scheme's folder is below the target. https://docs.python.org/3/library/sysconfig.html#home-scheme
SCHEMES = {"purelib": "", "platlib": "", "data": "", "scripts": "bin/", "headers": "include/python/{package}/"}
# Written by the installer: the wheel's own list would name what is not there.
WRITTEN = re.compile(r"[^/]+\.dist-info/(RECORD|INSTALLER)|(.*/)?__pycache__/[^/]*\.pyc")
# The name in a line of METADATA, unless it is for an extra.
NEEDED = re.compile(r"^Requires-Dist: *([\w.-]+)(?!.*\bextra\b)", re.M)
# The interpreter's path differs from one place where services run to another; its folder is in PATH.
INTERPRETER = b"#!/usr/bin/env python3"


@dataclass(frozen=True)
class Member:
    """A file of a wheel, and where it is installed.

    Attributes:
        path: relative to the folder that holds all packages.
        package: whose it is.
        wheel, info: where its content is.
        executable: whether it may be run.
        script: whether its first line, ``#!python``, is to name an interpreter.
    """

    path: str
    package: str
    wheel: Path
    info: zipfile.ZipInfo
    executable: bool
    script: bool

    def read(self, opened: zipfile.ZipFile) -> bytes:
        """Its content as installed; ``opened`` is its wheel."""
        content = opened.read(self.info)
        if not self.script:
            return content
        _, end, rest = content.partition(b"\n")
        return INTERPRETER + end + rest


@dataclass(frozen=True)
class Placed:
    """What is installed of several wheels.

    Attributes:
        members: each file, by its path.
        packages: all packages that have a path, whose file is there or not.
        replaced: the files that are not there, since another package's is.
    """

    members: dict[str, Member]
    packages: dict[str, tuple[str, ...]]
    replaced: tuple[Replaced, ...]


def place(wheels: Iterable[tuple[str, Path]]) -> Placed:
    """What is installed of the wheels, each with the name of its package.

    Where several have a path, the last one's file is there, as with pip, which installs a package after those that it needs.

    Raises:
        BuildError: a wheel has a file outside the target or in an unknown scheme.
    """
    found: dict[str, dict[str, Member]] = {}
    for package, wheel in wheels:
        with zipfile.ZipFile(wheel) as opened:
            found[package] = {member.path: member for member in _members(package, wheel, opened)}
    having: dict[str, list[str]] = {}
    for package, members in found.items():
        for path in members:
            having.setdefault(path, []).append(package)
    shared = any(len(packages) > 1 for packages in having.values())
    rank = {name: number for number, name in enumerate(_order(dict(wheels)) if shared else found)}
    kept, replaced = {}, []
    for path, packages in sorted(having.items()):
        *rest, last = sorted(packages, key=rank.__getitem__)
        kept[path] = found[last][path]
        for package in rest:
            if _content(found[package][path]) != _content(kept[path]):
                replaced.append(Replaced(path, package, last))
    return Placed(kept, {path: tuple(packages) for path, packages in having.items()}, tuple(replaced))


def require_apart(members: Iterable[Member]) -> None:
    """Refuse a file where another package has a folder.

    Raises:
        BuildError: names both packages, and how to leave the file out.
    """
    owner = {member.path: member.package for member in members}
    for path, package in owner.items():
        for folder in _folders(path):
            if folder in owner:
                raise BuildError(
                    f"{owner[folder]} contains a file {folder}, which is a folder of {package}",
                    next=f'exclude the file: build.exclude = ["{folder}"] in pipeline.toml',
                )


def contents(members: Iterable[Member]) -> Iterator[tuple[Member, zipfile.ZipFile]]:
    """Each member with its opened wheel; in the members' order."""
    opened: dict[Path, zipfile.ZipFile] = {}
    try:
        for member in members:
            if member.wheel not in opened:
                opened[member.wheel] = zipfile.ZipFile(member.wheel)
            yield member, opened[member.wheel]
    finally:
        for archive in opened.values():
            archive.close()


def _members(package: str, wheel: Path, opened: zipfile.ZipFile) -> Iterator[Member]:
    for info in sorted(opened.infolist(), key=_in_data):  # what is there twice is the latter, as with pip
        if info.is_dir():
            continue
        name = posixpath.normpath(info.filename)
        if name.startswith(("../", "/")):
            raise _misplaced(package, wheel, info.filename)
        scheme, _, below = name.partition("/")[2].partition("/")
        path = name
        if _in_data(info):
            if scheme not in SCHEMES or not below:
                raise _misplaced(package, wheel, info.filename)
            path = SCHEMES[scheme].format(package=package) + below
        if WRITTEN.fullmatch(path):
            continue
        mode = info.external_attr >> 16  # of a wheel that was made on Windows: 0
        script = _in_data(info) and scheme == "scripts"
        rewritten = script and opened.read(info).startswith(b"#!python")
        yield Member(path, package, wheel, info, script or bool(stat.S_ISREG(mode) and mode & 0o111), rewritten)


def _in_data(info: zipfile.ZipInfo) -> bool:
    return info.filename.split("/")[0].endswith(".data")


def _misplaced(package: str, wheel: Path, name: str) -> BuildError:
    return BuildError(
        f"{wheel.name} contains {name}, which no installer would put anywhere",
        next=f"declare another version of {package} in pyproject.toml, then nox -s lock",
    )


def _folders(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _content(member: Member) -> tuple[int, int]:
    return member.info.CRC, member.info.file_size


def _order(wheels: dict[str, Path]) -> list[str]:
    """The order in which pip installs packages: first those that need no other one, by name from Z to A."""
    left = {}
    for package, wheel in wheels.items():
        with zipfile.ZipFile(wheel) as opened:
            about = [name for name in opened.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            lines = "\n".join(opened.read(name).decode("utf-8", "replace") for name in about)
        left[package] = {canonicalize_name(name) for name in NEEDED.findall(lines)} - {package}
    ordered: list[str] = []
    while left:
        ready = {package for package, needed in left.items() if not needed & left.keys()} or set(left)
        ordered += sorted(ready, reverse=True)
        left = {package: needed for package, needed in left.items() if package not in ready}
    return ordered
