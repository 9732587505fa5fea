"""The data for training and evaluation: sales per product and day, split by time."""

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
# A product that sold on fewer days, or at fewer prices, does not show how its price changes its sales.
LEAST_DAYS, LEAST_PRICES = 30, 3
# One column per product: these models are for a range of products, not for a whole catalogue.
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
        """The rows before a day, and the others: about the last ``share`` of all days. Never a random split."""
        days = np.unique(self.days)
        start = days[int(len(days) * (1 - share))]
        return self[self.days < start], self[self.days >= start]

    def features(self, products: list[dict[str, Any]]) -> NDArray[np.float32]:
        """The features of each row, for a model that knows ``products``; every row must be of one of them."""
        index = {product["stockcode"]: i for i, product in enumerate(products)}
        number = np.array([index[code] for code in self.stockcodes], dtype=np.int64)
        reference = np.array([product["price"] for product in products])
        days = pd.DatetimeIndex(self.days)
        return features.matrix(
            number, self.prices / reference[number], days.day_of_week.to_numpy(), days.day_of_year.to_numpy()
        )


@dataclass(frozen=True)
class Dataset:
    """Data, ready for training.

    Attributes:
        name: where it is from.
        cleaning: what was dropped from the transactions; ``left_out`` is the number of products that were left out.
        transactions: the rows that remain; ``digest`` is their digest.
        train, test: the days for training, and the last days, which no model sees before it is evaluated.
        products: what the models must know about each product, from the days for training only.
        truth: the true demand, by stock code; empty when it is unknown.
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
    """The transactions of ``source``, as ``data.read`` reads them; generated ones if it is empty.

    Raises:
        data.BadData: they can't be used.
    """
    frame, cleaning = data.clean(data.read(source) if source else market.generate(seed))
    return assemble(frame, str(cleaning), source, seed)


def assemble(frame: pd.DataFrame, cleaning: str, source: str, seed: int) -> Dataset:
    """The dataset of transactions that are clean already.

    Raises:
        data.BadData: there is too little data for training.
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
    """The sales of each product and day; the price is the mean over the units sold that day."""
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
    """The products with enough data, the ones that sold most, sorted by stock code."""
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
