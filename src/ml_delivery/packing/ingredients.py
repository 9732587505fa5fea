"""What goes into an artifact, whatever its format, and the size of each package in it."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ml_delivery.errors import BuildError
from ml_delivery.records import Content, Differences, Pruned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml_delivery.packing.bundle import Bundle

__all__ = ["Ingredients", "of_the_service", "shares"]


@dataclass(frozen=True)
class Ingredients:
    """What goes into an artifact.

    Attributes:
        bundle: the dependencies.
        model, source: path in the artifact and bytes, of the promoted models and of the service's own files.
        version, commit, time: of the source; ``time`` is when it was committed, in seconds since 1970.
        content: digest of everything.
        left_out: of the service's own files: the pattern that leaves one out, and its size in bytes.
    """

    bundle: Bundle
    model: list[tuple[str, bytes]]
    source: list[tuple[str, bytes]]
    version: str
    commit: str
    time: int
    content: str
    left_out: tuple[tuple[str, int], ...] = ()

    def differences(self, service: str) -> Differences:
        """How the artifact differs from what pip would install, and from the service's own files."""
        sums: dict[str, list[int]] = {}
        for rule, size in self.left_out:
            sums.setdefault(rule, []).append(size)
        own = tuple(Pruned(service, rule, len(sizes), sum(sizes)) for rule, sizes in sums.items())
        return replace(self.bundle.differences, pruned=self.bundle.differences.pruned + own)

    def contents(self, service: str) -> tuple[Content, ...]:
        """The size of each package in bytes, largest first; for dependencies also the zipped size."""
        parts = [(part.package, part.entry.size, part.entry.zipped) for part in self.bundle.parts]
        parts += [("models", len(data), 0) for _, data in self.model]
        parts += [(service, len(data), 0) for _, data in self.source]
        return shares(parts)

    def weights(self) -> dict[str, int]:
        """The unpacked sizes of the dependencies, the model and the source, in bytes."""
        return {
            "dependencies": sum(part.entry.size for part in self.bundle.parts),
            "model": sum(len(data) for _, data in self.model),
            "source": sum(len(data) for _, data in self.source),
        }


def of_the_service(
    files: list[tuple[str, bytes]], made: set[str], exclude: tuple[str, ...]
) -> tuple[list[tuple[str, bytes]], tuple[tuple[str, int], ...]]:
    """The service's own files that are packed; and for each that is not, the pattern of ``exclude`` and its size in bytes.

    Args:
        files: path in the artifact and bytes of each.
        made: the paths of what the build adds.
        exclude: the service's patterns.

    Raises:
        BuildError: a file has one of these paths.
    """
    kept, left_out = [], []
    for path, data in files:
        rule = next((rule for rule in exclude if fnmatch.fnmatchcase(path, rule)), "")
        if rule:
            left_out.append((rule, len(data)))
        elif path in made:
            raise BuildError(f"src/{path} is where the build writes a file", next=f"git mv src/{path} to another name")
        elif "__pycache__" not in path.split("/"):  # the build compiles the modules
            kept.append((path, data))
    return kept, tuple(left_out)


def shares(parts: Iterable[tuple[str, int, int]]) -> tuple[Content, ...]:
    """The sum of (package, size, zipped) by package, largest first."""
    sums: dict[str, list[int]] = {}
    for package, size, zipped in parts:
        share = sums.setdefault(package, [0, 0, 0])
        for i, amount in enumerate((1, size, zipped)):
            share[i] += amount
    return tuple(sorted((Content(name, *share) for name, share in sums.items()), key=lambda c: (-c.size, c.package)))
