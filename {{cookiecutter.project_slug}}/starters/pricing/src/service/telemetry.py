"""What a prediction measures, beside what every request does (``ml_service.telemetry``)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import partial
from random import random

from ml_service import telemetry

__all__ = ["METRICS", "line", "rank"]

# Each with its unit; panels and alarms read them by these names.
METRICS = {
    "BackupUsed": "Count",  # 1 when the primary model did not answer
    "CacheHits": "Count",  # 1 when it came from the cache
    "PredictedSales": "None",  # units a day at the recommended price
    "RecommendedPrice": "None",  # as a share of the product's usual price: 1 is that price
    "RecommendedPriceRank": "None",  # where that share lies among those of training; even from 0 to 1 if nothing drifts
}

line = partial(telemetry.line, metrics=METRICS)


def rank(value: float, known: Sequence[float]) -> float:
    """The share of ``known``, which is sorted, that lies below ``value``; among equals, any, at random.

    So a value like those that are known has a rank that is evenly spread from 0 to 1, even where many are the same.
    """
    below, up_to = bisect_left(known, value), bisect_right(known, value)
    return (below + random() * (up_to - below)) / len(known)  # noqa: S311  # it decides nothing  # nosec
