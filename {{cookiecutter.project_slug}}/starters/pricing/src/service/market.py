"""A generated market with known demand, so that what a model has learned can be compared with the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Product", "generate", "products"]

NAMES = (
    "lantern",
    "teacup",
    "doormat",
    "cushion",
    "clock",
    "candle",
    "basket",
    "frame",
    "mug",
    "apron",
    "vase",
    "tray",
)


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

    def sales(self, price: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected units a day at each of ``price``, without the season."""
        return np.asarray(self.demand * np.exp(self.elasticity * (price / self.price - 1)))

    @property
    def best_price(self) -> float:
        """The price with the highest expected revenue: where the elasticity is -1."""
        return -self.price / self.elasticity


def products(seed: int) -> list[Product]:
    """Twelve products, the same for the same seed; elasticities from -1.8 to -0.8."""
    rng = np.random.default_rng(seed)
    return [
        Product(
            stockcode=str(85000 + 111 * i),
            description=name,
            price=round(float(rng.uniform(2, 20)), 2),
            demand=float(rng.uniform(20, 80)),
            elasticity=float(rng.uniform(-1.8, -0.8)),
            swing=float(rng.uniform(0.1, 0.3)),
            peak=int(rng.integers(1, 366)),
        )
        for i, name in enumerate(NAMES, start=1)
    ]


def generate(seed: int, days: int = 730) -> pd.DataFrame:
    """``days`` of transactions of ``products(seed)``, with seasons, returns and duplicates as in real data.

    Returns:
        a frame with ``data.COLUMNS``, one row per invoice line, ordered by date; the same for the same seed.
    """
    rng = np.random.default_rng(seed + 1)
    dates = pd.date_range("2024-01-01", periods=days, freq="D")
    week = 1 + 0.15 * np.sin(2 * np.pi * dates.day_of_week.to_numpy() / 7)
    frames = []
    for product in products(seed):
        # A price is kept for a week, as in a shop.
        ratio = np.repeat(rng.uniform(0.5, 1.6, days // 7 + 1), 7)[:days]
        price = np.round(product.price * ratio, 2)
        year = 1 + product.swing * np.cos(2 * np.pi * (dates.day_of_year.to_numpy() - product.peak) / 365.25)
        frames.append(
            pd.DataFrame(
                {
                    "stockcode": product.stockcode,
                    "description": product.description,
                    "quantity": rng.poisson(product.sales(price) * week * year),
                    "invoicedate": dates + pd.Timedelta(hours=12),
                    "unitprice": price,
                }
            )
        )
    frame = pd.concat(frames, ignore_index=True).sort_values(["invoicedate", "stockcode"], kind="stable")
    frame = frame[frame["quantity"] > 0].reset_index(drop=True)
    frame["invoice"] = [str(536000 + i) for i in range(len(frame))]
    frame["customer"] = rng.integers(12000, 18000, len(frame)).astype(str)
    frame["country"] = "United Kingdom"
    returned = frame.sample(frac=0.01, random_state=seed)
    returned = returned.assign(quantity=-1, invoice="C" + returned["invoice"])
    doubled = frame.sample(frac=0.005, random_state=seed + 1)
    whole = pd.concat([frame, returned, doubled]).sort_values(["invoicedate", "invoice"], kind="stable")
    columns = ["invoice", "stockcode", "description", "quantity", "invoicedate", "unitprice", "customer", "country"]
    return whole[columns].reset_index(drop=True)
