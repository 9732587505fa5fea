"""The metrics of a prediction, besides those of every request (``ml_service.telemetry``)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import partial
from random import random

from ml_service import telemetry

__all__ = ["METRICS", "line", "rank"]

# Each with its unit; infra/metrics.toml reads them by these names.
METRICS = {
    "BackupUsed": "Count",  # 1 when the primary model, which knows the products, did not answer
    "CacheHits": "Count",  # 1 when it came from the cache
    "PredictedSales": "None",  # units a day at the recommended price
    "RecommendedPrice": "None",  # as a share of the product's usual price: 1 is that price
    "RecommendedPriceRank": "None",  # the rank of that share among those of training; uniform from 0 to 1 without model drift
}

line = partial(telemetry.line, metrics=METRICS)


def rank(value: float, known: Sequence[float]) -> float:
    """The share of ``known``, which is sorted, that is below ``value``; among equal values, a random position.

    So the ranks of values from the same distribution are uniform from 0 to 1, even when many values are equal.
    """
    below, up_to = bisect_left(known, value), bisect_right(known, value)
    return (below + random() * (up_to - below)) / len(known)  # noqa: S311  # not used for security  # nosec
