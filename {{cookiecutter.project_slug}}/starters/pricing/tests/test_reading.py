"""Transactions are read as people have them, with one digest whatever the file; what allows two readings is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from service import cleaning, market, reading

UCI = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
UCI2 = ["Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Some of six weeks' transactions: days both below and above 12."""
    made = market.generate(7, days=40)[::16].reset_index(drop=True).drop(columns="cost")
    return made.assign(description=made["description"] + " £")


def digest(frame: pd.DataFrame) -> str:
    return cleaning.digest(cleaning.clean(frame)[0])


def test_every_container_gives_one_digest(frame: pd.DataFrame, tmp_path: Path) -> None:
    """CSV in several dialects, Excel and Parquet of the same rows are the same dataset."""
    named = frame.set_axis(UCI, axis=1)
    when = frame["invoicedate"]
    us = named.assign(InvoiceDate=[f"{t.month}/{t.day}/{t.year} {t.hour}:{t.minute:02}" for t in when])
    comma = named.assign(
        InvoiceDate=when.dt.strftime("%d.%m.%Y %H:%M"),
        UnitPrice=[f"{p:.2f}".replace(".", ",") for p in frame["unitprice"]],
    )
    half = named.assign(InvoiceDate=when.dt.strftime("%m/%d/%Y %I:%M %p"))
    zoned = named.assign(InvoiceDate=[f"{t.isoformat()}{'Z' if i % 2 else '+00:00'}" for i, t in enumerate(when)])
    named.to_csv(tmp_path / "plain.csv", index=False)
    (tmp_path / "plain.csv.gz").write_bytes(gzip.compress((tmp_path / "plain.csv").read_bytes()))
    us.to_csv(tmp_path / "us.csv", index=False)
    half.to_csv(tmp_path / "half.csv", index=False)
    zoned.to_csv(tmp_path / "zoned.csv", index=False)
    comma.to_csv(tmp_path / "comma.csv", index=False, sep=";", encoding="latin-1")
    named.to_csv(tmp_path / "utf16.tsv", index=False, sep="\t", encoding="utf-16")
    named.set_axis(UCI2, axis=1).to_csv(tmp_path / "two.csv", index=False, encoding="utf-8-sig")
    named.to_parquet(tmp_path / "typed.parquet")
    (tmp_path / "packed.parquet.gz").write_bytes(gzip.compress((tmp_path / "typed.parquet").read_bytes()))
    named.assign(InvoiceDate=when.dt.tz_localize("UTC")).to_parquet(tmp_path / "utc.parquet")
    found = {path.name: digest(reading.read(str(path))) for path in sorted(tmp_path.iterdir())}
    assert len(found) == 11
    assert set(found.values()) == {digest(frame.assign(cost=float("nan")))}, found


def test_excel_is_read(frame: pd.DataFrame, tmp_path: Path) -> None:
    """A workbook with typed cells, where codes are numbers, is the same dataset."""
    book = openpyxl.Workbook()
    book.active.append(UCI)
    for row in frame.itertuples(index=False):
        code = float(row.stockcode) if str(row.stockcode).isdigit() else row.stockcode
        customer = float(row.customer) if row.customer else None
        when = row.invoicedate.to_pydatetime()
        book.active.append(
            [row.invoice, code, row.description, row.quantity, when, row.unitprice, customer, row.country]
        )
    book.save(tmp_path / "book.xlsx")
    assert digest(reading.read(str(tmp_path / "book.xlsx"))) == digest(frame.assign(cost=float("nan")))


def test_every_sheet_of_transactions_is_read(frame: pd.DataFrame, tmp_path: Path) -> None:
    """A workbook with a sheet for each year, and one of notes, is the dataset of both years."""
    named = frame.set_axis(UCI2, axis=1)
    with pd.ExcelWriter(tmp_path / "years.xlsx") as book:
        pd.DataFrame({"About": ["notes"]}).to_excel(book, sheet_name="Notes", index=False)
        named[:200].to_excel(book, sheet_name="Year 2009-2010", index=False)
        named[200:].to_excel(book, sheet_name="Year 2010-2011", index=False)
    assert digest(reading.read(str(tmp_path / "years.xlsx"))) == digest(frame.assign(cost=float("nan")))


def test_times_are_to_the_nearest_second(frame: pd.DataFrame, tmp_path: Path) -> None:
    """Spreadsheets keep 08:26 as 08:25:59.999997: as text and typed it is 08:26."""
    times = [pd.Timestamp("2011-07-31 23:59:59.999997"), pd.Timestamp("2011-08-02 08:26:00.2")]
    named = frame.head(2).set_axis(UCI, axis=1).assign(InvoiceDate=times)
    named.to_csv(tmp_path / "x.csv", index=False)
    named.to_parquet(tmp_path / "x.parquet")
    for name in ("x.csv", "x.parquet"):
        found = reading.read(str(tmp_path / name))["invoicedate"]
        assert found.astype(str).tolist() == ["2011-08-01 00:00:00", "2011-08-02 08:26:00"], name


