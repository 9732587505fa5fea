"""Orders as a panel: for each product and open day the units, orders, revenue and list price; days without a sale are in it.

The list price is what small orders pay: the upper envelope of the prices of neighbouring order lines. What larger orders pay
is a quantity break of it, so that the size of orders does not move the price that demand is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Break", "Panel", "breaks", "make"]

Floats = NDArray[np.float64]
# Of so many neighbouring lines of a product, this share pays the list price or less.
WINDOW, ENVELOPE = 15, 0.8
BLOCK = 1 << 17
# A break: at least this share of lines pays at least this much less than the list price.
SHARE, DISCOUNT = 0.015, 0.02


@dataclass(frozen=True)
class Break:
    """From ``quantity`` units in an order on, ``ratio`` of the list price is paid."""

    quantity: int
    ratio: float


@dataclass(frozen=True)
class Panel:
    """Arrays [products, days]; days on which nothing of the catalogue was sold are closed, and not in it.

    Attributes:
        codes: stock codes, sorted.
        days: the open days.
        units, orders, revenue: of a product on a day; zero without a sale.
        price: the list price; before the first sale, the first one.
        first: the position of the day of each product's first sale.
    """

    codes: NDArray[np.str_]
    days: NDArray[np.datetime64]
    units: Floats
    orders: Floats
    revenue: Floats
    price: Floats
    first: NDArray[np.int64]

    def before(self, day: np.datetime64) -> Panel:
        """The days before ``day``, of the products that were sold on them."""
        cut = int(np.searchsorted(self.days, day))
        sold = self.first < cut
        parts = {n: getattr(self, n)[sold, :cut] for n in ("units", "orders", "revenue", "price")}
        return replace(self, codes=self.codes[sold], days=self.days[:cut], first=self.first[sold], **parts)


def make(frame: pd.DataFrame) -> Panel:
    """The panel of clean order lines."""
    days, day = np.unique(frame["invoicedate"].to_numpy().astype("datetime64[D]"), return_inverse=True)
    code = frame["stockcode"].astype("category").cat.remove_unused_categories()
    codes, product = code.cat.categories.to_numpy(dtype=np.str_), code.cat.codes.to_numpy().astype(np.int64)
    quantity, paid = frame["quantity"].to_numpy(), frame["unitprice"].to_numpy()
    shape = (len(codes), len(days))
    cell = product * len(days) + day

    def total(values: Floats, cells: NDArray[np.int64]) -> Floats:
        return np.asarray(np.bincount(cells, values, shape[0] * shape[1]).reshape(shape), dtype=np.float64)

    invoice = pd.factorize(frame["invoice"])[0]
    once = ~pd.DataFrame({"cell": cell, "invoice": invoice}).duplicated().to_numpy()
    listed = pd.DataFrame({"cell": cell, "price": list_prices(frame, product)}).dropna()
    daily = listed.groupby("cell")["price"].quantile(0.5, interpolation="nearest")
    price = np.full(shape[0] * shape[1], np.nan)
    price[daily.index.to_numpy()] = daily.to_numpy()
    filled = pd.DataFrame(price.reshape(shape).T).ffill().bfill().to_numpy().T
    first = np.full(len(codes), len(days), np.int64)
    np.minimum.at(first, product, day)
    return Panel(
        codes=codes,
        days=days,
        units=total(quantity, cell),
        orders=total(np.ones(int(once.sum())), cell[once]),
        revenue=total(quantity * paid, cell),
        price=filled,
        first=first,
    )


def list_prices(frame: pd.DataFrame, product: NDArray[np.int64]) -> Floats:
    """The list price at each line; nan at lines of another price list.

    Lines without a customer are of another price list (a web shop beside wholesale) where most lines have one.
    """
    named = (frame["customer"] != "").to_numpy()
    share = np.bincount(product, named) / np.maximum(np.bincount(product), 1)
    counted = named | (share[product] < 0.5)
    rows = np.flatnonzero(counted)
    rows = rows[np.argsort(product[rows], kind="stable")]
    own, paid = product[rows], frame["unitprice"].to_numpy()[rows]
    # The envelope, and then without what is too short to be a list price.
    made = _rolling(_rolling(paid, own, ENVELOPE), own, 0.5)
    starts = np.flatnonzero(np.diff(own, prepend=-1))
    for first, last in zip(starts, np.append(starts[1:], len(own)), strict=True):
        _align(paid[first:last], made[first:last])
    listed = np.full(len(frame), np.nan)
    listed[rows] = made
    return listed


def _rolling(values: Floats, group: NDArray[np.int64], quantile: float) -> Floats:
    """The quantile of the ``WINDOW`` values about each one, of its own group; groups follow one another.

    It is one of them, never between two: a price that was paid. In blocks, since the windows of ten million lines together
    would not fit into memory.
    """
    made = np.empty(len(values))
    around = np.arange(WINDOW) - WINDOW // 2
    for start in range(0, len(values), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(values)))
        near = np.clip(rows[:, None] + around, 0, len(values) - 1)
        inside = (near == rows[:, None] + around) & (group[near] == group[rows, None])
        window = np.sort(np.where(inside, values[near], np.inf), axis=1)
        place = np.rint(quantile * (inside.sum(axis=1) - 1)).astype(np.int64)
        made[rows] = window[np.arange(len(rows)), place]
    return made


def _align(paid: Floats, listed: Floats) -> None:
    """Move each change of ``listed`` to where the lines that paid the old price end and those that paid the new begin.

    The envelope sees a rise some lines early and a fall some lines late, which would look like an effect before its cause.
    """
    for at in np.flatnonzero(np.diff(listed)) + 1:
        begin, end = max(0, at - WINDOW), min(len(listed), at + WINDOW)
        old, new = listed[at - 1], listed[at]
        while begin < at and listed[begin] != old:
            begin += 1
        while end > at and listed[end - 1] != new:
            end -= 1
        # At each place to split: lines at the old price before it, and at the new one from it on.
        score = np.concatenate([[0], np.cumsum(paid[begin:end] == old)])
        score = score + np.concatenate([np.cumsum((paid[begin:end] == new)[::-1])[::-1], [0]])
        split = begin + int(np.argmax(score))
        listed[begin:split], listed[split:end] = old, new


def breaks(quantity: Floats, ratio: Floats) -> list[Break]:
    """The quantity breaks that lines of a product show: ``ratio`` is what each paid, as a share of the list price."""
    found: list[Break] = []
    level = np.round(ratio, 2)
    for step in np.unique(level)[::-1]:
        paid = level == step
        if step <= 1 - DISCOUNT and paid.mean() >= SHARE and paid.sum() >= 5:
            at = int(np.quantile(quantity[paid], 0.25, method="lower"))
            # A promotion is paid by small orders too: a break is not.
            if at > np.median(quantity[level > 1 - DISCOUNT]) and (not found or at > found[-1].quantity):
                found.append(Break(at, float(step)))
    return found
