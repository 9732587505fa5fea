"""Retail transactions: read from a CSV, or generated with price elasticities that are known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["COLUMNS", "BadData", "Cleaning", "Product", "clean", "digest", "generate", "products", "read", "split"]

# Those of the UCI Online Retail set: https://archive.ics.uci.edu/dataset/352/online+retail
COLUMNS = ["invoice", "stockcode", "description", "quantity", "invoicedate", "unitprice", "customer", "country"]
ALIASES = {"invoiceno": "invoice", "customerid": "customer", "price": "unitprice"}


class BadData(Exception):
    """The data can't be used; the message says what is wrong and where."""


@dataclass(frozen=True)
class Product:
    """A product whose demand is known: a day's expected sales at price p are
    ``demand * exp(elasticity * (p / price - 1))``, times the season; ``elasticity`` is that at ``price``.
    """

    stockcode: str
    description: str
    price: float
    demand: float
    elasticity: float

    @property
    def best_price(self) -> float:
        """The price with the highest expected revenue: where the elasticity is -1."""
        return -self.price / self.elasticity


@dataclass(frozen=True)
class Cleaning:
    """How many rows there were, and how many were dropped for each reason."""

    rows: int
    dropped: dict[str, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items() if count)
        return f"{self.rows} rows, dropped {reasons or 'none'}"


NAMES = [
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
]


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
        )
        for i, name in enumerate(NAMES, start=1)
    ]


def generate(seed: int, days: int = 730) -> pd.DataFrame:
    """``days`` of transactions of ``products(seed)``, with seasons, returns and duplicates as real ones have.

    Returns:
        a frame with ``COLUMNS``, one row per invoice line, ordered by date; the same for the same seed.
    """
    rng = np.random.default_rng(seed + 1)
    dates = pd.date_range("2024-01-01", periods=days, freq="D")
    week = 1 + 0.15 * np.sin(2 * np.pi * dates.day_of_week.to_numpy() / 7)
    year = 1 + 0.2 * np.sin(2 * np.pi * dates.day_of_year.to_numpy() / 365.25)
    frames = []
    for product in products(seed):
        # A price holds for a week, as a shop's does.
        ratio = np.repeat(rng.uniform(0.5, 1.6, days // 7 + 1), 7)[:days]
        price = np.round(product.price * ratio, 2)
        expected = product.demand * np.exp(product.elasticity * (price / product.price - 1)) * week * year
        frames.append(
            pd.DataFrame(
                {
                    "stockcode": product.stockcode,
                    "description": product.description,
                    "quantity": rng.poisson(expected),
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
    return whole[COLUMNS].reset_index(drop=True)


def read(path: Path) -> pd.DataFrame:
    """Transactions from a CSV whose columns are named as ``COLUMNS``, in any case and order, spaces ignored.

    Raises:
        BadData: the file is missing or lacks columns; names them all.
    """
    try:
        frame = pd.read_csv(path, dtype={"StockCode": str, "stockcode": str}, low_memory=False)
    except (OSError, ValueError) as error:
        raise BadData(f"{path} can't be read: {error}") from error
    names = [str(name).lower().replace(" ", "").replace("_", "") for name in frame.columns]
    frame.columns = pd.Index([ALIASES.get(name, name) for name in names])
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise BadData(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(names)}")
    return frame[COLUMNS]


def clean(frame: pd.DataFrame) -> tuple[pd.DataFrame, Cleaning]:
    """The rows that tell of demand, ordered by date, and what was dropped and why.

    Raises:
        BadData: nothing is left.
    """
    rows = len(frame)
    dropped = {}
    frame = frame.assign(
        invoicedate=pd.to_datetime(frame["invoicedate"], errors="coerce"),
        quantity=pd.to_numeric(frame["quantity"], errors="coerce"),
        unitprice=pd.to_numeric(frame["unitprice"], errors="coerce"),
    )
    rules: list[tuple[str, Callable[[Any], Any]]] = [
        ("without a date, quantity or price", lambda f: f[["invoicedate", "quantity", "unitprice"]].isna().any(axis=1)),
        ("duplicates", lambda f: f.duplicated()),
        ("returns", lambda f: f["quantity"] <= 0),
        ("with a price of zero or less", lambda f: f["unitprice"] <= 0),
    ]
    for reason, bad in rules:
        found = bad(frame)
        dropped[reason] = int(found.sum())
        frame = frame[~found]
    if frame.empty:
        raise BadData(f"no row is left to learn from: {Cleaning(rows, dropped)}")
    return frame.sort_values("invoicedate", kind="stable").reset_index(drop=True), Cleaning(rows, dropped)


def split(frame: pd.DataFrame, share: float = 0.2) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows before a date, and those from it on: about the last ``share`` of all days. Never at random."""
    days = frame["invoicedate"].dt.normalize()
    unique = days.drop_duplicates().sort_values()
    start = unique.iloc[int(len(unique) * (1 - share))]
    return frame[days < start], frame[days >= start]


def digest(frame: pd.DataFrame) -> str:
    """``sha256:…`` of the rows as CSV."""
    return "sha256:" + hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()
