"""Transactions: generated ones tell the truth, read ones are checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from service import data


def test_generated_data_is_the_same_for_the_same_seed() -> None:
    """A seed fixes every row; another seed changes them."""
    assert data.digest(data.generate(3, days=60)) == data.digest(data.generate(3, days=60))
    assert data.digest(data.generate(3, days=60)) != data.digest(data.generate(4, days=60))


def test_best_price_has_the_highest_revenue() -> None:
    """The known best price of a product earns more than any other price."""
    for product in data.products(7):
        prices = np.linspace(0.3, 2, 500) * product.price
        revenue = prices * product.demand * np.exp(product.elasticity * (prices / product.price - 1))
        assert prices[np.argmax(revenue)] == pytest.approx(product.best_price, rel=0.01)


def test_cleaning_counts_what_it_drops() -> None:
    """Every dropped row is counted under its reason, and nothing else is dropped."""
    frame = data.generate(7, days=10)
    good, _ = data.clean(frame)
    row = good.iloc[[0]]
    bad = pd.concat(
        [
            good,
            row,
            row.assign(invoice="C1", quantity=-2),
            row.assign(invoice="2", unitprice=0),
            row.assign(invoice="3", invoicedate=None),
        ]
    )
    left, cleaning = data.clean(bad)
    assert len(left) == len(good)
    assert cleaning.dropped == {
        "without a date, quantity or price": 1,
        "duplicates": 1,
        "returns": 1,
        "with a price of zero or less": 1,
    }
    assert str(cleaning) == (
        f"{len(bad)} rows, dropped 1 without a date, quantity or price, 1 duplicates, 1 returns, "
        "1 with a price of zero or less"
    )


def test_nothing_left_is_said() -> None:
    """Data without a single usable row is refused with the counts."""
    with pytest.raises(data.BadData, match="no row is left to learn from: 1 rows, dropped 1 returns"):
        data.clean(data.generate(7, days=3).head(1).assign(quantity=-1))


def test_columns_of_the_uci_set_are_read(tmp_path: Path) -> None:
    """A CSV with the UCI set's own column names is read, its stock codes as text."""
    frame = data.generate(7, days=5)
    names = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
    frame.set_axis(names, axis=1).to_csv(tmp_path / "retail.csv", index=False)
    read = data.read(tmp_path / "retail.csv")
    assert list(read.columns) == data.COLUMNS
    assert read["stockcode"].iloc[0] == frame["stockcode"].iloc[0]


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    """A CSV without the needed columns is refused, naming each."""
    data.generate(7, days=3).drop(columns=["quantity", "country"]).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(data.BadData, match="lacks the columns quantity, country"):
        data.read(tmp_path / "x.csv")
    with pytest.raises(data.BadData, match="can't be read"):
        data.read(tmp_path / "none.csv")


def test_split_is_by_time() -> None:
    """No held-out day is before, or the same as, a day that was trained on."""
    frame, _ = data.clean(data.generate(7, days=100))
    before, after = data.split(frame)
    assert before["invoicedate"].max().normalize() < after["invoicedate"].min().normalize()
    assert len(before) + len(after) == len(frame)
    assert 0.15 < len(after) / len(frame) < 0.25
