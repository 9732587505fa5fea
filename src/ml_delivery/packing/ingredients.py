"""What goes into an artifact, whatever its format, and the size of each package in it."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ml_delivery import source
from ml_delivery.errors import BuildError
from ml_delivery.packing.shares import by_size, shares
from ml_delivery.records import Pruned

if TYPE_CHECKING:
    from ml_delivery.files import Files
    from ml_delivery.packing.bundle import Bundle
    from ml_delivery.records import Content, Differences

__all__ = ["Ingredients", "of_the_service"]


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
        left_out: of the service's own files: the pattern that leaves one out, and its size in bytes.
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
    left_out: tuple[tuple[str, int], ...] = ()

    @property
    def programs(self) -> frozenset[str]:
        """The paths of the service's own files that git marks as executable."""
        return frozenset(name.removeprefix(source.PACKED) for name in self.files.programs)

    def differences(self, service: str) -> Differences:
        """How the artifact differs from what pip would install, and from the service's own files."""
        sums: dict[str, list[int]] = {}
        for rule, size in self.left_out:
            sums.setdefault(rule, []).append(size)
        own = tuple(Pruned(service, rule, len(sizes), sum(sizes)) for rule, sizes in sums.items())
        return replace(self.bundle.differences, pruned=self.bundle.differences.pruned + own)

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
