"""From transactions to orders of products: cancellations are netted, what is no sale is dropped, and each rule is counted."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect
from dataclasses import dataclass

import numpy as np
import pandas as pd

from service.reading import COLUMNS, BadData

__all__ = ["NOT_PRODUCTS", "Cleaning", "clean", "digest"]

# Codes that shops book beside products: postage, manual lines, bank and marketplace charges, discounts, samples, vouchers.
NOT_PRODUCTS = "POST|DOT|M|D|S|B|C2|CRUK|PADS|AMAZON ?FEE|BANK CHARGES|ADJUST.*|GIFT_.*|TEST.*|SHIPPING|VOUCHER.*"

DAY = np.timedelta64(1, "D")
TEXT = ("invoice", "stockcode", "description", "customer", "country")


@dataclass(frozen=True)
class Cleaning:
    """What became of the rows.

    Attributes:
        rows: all of them.
        dropped: rows that were dropped, by rule; the rules are applied in this order.
        cancelled, reduced: order lines that a cancellation took away wholly, and in part.
        disordered: rows that were out of order by date.
    """

    rows: int
    dropped: dict[str, int]
    cancelled: int
    reduced: int
    disordered: int

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items() if count)
        netted = f"; cancellations removed {self.cancelled} order lines and reduced {self.reduced}"
        moved = f"; {self.disordered} out of order by date, put in order" if self.disordered else ""
        return f"{self.rows} rows, dropped {reasons or 'none'}{netted if self.cancelled + self.reduced else ''}{moved}"


def clean(frame: pd.DataFrame, not_products: str = NOT_PRODUCTS) -> tuple[pd.DataFrame, Cleaning]:
    """The order lines of products, sorted by time, and what was dropped and why.

    Args:
        not_products: a regular expression; codes that match it as a whole, in any case, are no products.

    Raises:
        BadData: no row is left, or ``not_products`` is no regular expression.
    """
    try:
        pattern = re.compile(not_products, re.IGNORECASE)
    except re.error as error:
        raise BadData(f"not-products is no regular expression: {error}") from error
    rows = len(frame)
    dropped: dict[str, int] = {}
    alive = np.ones(rows, bool)

    def drop(reason: str, wrong: pd.Series[bool]) -> None:
        hit = alive & wrong.to_numpy()
        dropped[reason] = int(hit.sum())
        alive[hit] = False

    text = [n for n in TEXT if not isinstance(frame[n].dtype, pd.CategoricalDtype)]
    frame = frame.assign(**{n: frame[n].astype(str).astype("category") for n in text})
    missing = frame[["invoicedate", "quantity", "unitprice"]].isna().any(axis=1)
    drop("without a stock code, date, quantity or price", missing | (frame["stockcode"] == ""))
    drop("with a number that is no amount", (frame["quantity"].abs() >= 1e9) | (frame["unitprice"].abs() >= 1e9))
    drop("duplicates", frame.duplicated())
    codes = pd.Index(frame["stockcode"].unique())
    drop("of no product (not-products)", frame["stockcode"].isin([c for c in codes if pattern.fullmatch(str(c))]))
    disordered = int((frame["invoicedate"][alive].diff() < pd.Timedelta(0)).sum())
    numbers = frame["invoice"].cat.categories
    credit = frame["invoice"].isin(numbers[numbers.astype(str).str.startswith(("C", "c"))])
    drop("write-offs: negative, and no cancellation", (frame["quantity"] <= 0) & ~credit)
    drop("with a price of zero", frame["unitprice"] == 0)
    drop("with a negative price", frame["unitprice"] < 0)
    frame = frame[alive].sort_values(["invoicedate", "stockcode", "invoice"], kind="stable", ignore_index=True)
    netted, cancelled, reduced, unmatched = _net(frame)
    dropped["cancellations, netted"] = int((frame["quantity"] <= 0).sum()) - unmatched
    dropped["cancellations of no order in the data"] = unmatched
    found = Cleaning(rows, dropped, cancelled, reduced, disordered)
    if netted.empty:
        raise BadData(f"no row is left to learn from: {found}")
    return netted, found


def _net(frame: pd.DataFrame) -> tuple[pd.DataFrame, int, int, int]:
    """Take cancellations from earlier lines of the same customer, product and price, or from one that was booked within a day
    after them.

    Returns:
        the order lines that remain, how many were removed, how many reduced, and the cancellations that match none.
    """
    ordered = frame["quantity"].to_numpy(dtype=np.float64)
    left = ordered.copy()
    keys = frame.groupby(["customer", "stockcode", "unitprice"], observed=True, sort=False).ngroup().to_numpy()
    affected = np.flatnonzero(np.isin(keys, np.unique(keys[ordered < 0]))).tolist()
    at = frame["invoicedate"].to_numpy()
    of_size: dict[tuple[int, float], list[int]] = {}
    for row in affected:
        of_size.setdefault((keys[row], ordered[row]), []).append(row)
    lines: dict[int, list[int]] = {}
    unmatched = 0
    for row in affected:
        own = lines.setdefault(keys[row], [])
        if ordered[row] > 0:
            own.append(row)
            continue
        owed = -ordered[row]
        # The line with exactly this quantity is the one that was cancelled, be it the next one; else the latest ones.
        exact = of_size.get((keys[row], owed), [])
        after = bisect(exact, row)
        nearest = [*reversed(exact[:after]), *(line for line in exact[after : after + 1] if at[line] - at[row] <= DAY)]
        same = [line for line in nearest if left[line] == owed]
        for line in same[:1] or list(reversed(own)):
            taken = min(owed, left[line])
            left[line] -= taken
            owed -= taken
            if owed == 0:
                break
        unmatched += owed == -ordered[row]
    kept = (ordered > 0) & (left > 0)
    cancelled, reduced = int(((ordered > 0) & (left == 0)).sum()), int((kept & (left < ordered)).sum())
    return frame.assign(quantity=left)[kept].reset_index(drop=True), cancelled, reduced, int(unmatched)


def digest(frame: pd.DataFrame) -> str:
    """``sha256:…`` of the rows, whatever file they came from."""
    made = hashlib.sha256(str(len(frame)).encode())
    for name in COLUMNS:
        column = frame[name]
        if name in TEXT:
            codes, values = pd.factorize(column.astype(str) if column.dtype != "category" else column)
            made.update(pd.util.hash_array(np.asarray(values, dtype=object))[codes].tobytes())
        else:
            made.update(column.to_numpy(dtype="datetime64[s]" if name == "invoicedate" else np.float64).tobytes())
    return f"sha256:{made.hexdigest()}"
