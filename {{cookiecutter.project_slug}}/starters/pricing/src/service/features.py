"""What a model sees of a product on a day: its recent sales, never its price. One definition for training and serving.

Levels are as of a day, from earlier days only. The price acts on top of a model's answer, by the product's elasticity
(``service.elasticity``), so that no model can mistake bulk discounts or clearances for an effect of the price.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # it needs pandas, which serving does without
    from service.panel import Panel

__all__ = ["NAMES", "Levels", "effect", "orders", "season"]

Floats = NDArray[np.float64]
# Open days that a level is taken over: about a week, a month and a quarter.
WINDOWS = (6, 24, 78)
PARTS = ("week", "month", "quarter")
# log_base: of the level that a model's answer is a multiple of; then levels relative to it, orders, and the market.
NAMES = (
    "log_base",
    *(f"units_{part}" for part in PARTS),
    *(f"orders_{part}" for part in PARTS),
    "typical_month",
    "typical_quarter",
    "order_size",
    "days_since",
    "days_with_sale",
    "age",
    "list_price",
    "price_moved",
    "market_quarter",
    "market_month",
    "season_sin",
    "season_cos",
)
SMALL = 0.05  # units a day, below which levels do not differ


def effect(elasticity: Floats | float, price: Floats, reference: Floats | float) -> Floats:
    """The factor by which a list price of ``price`` changes sales, which are known at the price ``reference``."""
    return np.asarray(np.exp(np.clip(elasticity * (price / reference - 1), -20, 3)))


def orders(sales: Floats, rows: NDArray[np.float32]) -> Floats:
    """Expected orders of expected ``sales``: their size is that of the last quarter."""
    return np.asarray(sales / np.exp(rows[:, NAMES.index("order_size")].astype(np.float64)))


def season(on: date | np.datetime64, known: bool) -> tuple[float, float]:
    """The season's features of a day; zero where less than a year and a half of data cannot show a season."""
    if not known:
        return 0.0, 0.0
    day = on if isinstance(on, date) else on.astype("datetime64[D]").item()
    angle = 2 * np.pi * day.timetuple().tm_yday / 365.25
    return float(np.sin(angle)), float(np.cos(angle))


class Levels:
    """The features of all products of a panel, as of any of its days.

    Args:
        panel: the sales.
        elasticity, reference: of each product; sales are taken back to the reference price.
        seasonal: whether the season is a feature.
    """

    def __init__(self, panel: Panel, elasticity: Floats, reference: Floats, seasonal: bool) -> None:
        self._panel, self._seasonal = panel, seasonal
        self.units = panel.units / effect(elasticity[:, None], panel.price, reference[:, None])
        sold = panel.units > 0
        self._sums = [
            np.concatenate([np.zeros((len(x), 1)), np.cumsum(x, axis=1)], axis=1)
            for x in (self.units, panel.orders, np.sqrt(self.units), sold.astype(float), panel.price)
        ]
        self._market = np.append(0.0, np.cumsum(self.units.sum(axis=0)))
        self._last = np.maximum.accumulate(np.where(sold, np.arange(len(panel.days)), -1), axis=1)

    def at(self, t: int, on: np.datetime64) -> tuple[NDArray[np.float32], Floats, NDArray[np.bool_]]:
        """As of the day at position ``t``, from the days before it, for sales about the day ``on``.

        Returns:
            features [products, features], the base (units a day), and which products sold in the last quarter.
        """
        panel = self._panel
        age = np.clip(t - panel.first, 1, None)
        rows = np.arange(len(panel.codes))

        def mean(which: int, window: int) -> Floats:
            span = np.minimum(np.minimum(window, age), max(t, 1))
            sums = self._sums[which]
            return np.asarray((sums[:, t] - sums[rows, np.maximum(t - span, 0)]) / span)

        units, orders = ([mean(which, window) for window in WINDOWS] for which in (0, 1))
        typical = [mean(2, window) ** 2 for window in WINDOWS[1:]]
        base = 0.15 * units[0] + 0.45 * units[1] + 0.4 * units[2] + SMALL / 2
        price, earlier = panel.price[:, t - 1], mean(4, WINDOWS[2])
        made = np.column_stack(
            [
                np.log(base),
                *(np.log((level + SMALL) / base) for level in units),
                *(np.log(level + SMALL) for level in orders),
                *(np.log((level + SMALL) / base) for level in typical),
                np.log((units[2] + SMALL) / (orders[2] + SMALL / 4)),
                np.log1p(t - 1 - self._last[:, t - 1]),
                mean(3, WINDOWS[1]),
                np.log(np.minimum(age, 300)),
                np.log(price),
                np.log(price / earlier),
                np.tile([self._turn(t, 12, 78), self._turn(t, 6, 24), *season(on, self._seasonal)], (len(base), 1)),
            ]
        ).astype(np.float32)
        recent = self._sums[3][:, t] - self._sums[3][:, max(t - WINDOWS[2], 0)]
        return made, base, (panel.first < t) & (recent > 0)

    def _turn(self, t: int, short: int, long: int) -> float:
        """How the market's last days compare with more of them."""
        short, long = min(short, t), min(long, t)
        recent, before = ((self._market[t] - self._market[t - n]) / n for n in (short, long))
        return float(np.log((recent + SMALL) / (before + SMALL)))