def test_a_file_has_one_decimal_mark(frame: pd.DataFrame, tmp_path: Path) -> None:
    """A quantity of 1.000 is a thousand where prices are like 2,55; what is neither is refused."""
    named = frame.head(2).set_axis(UCI, axis=1).assign(UnitPrice=["2,55", "1.234,50"])
    named.assign(Quantity=["1.000", "6"]).to_csv(tmp_path / "x.csv", index=False, sep=";")
    found = reading.read(str(tmp_path / "x.csv"))
    assert found["quantity"].tolist() == [1000, 6]
    assert found["unitprice"].tolist() == [2.55, 1234.5]
    named.assign(Quantity=["1.000", "2.5"]).to_csv(tmp_path / "x.csv", index=False, sep=";")
    with pytest.raises(reading.BadData, match=r"row 3: the quantity '2\.5' is no number"):
        reading.read(str(tmp_path / "x.csv"))
    with pytest.raises(reading.BadData, match=r"decimal must be \. or , and not 'comma'"):
        reading.read(str(tmp_path / "x.csv"), decimal="comma")


def test_times_are_those_of_the_shop(frame: pd.DataFrame, tmp_path: Path) -> None:
    """Times with mixed offsets are converted to the shop's zone; times without one stay."""
    named = frame.head(2).set_axis(UCI, axis=1)
    named.assign(InvoiceDate=["2011-07-01 12:00:00+00:00", "2011-07-01T12:00:00-05:00"]).to_csv(
        tmp_path / "x.csv", index=False
    )
    found = reading.read(str(tmp_path / "x.csv"), zone="Europe/London")["invoicedate"]
    assert found.astype(str).tolist() == ["2011-07-01 13:00:00", "2011-07-01 18:00:00"]


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        (
            "InvoiceDate",
            ["3/4/2011 8:26"],
            "row 2: '3/4/2011 8:26' is day first or month first.* dates=dmy or dates=mdy",
        ),
        ("InvoiceDate", ["13/4/2011", "4/13/2011"], "dates in two orders, row 2: '13/4/2011' and row 3: '4/13/2011'"),
        ("InvoiceDate", ["2011-04-01", "soon"], "row 3: the date 'soon' is unknown; write dates like"),
        ("InvoiceDate", ["2011-02-30"], "row 2: the date '2011-02-30' does not exist"),
        ("Quantity", ["6", "six"], "row 3: the quantity 'six' is no number"),
        ("UnitPrice", ["1,234"], "row 2: the unitprice '1,234' is a thousand or a fraction.* decimal="),
    ],
)
def test_two_readings_are_refused(
    frame: pd.DataFrame, tmp_path: Path, column: str, values: list[str], says: str
) -> None:
    """The refusal names the row, the value, and what decides it."""
    frame.head(len(values)).set_axis(UCI, axis=1).assign(**{column: values}).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(reading.BadData, match=says):
        reading.read(str(tmp_path / "x.csv"))


def test_options_decide(frame: pd.DataFrame, tmp_path: Path) -> None:
    """What was refused is read as the options say."""
    named = frame.head(1).set_axis(UCI, axis=1).assign(InvoiceDate="3/4/2011", UnitPrice="1,234")
    named.to_csv(tmp_path / "x.csv", index=False)
    for dates, month in (("dmy", 4), ("mdy", 3)):
        for decimal, price in ((",", 1.234), (".", 1234)):
            row = reading.read(str(tmp_path / "x.csv"), dates=dates, decimal=decimal).iloc[0]
            assert (row["invoicedate"].month, row["unitprice"]) == (month, price)


def test_what_cannot_be_read_is_said(frame: pd.DataFrame, tmp_path: Path) -> None:
    """Missing columns, duplicate columns, other kinds of files, and missing files are all named."""
    frame.drop(columns=["quantity", "invoice"]).to_csv(tmp_path / "x.csv", index=False)
    frame.assign(InvoiceNo="1").to_csv(tmp_path / "twice.csv", index=False)
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(frame.set_axis(UCI, axis=1).to_csv(index=False).encode())[:-99])
    (tmp_path / "bad.xlsx").write_bytes(b"no workbook")
    for name, says in (
        ("x.csv", "lacks the columns invoice, quantity"),
        ("twice.csv", "has the columns invoice more than once"),
        ("none.csv", "can't be read"),
        ("bad.parquet", "can't be read"),
        ("cut.csv.gz", "can't be read"),
        ("bad.xlsx", "can't be read"),
        ("empty.csv", "can't be read: it is empty"),
        ("x.json", r"is none of .*\.xlsx"),
    ):
        with pytest.raises(reading.BadData, match=says):
            reading.read(str(tmp_path / name))
    with pytest.raises(reading.BadData, match="Nowhere"):
        reading.read(str(tmp_path / "x.csv"), zone="Nowhere")
