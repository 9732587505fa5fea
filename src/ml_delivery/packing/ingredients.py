"""What goes into an artifact, whatever its format, and the size of each package in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.packing.shares import by_size, shares

if TYPE_CHECKING:
    from ml_delivery.files import Files
    from ml_delivery.packing.bundle import Bundle
    from ml_delivery.records import Content

__all__ = ["Ingredients"]


@dataclass(frozen=True)
class Ingredients:
    """What goes into an artifact.

    Attributes:
        bundle: the dependencies.
        model, source: path in the artifact and bytes, of the promoted models and of the service's own files.
        version, commit, time: of the source; ``time`` is when it was committed, in seconds since 1970.
        content: digest of everything.
        files: the source's other files, of which a target may need some.
        begun: what the target's ``begin`` returned.
    """

    bundle: Bundle
    model: list[tuple[str, bytes]]
    source: list[tuple[str, bytes]]
    version: str
    commit: str
    time: int
    content: str
    files: Files
    begun: object

    def contents(self, service: str) -> tuple[Content, ...]:
        """The size of each package in bytes, largest first; for dependencies also the zipped size."""
        parts = [("models", len(data), 0) for _, data in self.model]
        parts += [(service, len(data), 0) for _, data in self.source]
        return by_size((*self.bundle.contents, *shares(parts)))

    def weights(self) -> dict[str, int]:
        """The unpacked sizes of the dependencies, the model and the source, in bytes."""
        return {
            "dependencies": sum(part.size for part in self.bundle.contents),
            "model": sum(len(data) for _, data in self.model),
            "source": sum(len(data) for _, data in self.source),
        }
