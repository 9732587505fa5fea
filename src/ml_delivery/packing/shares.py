"""How large each package's share of an artifact is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_delivery.records import Content

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["by_size", "shares"]


def shares(parts: Iterable[tuple[str, int, int]]) -> tuple[Content, ...]:
    """The sum of (package, size, zipped) by package, largest first."""
    sums: dict[str, list[int]] = {}
    for package, size, zipped in parts:
        share = sums.setdefault(package, [0, 0, 0])
        for i, amount in enumerate((1, size, zipped)):
            share[i] += amount
    return by_size(Content(name, *share) for name, share in sums.items())


def by_size(contents: Iterable[Content]) -> tuple[Content, ...]:
    """The same, largest first."""
    return tuple(sorted(contents, key=lambda c: (-c.size, c.package)))
