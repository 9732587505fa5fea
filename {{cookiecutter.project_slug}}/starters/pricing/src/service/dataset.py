"""What models learn from and are judged by: sales per product and day, split by time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from service import data, features, market

__all__ = ["Dataset", "Table", "assemble", "load"]

HELD_OUT = 0.2
# A product that sold on fewer days, or at fewer prices, tells nothing of how its price moves its sales.
LEAST_DAYS, LEAST_PRICES = 30, 3
# One column per product: the models here are made for a range of goods, not for a catalogue.
MOST_PRODUCTS = 200


@dataclass(frozen=True)
class Table:
    """Sales per product and day, ordered by day; arrays of one length."""

    stockcodes: NDArray[np.str_]
    prices: NDArray[np.float64]
    days: NDArray[np.datetime64]
    sales: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.sales)

    def __getitem__(self, rows: NDArray[np.bool_]) -> Table:
        return Table(self.stockcodes[rows], self.prices[rows], self.days[rows], self.sales[rows])

    def split(self, share: float = HELD_OUT) -> tuple[Table, Table]:
        """Rows before a day, and those from it on: about the last ``share`` of all days. Never at random."""
        days = np.unique(self.days)
        start = days[int(len(days) * (1 - share))]
        return self[self.days < start], self[self.days >= start]

    def features(self, products: list[dict[str, Any]]) -> NDArray[np.float32]:
        """What a model that knows ``products`` gets of each row; every row must be of one of them."""
        index = {product["stockcode"]: i for i, product in enumerate(products)}
        number = np.array([index[code] for code in self.stockcodes], dtype=np.int64)
        reference = np.array([product["price"] for product in products])
        days = pd.DatetimeIndex(self.days)
        return features.matrix(
            number, self.prices / reference[number], days.day_of_week.to_numpy(), days.day_of_year.to_numpy()
        )


@dataclass(frozen=True)
class Dataset:
    """Data, ready to learn from.

    Attributes:
        name: where it is from.
        cleaning: what was dropped of the transactions; ``left_out`` says how many products were.
        transactions: the rows that were left; ``digest`` is theirs.
        train, test: the days to learn from, and the last ones, which no model sees before it is judged.
        products: what the models must know of each product, taken from the days to learn from only.
        truth: how demand really is, by stock code; empty where it is unknown.
    """

    name: str
    cleaning: str
    transactions: pd.DataFrame
    digest: str
    left_out: int
    train: Table
    test: Table
    products: list[dict[str, Any]]
    truth: dict[str, market.Product]


def load(source: str, seed: int) -> Dataset:
    """The transactions of ``source``, as ``data.read`` reads them; empty: generated ones.

    Raises:
        data.BadData: they can't be used.
    """
    frame, cleaning = data.clean(data.read(source) if source else market.generate(seed))
    return assemble(frame, str(cleaning), source, seed)


def assemble(frame: pd.DataFrame, cleaning: str, source: str, seed: int) -> Dataset:
    """What ``load`` makes of clean transactions.

    Raises:
        data.BadData: there is too little to learn from.
    """
    train, test = _daily(frame).split()
    products = _products(train, frame[frame["invoicedate"] < pd.Timestamp(test.days[0])])
    known = np.array([product["stockcode"] for product in products])
    test = test[np.isin(test.stockcodes, known)]
    if not products or not len(test):
        raise data.BadData(
            f"no product sold on {LEAST_DAYS} days at {LEAST_PRICES} prices, and in the last fifth of the time: {cleaning}"
        )
    return Dataset(
        name=Path(source).name if source else f"generated, seed {seed}",
        cleaning=cleaning,
        transactions=frame,
        digest=data.digest(frame),
        left_out=int(frame["stockcode"].nunique()) - len(products),
        train=train[np.isin(train.stockcodes, known)],
        test=test,
        products=products,
        truth={} if source else {product.stockcode: product for product in market.products(seed)},
    )


def _daily(frame: pd.DataFrame) -> Table:
    """A day's sales of each product; its price is the mean of what the day's units were sold for."""
    rows = frame.assign(day=frame["invoicedate"].dt.normalize(), revenue=frame["quantity"] * frame["unitprice"])
    daily = rows.groupby(["day", "stockcode"], as_index=False).agg(
        sales=("quantity", "sum"), revenue=("revenue", "sum")
    )
    sales = daily["sales"].to_numpy(dtype=np.float64)
    return Table(
        daily["stockcode"].to_numpy(dtype=np.str_),
        daily["revenue"].to_numpy(dtype=np.float64) / sales,
        daily["day"].to_numpy(dtype="datetime64[D]"),
        sales,
    )


def _products(train: Table, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The products that there is enough to learn from, those that sold most, ordered by stock code."""
    names = frame[frame["description"] != ""].groupby("stockcode")["description"].first()
    found = []
    for code in np.unique(train.stockcodes):
        own = train[train.stockcodes == code]
        if len(own) < LEAST_DAYS or len(np.unique(own.prices.round(2))) < LEAST_PRICES:
            continue
        low, price, high = np.quantile(own.prices, [0.02, 0.5, 0.98]).round(4)
        if low < high:
            product = {"stockcode": str(code), "description": str(names.get(code, code)), "price": float(price)}
            found.append((-own.sales.sum(), {**product, "low": float(low), "high": float(high)}))
    kept = sorted(found, key=lambda f: (f[0], f[1]["stockcode"]))[:MOST_PRODUCTS]
    return sorted((product for _, product in kept), key=lambda product: str(product["stockcode"]))
