"""A generated market whose demand is known, with the traps of real data, so that what was learned is compared with the truth.

Quantity breaks, list prices that rarely move, or follow the season or the demand, sales weeks with campaigns, days without
a sale, closed days, cancellations, one great order that is cancelled minutes later, write-offs, postage, and duplicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from service.reading import COLUMNS

__all__ = ["Policy", "Product", "generate", "products"]

Floats = NDArray[np.float64]
NAMES = (
    "lantern", "teacup", "doormat", "cushion", "clock", "candle", "basket", "frame", "mug", "apron", "vase", "tray",
)  # fmt: skip
# Quantity breaks: from so many units on, so much of the list price; and what orders hold.
BREAKS = ((12, 0.9), (32, 0.8))
SIZES, WEIGHTS = (1, 2, 3, 4, 6, 12, 32), (0.3, 0.25, 0.15, 0.12, 0.1, 0.06, 0.02)
CLOSED = 6  # Sunday
CAMPAIGN, CAMPAIGN_PRICE = 1.3, 0.85


class Policy(StrEnum):
    """How the list price of a product is set."""

    VARIED = "varied"  # at random, kept for two to five weeks: its effect can be learned
    FIXED = "fixed"  # never changed
    SEASON = "season"  # higher when the product sells more over the year
    DEMAND = "demand"  # higher after a week in which it sold more
    RARE = "rare"  # as VARIED, but hardly ever sold


@dataclass(frozen=True)
class Product:
    """A product whose demand is known.

    Attributes:
        price: its usual price.
        demand: units a day at ``price``, averaged over a year.
        elasticity: of demand, at ``price``: when the price rises by 1 %, sales change by ``elasticity`` %.
        swing: how far the season changes the sales, as a share of them.
        peak: the day of the year with the highest sales.
    """

    stockcode: str
    description: str
    price: float
    demand: float
    elasticity: float
    swing: float
    peak: int
    policy: Policy

    def sales(self, price: Floats) -> Floats:
        """Expected units a day at each of ``price``, without the season."""
        return np.asarray(self.demand * np.exp(self.elasticity * (price / self.price - 1)))

    def elasticity_at(self, price: float) -> float:
        """The elasticity of demand at ``price``."""
        return self.elasticity * price / self.price

    @property
    def best_price(self) -> float:
        """The price with the highest expected revenue: where the elasticity is -1."""
        return -self.price / self.elasticity


def products(seed: int, count: int = 12) -> list[Product]:
    """``count`` products, the same for the same seed; elasticities from -1.8 to -0.8. Each twelfth has another policy."""
    rng = np.random.default_rng(seed)
    special = {8: Policy.FIXED, 9: Policy.SEASON, 10: Policy.DEMAND, 11: Policy.RARE}
    made = []
    for i in range(count):
        policy = special.get(i % 12, Policy.VARIED)
        demand = rng.uniform(50, 100) if i < 12 else rng.uniform(0.2, 4)
        made.append(
            Product(
                stockcode=str(85111 + 111 * i),
                description=NAMES[i % 12] + (f" {i // 12 + 1}" if i >= 12 else ""),
                price=round(float(rng.uniform(2, 20)), 2),
                demand=float(rng.uniform(0.2, 0.5) if policy is Policy.RARE else demand),
                elasticity=float(rng.uniform(-1.8, -0.8)),
                swing=float(rng.uniform(0.5, 0.7) if policy is Policy.SEASON else rng.uniform(0.1, 0.3)),
                peak=int(rng.integers(1, 366)),
                policy=policy,
            )
        )
    return made


def generate(seed: int, days: int = 730, count: int = 12) -> pd.DataFrame:
    """``days`` of transactions of ``products(seed, count)``.

    Returns:
        a frame with ``reading.COLUMNS``, one row per invoice line, ordered by date; the same for the same seed.
    """
    rng = np.random.default_rng(seed + 1)
    dates = pd.date_range("2024-01-01", periods=days, freq="D")
    dates = dates[dates.day_of_week != CLOSED]
    week = 1 + 0.15 * np.sin(2 * np.pi * dates.day_of_week.to_numpy() / 7)
    campaign = np.isin(dates.day_of_year.to_numpy() // 7, (3, 28))
    mean_size = float(np.dot(SIZES, WEIGHTS))
    found = []
    for product in products(seed, count):
        year = 1 + product.swing * np.cos(2 * np.pi * (dates.day_of_year.to_numpy() - product.peak) / 365.25)
        shock = _shock(rng, len(dates)) if product.policy is Policy.DEMAND else np.ones(len(dates))
        price = _list_price(rng, product, year, shock)
        if product.policy is not Policy.FIXED:
            price = np.where(campaign, np.round(price * CAMPAIGN_PRICE, 2), price)
        expected = product.sales(price) * week * year * shock * np.where(campaign, CAMPAIGN, 1.0)
        day = np.repeat(np.arange(len(dates)), rng.poisson(expected / mean_size))
        quantity = rng.choice(SIZES, size=len(day), p=WEIGHTS)
        paid = price[day]
        for least, ratio in BREAKS:
            paid = np.where(quantity >= least, np.round(price[day] * ratio, 2), paid)
        at = dates[day] + pd.to_timedelta(rng.integers(9 * 60, 17 * 60, len(day)), unit="min")
        columns = {"quantity": quantity.astype(float), "invoicedate": at, "unitprice": np.maximum(paid, 0.01)}
        found.append(pd.DataFrame({"stockcode": product.stockcode, "description": product.description, **columns}))
    frame = pd.concat(found, ignore_index=True).sort_values(["invoicedate", "stockcode"], kind="stable")
    frame = frame.reset_index(drop=True)
    frame["invoice"] = [str(536000 + i) for i in range(len(frame))]
    frame["customer"] = np.where(rng.random(len(frame)) < 0.03, "", rng.integers(12000, 18000, len(frame)).astype(str))
    frame["country"] = "United Kingdom"
    frame["cost"] = np.nan
    traps = pd.concat([frame, *_traps(frame, seed)]).sort_values(["invoicedate", "invoice"], kind="stable")
    traps = traps.astype({"invoicedate": "datetime64[s]"})
    return traps[COLUMNS].reset_index(drop=True)


def _list_price(rng: np.random.Generator, product: Product, year: Floats, shock: Floats) -> Floats:
    """The list price on each day."""
    days = len(year)
    match product.policy:
        case Policy.FIXED:
            ratio = np.ones(days)
        case Policy.SEASON:
            ratio = np.repeat(0.6 + 0.4 * year[::24], 24)[:days]
        case Policy.DEMAND:
            ratio = np.repeat(np.clip(1 + 0.5 * np.log(np.append(1.0, shock[:-6:6])), 0.6, 1.6), 6)[:days]
        case _:
            lengths = rng.integers(12, 30, days)
            ratio = np.repeat(rng.uniform(0.6, 1.5, days), lengths)[:days]
    return np.round(product.price * ratio, 2)


def _shock(rng: np.random.Generator, days: int) -> Floats:
    """A demand that wanders from week to week, for no reason that the data show."""
    weeks = days // 6 + 1
    steps = rng.normal(0, 0.25, weeks)
    for i in range(1, weeks):
        steps[i] += 0.8 * steps[i - 1]
    return np.repeat(np.exp(steps), 6)[:days]


def _traps(frame: pd.DataFrame, seed: int) -> list[pd.DataFrame]:
    """The rows that are no sales, or are taken back."""
    named = frame[frame["customer"] != ""]
    returned = named.sample(frac=0.01, random_state=seed)
    later = pd.Timedelta(minutes=16)
    great = named.sample(1, random_state=seed).assign(invoice="999001", quantity=74215.0)
    taken = pd.concat([returned, great])
    taken = taken.assign(
        quantity=-taken["quantity"], invoice="C" + taken["invoice"], invoicedate=taken["invoicedate"] + later
    )
    doubled = frame.sample(frac=0.005, random_state=seed + 1)
    lost = frame.sample(frac=0.002, random_state=seed + 2)
    lost = lost.assign(quantity=-lost["quantity"], invoice="9" + lost["invoice"], unitprice=0.0, customer="")
    posted = frame.sample(frac=0.005, random_state=seed + 3)
    posted = posted.assign(stockcode="POST", description="POSTAGE", quantity=1.0, unitprice=18.0)
    return [great, taken, doubled, lost, posted]
