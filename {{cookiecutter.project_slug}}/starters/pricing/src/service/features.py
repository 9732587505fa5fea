"""The features of a model: one definition for training and serving, so that both are the same."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray

__all__ = ["NAMES", "matrix", "rows"]

# product: its index in the model's own list; price: relative to the product's reference price.
NAMES = ("product", "price", "weekday", "season_sin", "season_cos")


def matrix(
    product: NDArray[np.int64], price: NDArray[np.float64], weekday: NDArray[np.int64], day: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Features, one row each, in the order of ``NAMES``.

    Args:
        product: indices.
        price: relative prices.
        weekday: 0 for Monday.
        day: of the year, from 1.
    """
    season = 2 * np.pi * day / 365.25
    return np.column_stack([product, price, weekday, np.sin(season), np.cos(season)]).astype(np.float32)


def rows(product: int, prices: NDArray[np.float64], on: date) -> NDArray[np.float32]:
    """One product at each of ``prices`` (relative) on one day."""
    count = len(prices)
    return matrix(np.full(count, product), prices, np.full(count, on.weekday()), np.full(count, on.timetuple().tm_yday))
