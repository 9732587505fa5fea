"""Writes the archive of all dependencies from their wheels, and checks that its packages can be imported."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from ml_delivery.packing import import_check, placement, pruning
from ml_delivery.packing.archive import Part, Writer
from ml_delivery.records import Differences, Replaced, Unimported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ml_delivery.packing.placement import Member

__all__ = ["Chosen", "check", "choose", "write"]

INSTALLER = b"ml-delivery\n"


@dataclass(frozen=True)
class Chosen:
    """What is packed of some wheels.

    Attributes:
        members: what is packed, sorted by path.
        packages: all packages that have a path.
        left_out: what is not packed, and the pattern that leaves it out.
        replaced: what is not packed since another package, or the service, has another file there.
    """

    members: list[Member]
    packages: dict[str, tuple[str, ...]]
    left_out: list[tuple[Member, str]]
    replaced: tuple[Replaced, ...]


def choose(wheels: dict[str, Path], rules: pruning.Rules, own: frozenset[str], service: str) -> Chosen:
    """What is packed of ``wheels``, by package; ``own`` are paths that the service has itself, which is called ``service``.

    Raises:
        BuildError: a wheel can't be installed, or two can't together.
    """
    placed = placement.place(wheels.items())
    taken = tuple(Replaced(path, placed.members[path].package, service) for path in sorted(own & placed.members.keys()))
    kept, left_out = pruning.split((m for path, m in placed.members.items() if path not in own), rules)
    placement.require_apart(kept)
    there = {member.path for member in kept}
    replaced = tuple(one for one in placed.replaced if one.path in there)
    return Chosen(kept, placed.packages, left_out, taken + replaced)


def write(
    out: IO[bytes], chosen: Chosen, compiled: Callable[[list[tuple[str, str, str]]], list[tuple[str, bytes]]]
) -> tuple[str, list[Part]]:
    """Copy what is packed, then write its bytecode and each package's list of files.

    Args:
        out: a file.
        chosen: what is packed.
        compiled: compiles modules.

    Returns the archive's sha256 in hex, and its members.
    """
    parts = []
    modules = {}
    with Writer(out) as writer:

        def add(package: str, path: str, content: bytes, *, executable: bool = False) -> None:
            entry = writer.add(path, content, executable=executable)
            parts.append(Part(package, hashlib.sha256(content).hexdigest(), entry))

        for member, wheel in placement.contents(chosen.members):
            if member.script:
                add(member.package, member.path, member.read(wheel), executable=True)
                continue
            with wheel.open(member.info) as source:
                digest = hashlib.sha256()
                while chunk := source.read(1 << 20):
                    digest.update(chunk)
            entry = writer.copy(member.path, wheel, member.info, executable=member.executable)
            parts.append(Part(member.package, digest.hexdigest(), entry))
            if member.path.endswith(".py"):
                modules[member.path] = member
        for path, code in compiled([(path, str(m.wheel), m.info.filename) for path, m in modules.items()]):
            add(modules[_source_of(path)].package, path, code)
        for package, path, content in _lists(parts, chosen.packages):
            add(package, path, content)
    return writer.digest.hexdigest(), parts


def check(archive: Path, chosen: Chosen, provided: dict[str, Path], python: Path, architecture: str) -> Differences:
    """How ``archive`` differs from what pip would install; its packages are imported, if this machine can load them.

    Args:
        archive: what ``write`` wrote.
        chosen: what is packed.
        provided: wheels of packages that the target has.
        python: the service's interpreter.
        architecture: of the libraries.

    Raises:
        BuildError: a package can't be imported because of what pruning left out.
    """
    modules = len(import_check.tops(chosen.members)) if import_check.possible(architecture) else 0
    failed: tuple[Unimported, ...] = ()
    if modules:
        beside = list(placement.place(provided.items()).members.values())
        pruned = [member for member, rule in chosen.left_out if rule in pruning.PRUNED]
        failed = import_check.check(archive, python, chosen.members, pruned, beside)
    sizes = [(member.package, rule, member.info.file_size) for member, rule in chosen.left_out]
    return Differences(pruning.totals(sizes), chosen.replaced, failed, modules)


def _lists(parts: list[Part], packages: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, str, bytes]]:
    """Each package's INSTALLER and RECORD, which lists what is there of it: the package, the path and the content.

    https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    rows: dict[str, list[tuple[str, str, int | str]]] = {}
    folders = {}
    for part in parts:
        path = part.entry.path
        code = path.endswith(".pyc") and "__pycache__/" in path
        for package in packages[_source_of(path) if code else path]:
            rows.setdefault(package, []).append((path, "", "") if code else (path, _hash(part.digest), part.entry.size))
        if re.fullmatch(r"[^/]+\.dist-info/METADATA", path):
            folders[part.package] = path.rpartition("/")[0]
    for package, folder in folders.items():
        installer, record = f"{folder}/INSTALLER", f"{folder}/RECORD"
        yield package, installer, INSTALLER
        listed = (installer, _hash(hashlib.sha256(INSTALLER).hexdigest()), len(INSTALLER))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*rows[package], listed, (record, "", "")])
        yield package, record, text.getvalue().encode()


def _hash(digest: str) -> str:
    return "sha256=" + urlsafe_b64encode(bytes.fromhex(digest)).rstrip(b"=").decode()


def _source_of(path: str) -> str:
    """The module whose bytecode is at ``path``."""
    folder, _, name = path.rpartition("__pycache__/")
    return folder + name.rsplit(".", 2)[0] + ".py"
