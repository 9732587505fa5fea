"""Packs a ZIP: the dependencies, copied as one block, then models and source; nothing is compressed twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_delivery.packing.archive import Writer
from ml_delivery.packing.shares import by_size, shares
from ml_delivery.records import Packed

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.config import Config
    from ml_delivery.packing.ingredients import Ingredients

__all__ = ["pack"]


def pack(config: Config, made: Ingredients, scratch: Path) -> Packed:
    """Write ``artifact.zip`` into ``scratch``.

    Raises:
        BuildError: the kept dependencies were altered.
    """
    path = scratch / "artifact.zip"
    parts = []
    with path.open("wb") as out, Writer(out) as writer:
        made.bundle.into(writer)
        for package, files in (("models", made.model), (config.service.name, made.source)):
            parts += [(package, writer.add(name, data)) for name, data in files]
    return Packed(
        digest=f"sha256:{writer.digest.hexdigest()}",
        size=path.stat().st_size,
        contents=by_size((*made.bundle.contents, *shares((name, one.size, one.zipped) for name, one in parts))),
        files=((path, path.name),),
    )
