"""How an artifact is packed and pushed, by the module that bears the target's name; what goes in is the same for each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ml_delivery.artifact.build import Manifest
    from ml_delivery.artifact.bundle import Bundle
    from ml_delivery.artifact.store import Pushed
    from ml_delivery.config import Config
    from ml_delivery.release.delivery import Delivery

__all__ = ["Content", "Ingredients", "Layer", "Packed", "Packer", "load", "shares"]


@dataclass(frozen=True)
class Content:
    """A package's share of the artifact: files, and bytes unpacked and, in a ZIP, zipped."""

    package: str
    files: int
    size: int
    zipped: int


@dataclass(frozen=True)
class Layer:
    """One of an image's layers that are ours: its name, its digest in the engine, and its files' bytes."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True)
class Ingredients:
    """What goes in.

    Attributes:
        bundle: the dependencies.
        model, source: path in the artifact and bytes, of the promoted models and of the service's own files.
        version, commit: the source's.
        content: digest of all of it.
    """

    bundle: Bundle
    model: list[tuple[str, bytes]]
    source: list[tuple[str, bytes]]
    version: str
    commit: str
    content: str

    def contents(self, service: str) -> tuple[Content, ...]:
        """What each package weighs, heaviest first; of the dependencies zipped too."""
        parts = [(part.package, part.entry.size, part.entry.zipped) for part in self.bundle.parts]
        parts += [("models", len(data), 0) for _, data in self.model]
        parts += [(service, len(data), 0) for _, data in self.source]
        return shares(parts)


@dataclass(frozen=True)
class Packed:
    """What came of it: the fields of ``build.Manifest`` that its packer knows; ``files`` are to be put into ``build/``."""

    digest: str
    code_sha256: str
    size: int
    contents: tuple[Content, ...]
    files: tuple[tuple[Path, str], ...] = ()
    image: str = ""
    layers: tuple[Layer, ...] = ()


class Packer(Protocol):
    """A module of this package."""

    def pack(self, config: Config, made: Ingredients, scratch: Path) -> Packed:
        """Pack what goes in, with ``scratch`` to write to."""

    def push(self, delivery: Delivery, manifest: Manifest) -> Pushed:
        """Put the built artifact where the environment finds it, and record it; pushing it again moves nothing."""


def load(target: str) -> Packer:
    """The packer of ``target``; a service has only its own."""
    found: Any = import_module(f"ml_delivery.artifact.packers.{target.replace('-', '_')}")
    packer: Packer = found
    return packer


def shares(parts: Iterable[tuple[str, int, int]]) -> tuple[Content, ...]:
    """The sum of (package, size, zipped) by package, heaviest first."""
    sums: dict[str, list[int]] = {}
    for package, size, zipped in parts:
        share = sums.setdefault(package, [0, 0, 0])
        for i, amount in enumerate((1, size, zipped)):
            share[i] += amount
    return tuple(sorted((Content(name, *share) for name, share in sums.items()), key=lambda c: (-c.size, c.package)))
