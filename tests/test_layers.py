"""Layers of images: whole archives in gzip, with nothing compressed here, and so the same bytes everywhere."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from pathlib import Path

import pytest

from ml_delivery.containers import layers

HELLO = b"\xcbH\xcd\xc9\xc9\x07\x00"  # "hello", as zlib 1.2 deflates it
MEMBERS = [
    layers.Member("a/big.bin", bytes(range(256)) * 9_000),
    layers.Member("a/empty", b""),
    layers.Member("b/hello.txt", b"hello", deflated=HELLO),
    layers.Member(f"b/{'long/' * 30}ünï.sh", b"#!/bin/sh\n", program=True),
]
# Of the bytes that any Python, with any zlib, writes for these.
KNOWN = "sha256:b1137a95bdd583df298898c422e4d4c7d36802b692cbca4704d8288c5f244d40"


def test_layer_is_a_tar_in_gzip(tmp_path: Path) -> None:
    """It unpacks to the files, each folder before its contents; digests, size and the ids of layers are right."""
    made = layers.write(tmp_path / "layer", MEMBERS, "var/task")
    content = made.path.read_bytes()
    plain = gzip.decompress(content)
    assert (made.size, made.digest) == (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}")
    assert made.unpacked == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    found, folders = {}, set()
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        for entry in archive:
            assert entry.name == "var/task" or os.path.dirname(entry.name) in folders
            assert (entry.uid, entry.gid, entry.mtime) == (0, 0, layers.DATE)
            if entry.isdir():
                folders.add(entry.name)
            else:
                found[entry.name] = (archive.extractfile(entry).read(), entry.mode)  # type: ignore[union-attr]
    assert found == {f"var/task/{m.path}": (m.content, 0o755 if m.program else 0o644) for m in MEMBERS}


def test_bytes_are_the_same_on_any_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those that were written elsewhere, whatever the umask; and zlib's compressor is not used."""
    monkeypatch.delattr(zlib, "compressobj")
    monkeypatch.delattr(zlib, "compress")
    before = os.umask(0o077)
    try:
        assert layers.write(tmp_path / "layer", MEMBERS, "var/task").digest == KNOWN
    finally:
        os.umask(before)
