"""All products as of the end of the data: what a service must know of them to answer for the days that follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from service import features
from service.panel import Break, Panel, breaks

__all__ = ["Outlook", "look_out"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outlook:
    """All products as of the end of the data, in one order.

    Attributes:
        features, base, active: of ``features.Levels.at``, as of the day after the last.
        market: units a day that all products together are expected to sell.
        price, reference: the current list price, and that at which an elasticity holds.
        low, high: the range of list prices that was seen, without what fewer than 5 % of small orders paid.
        orders: a day, in the last quarter; ``paid``: what was paid, as a share of the list price.
    """

    codes: NDArray[np.str_]
    names: list[str]
    features: NDArray[np.float32]
    base: Floats
    active: NDArray[np.bool_]
    market: float
    price: Floats
    reference: Floats
    low: Floats
    high: Floats
    orders: Floats
    paid: Floats
    cost: Floats
    breaks: list[list[Break]]
    until: np.datetime64


def look_out(frame: pd.DataFrame, panel: Panel, levels: features.Levels, reference: Floats, expected: float) -> Outlook:
    """The outlook at the end of ``panel``, whose clean order lines are ``frame``.

    Args:
        reference: the prices at which elasticities hold.
        expected: units a day that the market will sell.
    """
    made, base, active = levels.at(len(panel.days), panel.days[-1] + np.timedelta64(4, "D"))
    code = frame["stockcode"].cat.remove_unused_categories().cat
    order = np.argsort(code.codes.to_numpy(), kind="stable")
    product = code.codes.to_numpy()[order]
    quantity, paid = frame["quantity"].to_numpy()[order], frame["unitprice"].to_numpy()[order]
    day = np.searchsorted(panel.days, frame["invoicedate"].to_numpy().astype("datetime64[D]")[order])
    listed = panel.price[product, day]
    bounds = np.searchsorted(product, np.arange(len(panel.codes) + 1))
    description = frame["description"].astype("category").cat
    named = np.asarray(description.categories, dtype=object)[description.codes.to_numpy()[order]]
    cost = frame["cost"].to_numpy(dtype=np.float64)[order]

    def each(of: Callable[[slice], Any]) -> list[Any]:
        return [of(slice(a, b)) for a, b in pairwise(bounds.tolist())]

    def lowest(own: slice) -> float:
        small = paid[own][quantity[own] <= np.median(quantity[own])]
        return float(np.quantile(small, 0.05))

    recent = panel.days >= panel.days[-1] - np.timedelta64(91, "D")
    listed_units = (panel.units * panel.price)[:, recent].sum(axis=1)
    lows = np.maximum(panel.price.min(axis=1), each(lowest))
    return Outlook(
        codes=panel.codes,
        names=each(lambda own: next((n for n in named[own][::-1] if n), "")),
        features=made,
        base=base,
        active=active,
        market=expected,
        price=panel.price[:, -1],
        reference=reference,
        low=np.minimum(lows, panel.price[:, -1]),
        high=np.maximum(np.quantile(panel.price, 0.99, axis=1, method="lower"), panel.price[:, -1]),
        orders=panel.orders[:, recent].sum(axis=1) / recent.sum(),
        paid=np.where(listed_units > 0, panel.revenue[:, recent].sum(axis=1) / np.maximum(listed_units, 1e-9), 1.0),
        cost=np.array(each(lambda own: np.nanmedian(cost[own]) if np.isfinite(cost[own]).any() else np.nan)),
        breaks=each(lambda own: breaks(quantity[own][-2000:], (paid[own] / listed[own])[-2000:])),
        until=panel.days[-1],
    )
