"""Retail transactions: read from CSV or Parquet, checked and sorted; dropped rows are counted by reason."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["COLUMNS", "BadData", "Cleaning", "clean", "digest", "read"]

# Those of the UCI Online Retail set: https://archive.ics.uci.edu/dataset/352/online+retail
COLUMNS = ["invoice", "stockcode", "description", "quantity", "invoicedate", "unitprice", "customer", "country"]
ALIASES = {"invoiceno": "invoice", "customerid": "customer", "price": "unitprice"}


class BadData(Exception):
    """The data can't be used; the message says what is wrong and where."""


@dataclass(frozen=True)
class Cleaning:
    """How many rows there were, how many were dropped for each reason, and how many were out of order."""

    rows: int
    dropped: dict[str, int]
    disordered: int

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items() if count)
        moved = f"; {self.disordered} out of order by date, put in order" if self.disordered else ""
        return f"{self.rows} rows, dropped {reasons or 'none'}{moved}"


def read(source: str) -> pd.DataFrame:
    """Transactions from ``source``: a path or an ``s3://`` address, ending with ``.csv`` or ``.parquet``.

    Columns are named as ``COLUMNS``, in any case and order, spaces and underlines ignored. S3 is read with the
    usual AWS variables; ``AWS_ENDPOINT_URL`` names an S3 other than Amazon's.

    Raises:
        BadData: it can't be read, is neither CSV nor Parquet, or lacks columns; the message names them all.
    """
    suffix = Path(source).suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise BadData(f"{source} is neither a .csv nor a .parquet file")
    try:
        with _opened(source) as file:
            frame = pd.read_parquet(file) if suffix == ".parquet" else pd.read_csv(file, dtype=str)
    except (OSError, ValueError) as error:
        raise BadData(f"{source} can't be read: {error}") from error
    names = [str(name).lower().replace(" ", "").replace("_", "") for name in frame.columns]
    frame.columns = pd.Index([ALIASES.get(name, name) for name in names])
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise BadData(f"{source} lacks the columns {', '.join(missing)}; it has {', '.join(names)}")
    if twice := sorted(set(frame.columns[frame.columns.duplicated()])):
        raise BadData(f"{source} has the columns {', '.join(twice)} more than once")
    return frame[COLUMNS]


def clean(frame: pd.DataFrame) -> tuple[pd.DataFrame, Cleaning]:
    """The rows that show demand, sorted by date, and what was dropped and why.

    Raises:
        BadData: no row is left.
    """
    rows = len(frame)
    dropped = {}
    frame = frame.assign(
        stockcode=frame["stockcode"].astype("string").str.strip(),
        description=frame["description"].astype("string").fillna(""),
        invoicedate=pd.to_datetime(frame["invoicedate"], errors="coerce", format="mixed"),
        quantity=pd.to_numeric(frame["quantity"], errors="coerce"),
        unitprice=pd.to_numeric(frame["unitprice"], errors="coerce"),
    )
    needed = ["stockcode", "invoicedate", "quantity", "unitprice"]
    rules: list[tuple[str, Callable[[Any], Any]]] = [
        (
            "without a stock code, date, quantity or price",
            lambda f: f[needed].isna().any(axis=1) | (f["stockcode"] == ""),
        ),
        ("duplicates", lambda f: f.duplicated()),
        ("returns", lambda f: f["quantity"] <= 0),
        ("with a negative price", lambda f: f["unitprice"] < 0),
        ("with a price of zero", lambda f: f["unitprice"] == 0),
        ("with a number that is no number", lambda f: ~(f["quantity"] < 1e9) | ~(f["unitprice"] < 1e9)),
    ]
    for reason, wrong in rules:
        bad = wrong(frame)
        dropped[reason] = int(bad.sum())
        frame = frame[~bad]
    disordered = int((frame["invoicedate"].diff() < pd.Timedelta(0)).sum())
    found = Cleaning(rows, dropped, disordered)
    if frame.empty:
        raise BadData(f"no row is left to learn from: {found}")
    return frame.sort_values(["invoicedate", "stockcode", "invoice"], kind="stable").reset_index(drop=True), found


def digest(frame: pd.DataFrame) -> str:
    """``sha256:…`` of the rows as CSV."""
    return "sha256:" + hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()


def _opened(source: str) -> Any:
    """A file to read from, local or in S3."""
    if not source.startswith("s3://"):
        return Path(source).open("rb")
    import os
    from urllib.parse import urlencode

    from pyarrow import fs  # importing it takes a third of a second, and only S3 needs it

    options = {}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        scheme, _, host = endpoint.partition("://")
        options = {"scheme": scheme, "endpoint_override": host.rstrip("/")}
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        options["region"] = region
    system, path = fs.FileSystem.from_uri(f"{source}?{urlencode(options)}" if options else source)
    return system.open_input_file(path)
