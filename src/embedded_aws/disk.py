"""What a server that was killed left on disk: checked, and made whole, before the next one loads it.

ministack replaces each file atomically. But an object in S3 is two of them, first its body, then ``<body>.meta.json`` with
its size and ETag; a server that is killed in between leaves a new body with the previous description, which no client can read,
or with none, which has no checksum, so that what was being pushed could neither be used nor written again.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

from embedded_aws.errors import Unreadable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check", "repair"]

SIDECAR, VERSIONS = ".meta.json", ".versions"


def check(home: Path) -> None:
    """Read what the server will load.

    Raises:
        Unreadable: a file of it can't be read; ministack would start without all that it holds.
    """
    for path in sorted((home / "state").glob("*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Unreadable(f"the embedded AWS's state can't be read: {path}: {error}") from error


def repair(home: Path) -> int:
    """Describe again each object whose body was replaced without its description, and remove new bodies without one.

    Returns how many. The write that was interrupted had no answer, so that it may count as done, or as not done.
    """
    repaired = 0
    for folder, folders, names in os.walk(home / "s3"):
        if VERSIONS in folders:
            folders.remove(VERSIONS)  # bodies of previous versions, which the object's own description describes
        for name in names:
            body = os.path.join(folder, name)
            sidecar = body + SIDECAR
            if name.endswith((SIDECAR, ".tmp")):
                continue
            if not os.path.exists(sidecar):
                os.unlink(body)
                repaired += 1
            elif os.stat(body).st_mtime_ns > os.stat(sidecar).st_mtime_ns:  # the description is written last
                repaired += _describe(body, sidecar)
    return repaired


def _describe(body: str, sidecar: str) -> bool:
    """Make a description fit its body; returns whether it did not."""
    with open(body, "rb") as opened:
        content = opened.read()
    with open(sidecar, encoding="utf-8") as opened:
        described = json.load(opened)
    etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    if described.get("size") == len(content) and (described.get("etag") == etag or "-" in described.get("etag", "")):
        return False
    described |= {"size": len(content), "etag": etag, "checksums": {}}
    for version in described.get("versions", []):
        if version.get("version_id") == described.get("version_id"):
            version |= {"size": len(content), "etag": etag, "checksums": {}}
    temporary = f"{sidecar}.tmp"
    with open(temporary, "w", encoding="utf-8") as opened:
        json.dump(described, opened)
    os.replace(temporary, sidecar)
    return True
