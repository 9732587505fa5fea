"""A ZIP: the dependencies copied as one block, models and source after them; never compressed twice."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ml_delivery.artifact.archive import Writer
from ml_delivery.artifact.packers import Packed, shares

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.artifact.build import Manifest
    from ml_delivery.artifact.packers import Ingredients
    from ml_delivery.artifact.store import Pushed
    from ml_delivery.config import Config
    from ml_delivery.release.delivery import Delivery

__all__ = ["pack", "push"]


def pack(config: Config, made: Ingredients, scratch: Path) -> Packed:
    """Write ``artifact.zip`` into ``scratch``."""
    path = scratch / "artifact.zip"
    parts = [(part.package, part.entry) for part in made.bundle.parts]
    with path.open("wb") as out, Writer(out) as writer:
        with made.bundle.archive.open("rb") as dependencies:
            writer.adopt(dependencies, [part.entry for part in made.bundle.parts])
        for package, files in (("models", made.model), (config.service.name, made.source)):
            parts += [(package, writer.add(name, data)) for name, data in files]
    digest = writer.digest.digest()
    return Packed(
        digest=f"sha256:{digest.hex()}",
        code_sha256=base64.b64encode(digest).decode(),
        size=path.stat().st_size,
        contents=shares((package, entry.size, entry.zipped) for package, entry in parts),
        files=((path, path.name),),
    )


def push(delivery: Delivery, manifest: Manifest) -> Pushed:
    """Put it into the environment's bucket.

    Raises:
        CloudError: as ``store.push`` raises it.
    """
    from ml_delivery.artifact import store  # not needed to pack

    archive = delivery.config.root / "build/artifact.zip"
    return store.push(delivery.cloud, delivery.foundation.bucket, archive, manifest)
