"""Transactions: generated ones match the truth, read ones are checked, and they are split by time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from service import data, dataset, market


def test_generated_data_is_the_same_for_the_same_seed() -> None:
    """A seed fixes every row; another seed changes them."""
    assert data.digest(market.generate(3, days=60)) == data.digest(market.generate(3, days=60))
    assert data.digest(market.generate(3, days=60)) != data.digest(market.generate(4, days=60))


def test_generated_sales_follow_the_season_and_the_price() -> None:
    """Generated sales have the elasticity and the peak of their product."""
    rows = data.clean(market.generate(7))[0]
    product = max(market.products(7), key=lambda p: p.demand)
    own = rows[rows["stockcode"] == product.stockcode]
    expected = product.sales(own["unitprice"].to_numpy())
    assert np.polyfit(np.log(expected), np.log(own["quantity"].astype(float)), 1)[0] == pytest.approx(1, abs=0.05)
    ratio = own["quantity"].to_numpy() / expected
    near = np.cos(2 * np.pi * (own["invoicedate"].dt.day_of_year.to_numpy() - product.peak) / 365.25)
    assert np.polyfit(near, ratio, 1)[0] == pytest.approx(product.swing, rel=0.2)


def test_best_price_has_the_highest_revenue() -> None:
    """The known best price of a product earns more than any other price."""
    for product in market.products(7):
        prices = np.linspace(0.3, 2, 500) * product.price
        assert prices[np.argmax(prices * product.sales(prices))] == pytest.approx(product.best_price, rel=0.01)


def test_cleaning_counts_what_it_drops() -> None:
    """Every dropped row is counted under its reason, nothing else is dropped, and rows out of order are counted."""
    good, _ = data.clean(market.generate(7, days=10))
    row = good.iloc[[0]]
    wrong = [
        row,
        row.assign(invoice="C1", quantity=-2),
        row.assign(invoice="2", unitprice=-1.5),
        row.assign(invoice="3", unitprice=0),
        row.assign(invoice="4", invoicedate=None),
        row.assign(invoice="5", stockcode=" "),
        row.assign(invoice="6", quantity=float("inf")),
    ]
    left, cleaning = data.clean(pd.concat([good.iloc[::-1], *wrong]))
    pd.testing.assert_frame_equal(left, good, check_dtype=False)
    assert cleaning.dropped == {
        "without a stock code, date, quantity or price": 2,
        "duplicates": 1,
        "returns": 1,
        "with a negative price": 1,
        "with a price of zero": 1,
        "with a number that is no number": 1,
    }
    assert cleaning.rows == len(good) + len(wrong)
    assert cleaning.disordered == 9  # from each day to the one before it
    assert str(cleaning) == (
        f"{cleaning.rows} rows, dropped 2 without a stock code, date, quantity or price, 1 duplicates, 1 returns, "
        "1 with a negative price, 1 with a price of zero, 1 with a number that is no number; "
        "9 out of order by date, put in order"
    )


def test_nothing_left_is_said() -> None:
    """Data without a single usable row is refused with the counts."""
    with pytest.raises(data.BadData, match="no row is left to learn from: 1 rows, dropped 1 returns"):
        data.clean(market.generate(7, days=3).head(1).assign(quantity=-1))


UCI = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_columns_of_the_uci_set_are_read(tmp_path: Path, suffix: str) -> None:
    """A file with the UCI set's own column names gives the same rows, whether CSV or Parquet."""
    frame = market.generate(7, days=5)
    path = tmp_path / f"retail{suffix}"
    renamed = frame.set_axis(UCI, axis=1)
    renamed.to_csv(path, index=False) if suffix == ".csv" else renamed.to_parquet(path)
    assert data.digest(data.clean(data.read(str(path)))[0]) == data.digest(data.clean(frame)[0])


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Missing columns, duplicate columns, other kinds of files, and missing files are all named."""
    frame = market.generate(7, days=3)
    frame.drop(columns=["quantity", "country"]).to_csv(tmp_path / "x.csv", index=False)
    frame.assign(InvoiceNo="1").to_csv(tmp_path / "twice.csv", index=False)
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    for name, says in (
        ("x.csv", "lacks the columns quantity, country"),
        ("twice.csv", "has the columns invoice more than once"),
        ("none.csv", "can't be read"),
        ("bad.parquet", "can't be read"),
        ("x.xlsx", "neither a .csv nor a .parquet"),
    ):
        with pytest.raises(data.BadData, match=says):
            data.read(str(tmp_path / name))


def test_split_is_by_time() -> None:
    """Every held-out day is after every day for training, also in the split that tuning makes."""
    found = dataset.load("", 7)
    before, after = found.train.split()
    for first, second in ((found.train, found.test), (before, after)):
        assert first.days.max() < second.days.min()
        assert 0.15 < len(second) / (len(first) + len(second)) < 0.25


def test_products_that_tell_nothing_are_left_out() -> None:
    """Too few days or prices: the product is left out, and counted."""
    frame, _ = data.clean(market.generate(7, days=200))
    rare = frame["stockcode"].eq("85111") & (frame["invoicedate"] > "2024-01-20")
    fixed = frame["stockcode"].eq("85222")
    frame = frame[~rare].assign(unitprice=frame["unitprice"].mask(fixed, 3.0))
    found = dataset.assemble(frame, "", "x.csv", 7)
    assert found.left_out == 2
    assert not {"85111", "85222"} & {p["stockcode"] for p in found.products}
    assert found.truth == {}
    with pytest.raises(data.BadData, match="no product sold on 30 days"):
        dataset.assemble(frame[frame["invoicedate"] < "2024-01-15"], "", "x.csv", 7)
