"""The trips to learn from, and those to judge by."""

from __future__ import annotations

import csv
from pathlib import Path

__all__ = ["Trip", "read", "split"]

Trip = tuple[float, float]  # kilometres, minutes


def read(path: Path) -> list[Trip]:
    """The trips of a CSV file with the columns ``kilometres`` and ``minutes``.

    Raises:
        SystemExit: the file can't be used; says why.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            trips = [(float(row["kilometres"]), float(row["minutes"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise SystemExit(f"✗ {path} can't be used: {type(error).__name__}: {error}") from error
    if len(trips) < 10:
        raise SystemExit(f"✗ {path} has {len(trips)} trips; at least 10 are needed")
    return trips


def split(trips: list[Trip]) -> tuple[list[Trip], list[Trip]]:
    """Four fifths to learn from, and the last fifth to judge by."""
    border = len(trips) * 4 // 5
    return trips[:border], trips[border:]
