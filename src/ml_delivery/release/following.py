"""The service's log, as it is written."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml_delivery.records import Line
    from ml_delivery.target import Deployer

__all__ = ["lines"]

SECONDS = 2  # between two readings
LATE = 60  # seconds by which a line may arrive after later ones: processes write to logs of their own, which are merged


def lines(deployer: Deployer, since: float) -> Iterator[Line]:
    """The lines since ``since`` (seconds since 1970), then each further one, once; without an end."""
    seen: Counter[Line] = Counter()
    while True:
        found: Counter[Line] = Counter()
        for line in deployer.logs(since):
            found[line] += 1
            if found[line] > seen[line]:  # two equal lines at one moment are two
                yield line
        seen = found
        newest = max((line.at for line in seen), default=since)
        since = max(since, newest - LATE)
        time.sleep(SECONDS)
