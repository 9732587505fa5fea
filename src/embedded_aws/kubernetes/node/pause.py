"""The image of a pod's first container, which holds its namespaces and waits: a static program of a few instructions.

https://github.com/containerd/containerd/blob/main/docs/cri/config.md (``sandbox_image``). Nothing can be pulled where this
cluster runs, so the image is made here: an ELF file by https://refspecs.linuxfoundation.org/elf/elf.pdf, in an archive by
https://github.com/opencontainers/image-spec/blob/main/image-layout.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "embedded.local/pause:1"
CODE = bytes.fromhex("b8220000000f05ebf7")  # x86-64: mov eax, 34 (pause); syscall; jmp to the start
BASE, HEADERS = 0x400000, 64 + 56


def write(path: Path) -> None:
    """Write the image as an archive that ``ctr images import`` reads."""
    program = _elf()
    layer = _tar({"pause": program}, 0o755)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    blobs: dict[str, bytes] = {}

    def described(kind: str, content: bytes) -> dict[str, object]:
        blobs[_digest(content)] = content
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": _digest(content),
            "size": len(content),
        }

    manifest = {
        "schemaVersion": 2,
        "config": described("config.v1+json", json.dumps(config).encode()),
        "layers": [described("layer.v1.tar", layer)],
    }
    entry = described("manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {"io.containerd.image.name": NAME}
    files = {f"blobs/{digest.replace(':', '/')}": content for digest, content in blobs.items()}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    path.write_bytes(_tar(files, 0o644))


def _elf() -> bytes:
    """An executable for x86-64 with one segment."""
    size = HEADERS + len(CODE)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, BASE + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x1000)
    return identity + header + segment + CODE


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
