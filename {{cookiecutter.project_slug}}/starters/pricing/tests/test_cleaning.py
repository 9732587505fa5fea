"""Cleaning: each rule is counted, and the counts are those of an independent count."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from service import cleaning, market, reading


def test_generated_data_is_the_same_for_the_same_seed() -> None:
    """A seed fixes every row; another seed changes them."""
    made = [cleaning.digest(market.generate(seed, days=60)) for seed in (3, 3, 4)]
    assert made[0] == made[1] != made[2]


def test_each_rule_counts_what_it_drops() -> None:
    """Every dropped row is counted under its rule, nothing else is dropped, and rows out of order are counted."""
    good, _ = cleaning.clean(market.generate(7, days=10))
    row = good.iloc[[0]]
    wrong = [
        row,
        row.assign(invoice="2", unitprice=-1.5),
        row.assign(invoice="3", unitprice=0.0),
        row.assign(invoice="4", invoicedate=None),
        row.assign(invoice="5", stockcode=""),
        row.assign(invoice="6", quantity=1e12),
        row.assign(invoice="7", stockcode="post"),
        row.assign(invoice="8", quantity=-3.0),
        row.assign(invoice="C9", quantity=-1.0, customer="1"),
    ]
    left, found = cleaning.clean(pd.concat([good.iloc[::-1], *wrong]))
    pd.testing.assert_frame_equal(left, good, check_dtype=False, check_categorical=False)
    assert list(found.dropped.values()) == [2, 1, 1, 1, 1, 1, 1, 0, 1]
    assert found.rows == len(good) + len(wrong)
    assert found.disordered > 0
    assert str(found).startswith(
        f"{found.rows} rows, dropped 2 without a stock code, date, quantity or price, 1 with a number"
    )


def test_cancellations_are_netted_against_what_they_cancel() -> None:
    """A cancelled order vanishes, one that is cancelled in part is reduced, and one of another customer stays.

    One that was cancelled by a line that is booked before it vanishes within a day, not what the customer ordered earlier.
    """
    rows = [
        ("1", 100, "a", 0),
        ("2", 10, "a", 1),
        ("3", 10, "b", 2),
        ("C4", -100, "a", 3),
        ("C5", -4, "a", 4),
        ("C6", -1, "z", 5),
        ("70", 3, "c", 6),
        ("C71", -700, "c", 7),
        ("72", 700, "c", 8),
        ("C8", -7, "d", 9),
        ("9", 7, "d", 34),
    ]
    frame = (
        market.generate(7, days=9)
        .head(len(rows))
        .assign(
            stockcode="85111",
            unitprice=2.0,
            invoice=[r[0] for r in rows],
            quantity=[float(r[1]) for r in rows],
            customer=[r[2] for r in rows],
            invoicedate=[pd.Timestamp("2024-01-01") + pd.Timedelta(hours=r[3]) for r in rows],
        )
    )
    left, found = cleaning.clean(frame)
    assert dict(zip(left["invoice"], left["quantity"], strict=True)) == {"2": 6, "3": 10, "70": 3, "9": 7}
    assert (found.cancelled, found.reduced) == (2, 1)
    assert found.dropped["cancellations, netted"] == 3
    assert found.dropped["cancellations of no order in the data"] == 2


def test_great_order_that_was_cancelled_minutes_later_is_no_demand() -> None:
    """The generated market's order of 74,215 units leaves nothing behind."""
    made = market.generate(7, days=60)
    assert made["quantity"].max() == 74215
    assert cleaning.clean(made)[0]["quantity"].max() == max(market.SIZES)


def test_nothing_left_is_said() -> None:
    """Data without a single usable row is refused with the counts."""
    with pytest.raises(reading.BadData, match="no row is left to learn from: 1 rows, dropped 1 write-offs"):
        cleaning.clean(market.generate(7, days=3).head(1).assign(quantity=-1.0))
    with pytest.raises(reading.BadData, match="no regular expression"):
        cleaning.clean(market.generate(7, days=3), "(")


def test_counts_are_those_of_an_independent_count() -> None:
    """On the UCI Online Retail set, counts are compared with counts that pandas makes of the raw file."""
    source = os.environ.get("RETAIL_DATA", "")
    if not source or not Path(source).is_file():
        pytest.skip("NOT TESTED: RETAIL_DATA does not name the UCI Online Retail set")
    raw = pd.read_csv(source, dtype={"InvoiceNo": str, "StockCode": str})
    left, found = cleaning.clean(reading.read(source))
    once = raw.drop_duplicates()
    product = ~once["StockCode"].str.upper().isin(
        ["POST", "DOT", "M", "D", "S", "B", "C2", "CRUK", "PADS", "AMAZONFEE", "BANK CHARGES"]
    ) & ~once["StockCode"].str.upper().str.startswith("GIFT_")
    rest = once[product]
    credit = rest["InvoiceNo"].str.startswith("C")
    lost = (rest["Quantity"] <= 0) & ~credit
    assert found.dropped["duplicates"] == len(raw) - len(once)
    assert found.dropped["of no product (not-products)"] == int((~product).sum())
    assert found.dropped["write-offs: negative, and no cancellation"] == int(lost.sum())
    assert found.dropped["with a price of zero"] == int((rest[~lost]["UnitPrice"] == 0).sum())
    cancelled = found.dropped["cancellations, netted"] + found.dropped["cancellations of no order in the data"]
    assert cancelled == int((credit & (rest["UnitPrice"] > 0)).sum())
    sold = rest[(rest["Quantity"] > 0) & (rest["UnitPrice"] > 0)]["Quantity"].sum()
    assert sold > left["quantity"].sum() > sold - rest.loc[credit, "Quantity"].abs().sum() - 1
    assert np.isclose(left["quantity"].max(), 4300) or left["quantity"].max() < 74215
