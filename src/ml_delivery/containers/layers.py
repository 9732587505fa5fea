"""Writes layers of an image: archives that are compressed, and whose bytes are the same on any machine.

zlib, zlib-ng and their versions compress the same content to different bytes, so nothing is compressed here: what a wheel
holds compressed is copied as it is, as in the ZIP, and the rest is stored. A gzip file may consist of several members
(https://www.rfc-editor.org/rfc/rfc1952, section 2.2; eStargz images do): each compressed file is one.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ml_delivery.packing.bundle import altered

if TYPE_CHECKING:
    from ml_delivery.packing.bundle import Bundle

__all__ = ["Archive", "Member", "dependencies", "write"]

DATE = 315532800  # 1 January 1980, as in the ZIP
HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # of a gzip member: deflate, no name, no time, no operating system
STORED = 0xFFFF  # bytes of a stored block at most: https://www.rfc-editor.org/rfc/rfc1951, section 3.2.4
HELD = 1 << 20  # bytes that are stored in one gzip member at least, while there are as many
BLOCK = 512  # of a tar archive
WRITTEN = 1  # changed with the bytes that this module writes, so that no older archive is taken from the cache


@dataclass(frozen=True)
class Archive:
    """A layer's file: where it is, its digest and size, and the digest of what it unpacks to, which engines call its id."""

    path: Path
    digest: str
    size: int
    unpacked: str


@dataclass(frozen=True)
class Member:
    """A file of a layer; ``deflated``: its content as raw deflate data, where some archive has that already."""

    path: str
    content: bytes
    program: bool = False
    deflated: bytes = b""


def write(path: Path, members: Iterable[Member], root: str) -> Archive:
    """Write a layer of ``members``, in their order, below ``root``; dates, owners and modes are fixed.

    A folder is written before its contents.
    """
    # Belong to the base image, and an entry here would change them.
    known = {"/".join(root.split("/")[:depth]) for depth in range(1, root.count("/") + 1)}
    with path.open("wb") as file:
        out = _Writer(file)

        def folder(name: str) -> None:
            known.add(name)
            out.header(name, tarfile.DIRTYPE, 0o755)

        folder(root)  # an empty archive would be treated as a file
        for member in members:
            parts = f"{root}/{member.path}".split("/")
            for depth in range(1, len(parts)):
                if (name := "/".join(parts[:depth])) not in known:
                    folder(name)
            out.header("/".join(parts), tarfile.REGTYPE, 0o755 if member.program else 0o644, len(member.content))
            out.content(member)
        return out.finish(path)


def dependencies(bundle: Bundle, folder: str) -> Archive:
    """The bundle as a layer below ``folder``; made once, and kept next to the bundle.

    Raises:
        BuildError: the bundle or the layer was altered since it was made; it is removed.
    """
    path = bundle.archive.with_suffix(f".{folder.replace('/', '-')}.layer{WRITTEN}")
    seal = path.with_name(f"{path.name}.json")
    if not (path.exists() and seal.exists()):
        made = write(path.with_name(f"{path.name}.{os.getpid()}"), _unpacked(bundle.checked()), folder)
        text = json.dumps({**asdict(made), "path": ""})
        written = seal.with_name(f"{seal.name}.{os.getpid()}")
        written.write_text(text, encoding="utf-8")
        made.path.replace(path)
        written.replace(seal)
    try:
        kept = Archive(**{**json.loads(seal.read_text(encoding="utf-8")), "path": path})
    except (ValueError, TypeError) as error:
        raise altered(seal) from error
    with path.open("rb") as file:
        if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" != kept.digest:
            raise altered(path)
    return kept


def _unpacked(path: Path) -> Iterator[Member]:
    """The files, by their path, of a ZIP that ``packing.archive`` wrote, whose local headers have no extra fields."""
    with zipfile.ZipFile(path) as archive:
        source = archive.fp
        assert source is not None
        for entry in sorted(archive.infolist(), key=lambda one: one.filename):
            content, deflated = archive.read(entry), b""
            if entry.compress_type == zipfile.ZIP_DEFLATED:
                source.seek(entry.header_offset + zipfile.sizeFileHeader + len(entry.filename.encode()))  # type: ignore[attr-defined]
                deflated = source.read(entry.compress_size)
            yield Member(entry.filename, content, bool(entry.external_attr >> 16 & 0o111), deflated)


class _Writer:
    """Writes an archive's blocks, stored or as deflate data, and hashes both sides."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out, self._size, self._held = out, 0, bytearray()
        self._packed, self._plain = hashlib.sha256(), hashlib.sha256()

    def header(self, name: str, kind: bytes, mode: int, size: int = 0) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.size, entry.mtime = kind, mode, size, DATE
        self._store(entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))

    def content(self, member: Member) -> None:
        if member.deflated:
            self._flush()
            self._plain.update(member.content)
            self._member(member.deflated, member.content)
        else:
            self._store(member.content)
        self._store(bytes(-len(member.content) % BLOCK))

    def finish(self, path: Path) -> Archive:
        self._store(bytes(2 * BLOCK))
        self._flush()
        return Archive(path, f"sha256:{self._packed.hexdigest()}", self._size, f"sha256:{self._plain.hexdigest()}")

    def _store(self, data: bytes) -> None:
        self._plain.update(data)
        self._held += data
        if len(self._held) >= HELD:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        blocks = bytearray()
        for first in range(0, len(self._held), STORED):
            part = self._held[first : first + STORED]
            blocks += struct.pack("<BHH", first + STORED >= len(self._held), len(part), len(part) ^ STORED) + part
        self._member(blocks, self._held)
        self._held = bytearray()

    def _member(self, deflated: bytes | bytearray, content: bytes | bytearray) -> None:
        end = struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)
        for part in (HEADER, deflated, end):
            self._out.write(part)
            self._packed.update(part)
            self._size += len(part)
