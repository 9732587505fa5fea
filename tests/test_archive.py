"""The ZIP writer: copies members as they lie, and the same content gives the same bytes."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from ml_delivery.packing.archive import Writer

TEXT = b"print('a line that repeats')\n" * 200


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """An archive with a compressed, a stored, an empty and a non-ASCII member."""
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        out.writestr("a/module.py", TEXT)
        out.writestr("a/stored.bin", b"\0\1\2", zipfile.ZIP_STORED)
        out.writestr("a/empty.py", b"")
        out.writestr("a/größe.txt", b"42")
    return path


def copied(wheel: Path, to: Path) -> Path:
    with zipfile.ZipFile(wheel) as source, to.open("wb") as out, Writer(out) as writer:
        for member in source.infolist():
            writer.copy(member.filename, source, member)
        writer.add("service/handler.py", TEXT)
    return to


def test_copies_read_back(wheel: Path, tmp_path: Path) -> None:
    """What is copied reads back as it was, checksums included."""
    with zipfile.ZipFile(copied(wheel, tmp_path / "b.zip")) as made, zipfile.ZipFile(wheel) as source:
        assert made.testzip() is None
        for name in source.namelist():
            assert made.read(name) == source.read(name)
        assert made.read("service/handler.py") == TEXT


def test_what_is_added_is_stored(wheel: Path, tmp_path: Path) -> None:
    """Its bytes are the content's own, so that no compressor's version is in them."""
    with zipfile.ZipFile(copied(wheel, tmp_path / "b.zip")) as made:
        assert made.getinfo("service/handler.py").compress_type == zipfile.ZIP_STORED
    assert TEXT in (tmp_path / "b.zip").read_bytes()


def test_members_are_not_compressed_again(wheel: Path, tmp_path: Path) -> None:
    """A copied member keeps the size that its own archive gave it, which another level would not give."""
    with zipfile.ZipFile(copied(wheel, tmp_path / "b.zip")) as made, zipfile.ZipFile(wheel) as source:
        ours, theirs = made.getinfo("a/module.py"), source.getinfo("a/module.py")
        assert (ours.compress_size, ours.CRC) == (theirs.compress_size, theirs.CRC)
        assert made.getinfo("service/handler.py").compress_size != theirs.compress_size


def test_dates_and_modes_are_fixed(wheel: Path, tmp_path: Path) -> None:
    """Each member is a plain file of mode 0644, or 0755 where it may be run, from the earliest date that the format knows."""
    with (tmp_path / "p.zip").open("wb") as out, Writer(out) as writer:
        writer.add("program", b"x", executable=True)
    with zipfile.ZipFile(tmp_path / "p.zip") as made:
        assert made.getinfo("program").external_attr >> 16 == 0o100755
    with zipfile.ZipFile(copied(wheel, tmp_path / "b.zip")) as made:
        for member in made.infolist():
            assert member.date_time == (1980, 1, 1, 0, 0, 0)
            assert member.external_attr >> 16 == 0o100644


@pytest.fixture
def base(wheel: Path, tmp_path: Path) -> Path:
    """All of the wheel's members, as a ``Writer`` writes them."""
    path = tmp_path / "base.zip"
    with zipfile.ZipFile(wheel) as source, path.open("wb") as out, Writer(out) as writer:
        for member in source.infolist():
            writer.copy(member.filename, source, member)
    return path


@pytest.mark.parametrize("there", ["nothing", "the same members", "a longer archive", "other members", "its start"])
def test_an_adopted_archive_is_the_same_as_its_parts(wheel: Path, base: Path, tmp_path: Path, there: str) -> None:
    """A whole archive taken over as one block gives what its members give one by one, whatever the file had before."""
    expected = copied(wheel, tmp_path / "b.zip").read_bytes()
    before = {
        "the same members": expected.replace(TEXT, TEXT.upper()),
        "a longer archive": expected + b"more" * 1000,
        "other members": expected.replace(b"\0\1\2", b"\0\1\3"),
        "its start": expected[:50],
    }
    path = tmp_path / "c.zip"
    path.write_bytes(before.get(there, b""))
    digest = hashlib.sha256(base.read_bytes()).hexdigest()
    with base.open("rb") as block, path.open("wb" if there == "nothing" else "r+b") as out, Writer(out) as writer:
        assert writer.adopt(block, digest)
        writer.add("service/handler.py", TEXT)
    assert path.read_bytes() == expected
    assert writer.digest.hexdigest() == hashlib.sha256(expected).hexdigest()


@pytest.mark.parametrize("cut", [0, 10, 100, -1])
def test_an_archive_that_is_not_the_expected_one_is_not_adopted(base: Path, tmp_path: Path, cut: int) -> None:
    """Neither a part of it, nor another one."""
    digest = hashlib.sha256(base.read_bytes()).hexdigest()
    base.write_bytes(base.read_bytes()[:cut])
    with base.open("rb") as block, (tmp_path / "c.zip").open("wb") as out:
        assert not Writer(out).adopt(block, digest)


def test_a_wheel_that_is_cut_short_is_refused(wheel: Path, tmp_path: Path) -> None:
    """A source that ends early stops the build instead of giving a short member."""
    with zipfile.ZipFile(wheel) as source, (tmp_path / "b.zip").open("wb") as out, Writer(out) as writer:
        member = source.infolist()[0]
        member.compress_size = 10**6
        with pytest.raises(zipfile.BadZipFile, match="truncated"):
            writer.copy(member.filename, source, member)
