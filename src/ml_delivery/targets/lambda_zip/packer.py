"""Packs a ZIP: the dependencies, copied as one block, then models and source; nothing is compressed twice."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from ml_delivery.packing.archive import Writer
from ml_delivery.packing.shares import by_size, shares
from ml_delivery.records import Packed

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.config import Config
    from ml_delivery.packing.bundle import Bundle
    from ml_delivery.packing.ingredients import Ingredients

__all__ = ["Begun", "pack"]


class Begun:
    """An ``artifact.zip`` in ``scratch`` that gets the dependencies in the background: a tenth of a second, mostly to hash."""

    def __init__(self, bundle: Bundle, scratch: Path) -> None:
        self.path = scratch / "artifact.zip"
        self._bundle = bundle
        self._fault: BaseException | None = None
        # A file that has another name as well is not ours to write over.
        spare = self.path.is_file() and os.access(self.path, os.W_OK) and self.path.lstat().st_nlink == 1
        if not spare:
            self.path.unlink(missing_ok=True)
        self.out = self.path.open("r+b" if spare else "wb")
        self._writer = Writer(self.out)
        self._thread = threading.Thread(target=self._adopt, daemon=True)
        self._thread.start()

    def _adopt(self) -> None:
        try:
            self._bundle.into(self._writer)
        except BaseException as fault:
            self._fault = fault

    def writer(self) -> Writer:
        """The writer, once it has the dependencies.

        Raises:
            BuildError: the kept dependencies were altered.
        """
        self._thread.join()
        if self._fault:
            raise self._fault
        return self._writer


def pack(config: Config, made: Ingredients) -> Packed:
    """Finish ``artifact.zip``.

    Raises:
        BuildError: the kept dependencies were altered.
    """
    begun = made.begun
    assert isinstance(begun, Begun)
    parts = []
    with begun.out, begun.writer() as writer:
        for package, files in (("models", made.model), (config.service.name, made.source)):
            for name, data in files:
                parts.append((package, writer.add(name, data, executable=name in made.programs)))
    return Packed(
        digest=f"sha256:{writer.digest.hexdigest()}",
        size=begun.path.stat().st_size,
        contents=by_size((*made.bundle.contents, *shares((name, one.size, one.zipped) for name, one in parts))),
        files=((begun.path, begun.path.name),),
    )
