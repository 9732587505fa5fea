"""Writes ZIP files whose members are copied from other ZIP files without recompressing them.

Wheels are already compressed, and what is added to them is stored: compressing takes nearly all of the time of building an
artifact, and zlib, zlib-ng and their versions give different bytes. Names, dates and modes are fixed, so the same content
gives the same bytes anywhere. The format: PKWARE's APPNOTE.TXT, sections 4.3.7 and 4.3.12.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Entry", "Part", "Writer"]

DATE = 0x0021  # 1 January 1980, the earliest date of the format
MODE, EXECUTABLE = 0o100644 << 16, 0o100755 << 16
UTF8 = 0x800
CHUNK = 1 << 18
END = struct.Struct("<IHHHHIIH")


@dataclass(frozen=True)
class Entry:
    """A member: its path, CRC-32, sizes in bytes (``zipped`` as stored), method, the offset of its local header, its mode."""

    path: str
    crc: int
    size: int
    zipped: int
    method: int
    offset: int
    executable: bool = False


@dataclass(frozen=True)
class Part:
    """A member of an archive of dependencies, the package that it belongs to, and the sha256 of its content."""

    package: str
    digest: str
    entry: Entry


class Writer:
    """Writes an archive to ``out``, a file opened for writing; a context manager that finishes it unless an error occurs.

    What ``out`` had is overwritten. An artifact has less than 4 GB and 65,535 members, so ZIP64 is not needed.
    """

    def __init__(self, out: IO[bytes]) -> None:
        self.digest = hashlib.sha256()  # of everything written so far; the archive's once it is finished
        self._out = out
        self._position = self._count = 0
        self._directory: list[bytes] = []

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._finish()

    def add(self, path: str, content: bytes, *, executable: bool = False) -> Entry:
        """Add ``content``, stored: what it would be compressed to depends on the machine's zlib."""
        entry = Entry(
            path, zlib.crc32(content), len(content), len(content), zipfile.ZIP_STORED, self._position, executable
        )
        self._header(entry)
        self._write(content)
        return entry

    def copy(self, path: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, executable: bool = False) -> Entry:
        """Add a member of ``archive`` under ``path``, without recompressing it, unless its method is a rare one."""
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return self.add(path, archive.read(member), executable=executable)
        source = archive.fp
        assert source is not None
        source.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", source.read(4))
        source.seek(member.header_offset + 30 + name + extra)
        sizes = (member.file_size, member.compress_size)
        entry = Entry(path, member.CRC, *sizes, member.compress_type, self._position, executable)
        self._header(entry)
        left = member.compress_size
        while left:
            chunk = source.read(min(CHUNK, left))
            if not chunk:
                raise zipfile.BadZipFile(f"{member.filename} is truncated")
            left -= len(chunk)
            self._write(chunk)
        return entry

    def adopt(self, source: IO[bytes], digest: str) -> bool:
        """Start with all members of an archive that a ``Writer`` has written; copies them as one block.

        They are not copied if ``out`` can be read and starts with them. What is written, or is there, is hashed on the way,
        so an archive that was altered is noticed.

        Args:
            source: the archive.
            digest: its sha256 in hex.

        Returns:
            whether it is that archive.
        """
        assert not self._position, "only the first thing that is added can be a whole archive"
        size = source.seek(0, io.SEEK_END)
        source.seek(max(size - END.size, 0))
        end = source.read()
        *_, self._count, length, start, _ = END.unpack(end) if len(end) == END.size else [0] * 8
        if start + length + END.size != size:
            return False
        source.seek(start)
        self._directory = [source.read(length)]
        for file in (self._out, source) if self._out.readable() else (source,):
            self.digest, self._position = hashlib.sha256(), 0
            self._out.seek(0)
            file.seek(0)
            while self._position < start and (chunk := file.read(min(CHUNK, start - self._position))):
                if file is source:
                    self._out.write(chunk)
                self.digest.update(chunk)
                self._position += len(chunk)
            whole = self.digest.copy()  # of all members so far, and now of the archive's own end, which is not copied
            whole.update(self._directory[0] + end)
            if whole.hexdigest() == digest:
                self._out.seek(self._position)
                return True
        return False

    def _header(self, entry: Entry) -> None:
        name = entry.path.encode()
        fields = (20, UTF8, entry.method, 0, DATE, entry.crc, entry.zipped, entry.size, len(name), 0)
        self._write(struct.pack("<IHHHHHIIIHH", 0x04034B50, *fields) + name)
        place = struct.pack("<HHHII", 0, 0, 0, EXECUTABLE if entry.executable else MODE, entry.offset)
        self._directory.append(struct.pack("<IHHHHHHIIIHH", 0x02014B50, 0x0314, *fields) + place + name)
        self._count += 1

    def _finish(self) -> None:
        start, directory = self._position, b"".join(self._directory)
        end = END.pack(0x06054B50, 0, 0, self._count, self._count, len(directory), start, 0)
        self._write(directory + end)
        self._out.truncate()

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self.digest.update(data)
        self._position += len(data)
