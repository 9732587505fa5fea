"""The data for training and evaluation: products and weeks with what was known before each of them, split by time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyarrow import parquet

from service import cleaning, elasticity, features, market, reading
from service import panel as panels
from service.outlook import Outlook, look_out
from service.panel import Panel

__all__ = ["PREPARED", "Dataset", "Table", "assemble", "load", "of_week"]

Floats = NDArray[np.float64]
HELD_OUT = 0.2
PREPARED = "cleaning"  # the attribute of a frame that was cleaned: what was dropped
LEAST_WEEKS = 12  # to train on
WARM_UP = 24  # open days before the first row, for its levels
NEW = 0.99  # of a week's sales are of products that sold before
SEASONAL = 540  # days of data that show a season
# Holt's method for the market, one week ahead: how fast the level and the trend follow, and how the trend fades.
LEVEL, TREND, FADE = 0.5, 0.3, 0.9


@dataclass(frozen=True)
class Table:
    """Rows of products and weeks, ordered by week, and in each of them its open days.

    Attributes:
        features, base: as of the beginning of the week (``features.Levels``).
        sales: units a day at the reference price, the mean over the week, corrected for weekdays.
        weight: open days of the week, in average ones.
        week: the day on which it begins; ``code`` is the stock code; ``market`` what all products together will sell.
        row: of each day, its row; ``day``, ``units`` that were sold, and ``factor``: of weekday and price.
    """

    features: NDArray[np.float32]
    base: Floats
    sales: Floats
    weight: Floats
    week: NDArray[np.datetime64]
    code: NDArray[np.str_]
    market: Floats
    row: NDArray[np.int64]
    day: NDArray[np.datetime64]
    units: Floats
    factor: Floats

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, rows: NDArray[np.bool_]) -> Table:
        position = np.cumsum(rows) - 1
        kept = rows[self.row]
        names = ("features", "base", "sales", "weight", "week", "code", "market")
        made: dict[str, Any] = {name: getattr(self, name)[rows] for name in names}
        made |= {name: getattr(self, name)[kept] for name in ("day", "units", "factor")}
        return Table(**made, row=position[self.row[kept]])

    def split(self, share: float = HELD_OUT) -> tuple[Table, Table]:
        """The first weeks, and about the last ``share`` of them. Never a random split."""
        weeks = np.unique(self.week)
        start = weeks[int(len(weeks) * (1 - share))]
        return self[self.week < start], self[self.week >= start]

    def reconciled(self, level: Floats) -> Floats:
        """``level`` of each row, scaled so that each week's sum is what the market is expected to sell."""
        weeks, position = np.unique(self.week, return_inverse=True)
        total = np.bincount(position, level, len(weeks))
        return np.asarray(level * self.market / np.maximum(total, 1e-9)[position])

    def daily(self, level: Floats) -> Floats:
        """Expected units on each day, from expected units a day of each row."""
        return np.asarray(level[self.row] * self.factor)


@dataclass(frozen=True)
class Dataset:
    """Data, ready for training.

    Attributes:
        name: where it is from; ``digest`` is that of the remaining ``transactions``; ``cleaning`` says what was dropped.
        train, test: the weeks for training, and the last ones, which no model sees before it is evaluated.
        found: the elasticities, from the days for training only, by stock code in ``known``.
        weekday: the factor of each weekday, Monday first; 0 on closed ones.
        truth: the true demand, by stock code; empty when it is unknown.
    """

    name: str
    cleaning: str
    transactions: pd.DataFrame
    digest: str
    train: Table
    test: Table
    found: elasticity.Found
    known: dict[str, elasticity.Elasticity]
    reference: dict[str, float]
    weekday: Floats
    seasonal: bool
    outlook: Outlook
    history: Panel
    truth: dict[str, market.Product]


def load(source: str, seed: int, not_products: str = cleaning.NOT_PRODUCTS, **reads: str) -> Dataset:
    """The transactions of ``source``, as ``reading.read`` reads them; generated ones if it is empty.

    What ``notebooks/prepare.py`` made is clean already: cancelled parts of orders may look like duplicates now.

    Raises:
        reading.BadData: they can't be used.
    """
    if (prepared := _prepared(source)) is not None:
        return assemble(prepared, str(prepared.attrs[PREPARED]), source, seed)
    frame, found = cleaning.clean(reading.read(source, **reads) if source else market.generate(seed), not_products)
    return assemble(frame, str(found), source, seed)


def _prepared(source: str) -> pd.DataFrame | None:
    """The rows of a dataset that ``notebooks/prepare.py`` made; None for anything else."""
    if not source.endswith(".parquet") or not Path(source).is_file():
        return None
    try:
        kept = parquet.read_schema(source).metadata or {}
        return pd.read_parquet(source) if PREPARED in json.loads(kept.get(b"PANDAS_ATTRS", b"{}")) else None
    except (OSError, ValueError):  # pyarrow's errors are one or the other; ``reading`` explains them
        return None


def assemble(frame: pd.DataFrame, cleaned: str, source: str, seed: int) -> Dataset:
    """The dataset of transactions that are clean already.

    Raises:
        reading.BadData: there is too little data for training.
    """
    whole = panels.make(frame)
    weeks = _weeks(whole.days)
    split = int(len(weeks) * (1 - HELD_OUT))
    if (weeks[:split] >= WARM_UP).sum() < LEAST_WEEKS:
        days = f"{whole.days[0]} to {whole.days[-1]}, {len(whole.days)} open days"
        raise reading.BadData(f"too little time to learn from: {days}; five months are the least")
    start = whole.days[weeks[split]]
    # List prices are made anew from earlier rows only: the envelope looks at neighbouring lines.
    before = panels.make(frame[frame["invoicedate"] < pd.Timestamp(start)])
    found = elasticity.estimate(before)
    known = dict(zip(before.codes.tolist(), found.each, strict=True))
    reference = dict(zip(before.codes.tolist(), before.price[:, -1].tolist(), strict=True))
    seasonal = int((before.days[-1] - before.days[0]).astype(int)) >= SEASONAL
    weekday = _weekdays(before)

    def rows(panel: Panel) -> tuple[Table, features.Levels, Floats, Floats]:
        codes = panel.codes.tolist()
        value = np.array([known[c].value if c in known else 0.0 for c in codes])
        at = np.array([reference.get(c, p) for c, p in zip(codes, panel.price[:, -1].tolist(), strict=True)])
        levels, own = features.Levels(panel, value, at, seasonal), _weeks(panel.days)
        expected = _market(levels.units, panel.days, own, weekday, split)
        effects = features.effect(value[:, None], panel.price, at[:, None])
        return _table(panel, levels, effects, own, weekday, expected), levels, at, expected

    table, levels, at, expected = rows(whole)
    return Dataset(
        name=Path(source).name if source else f"generated, seed {seed}",
        cleaning=cleaned,
        transactions=frame,
        digest=cleaning.digest(frame),
        train=rows(before)[0],
        test=table[table.week >= start],
        found=found,
        known=known,
        reference=reference,
        weekday=weekday,
        seasonal=seasonal,
        outlook=look_out(frame, whole, levels, at, float(expected[-1]) * NEW),
        history=before,
        truth={} if source else {product.stockcode: product for product in market.products(seed)},
    )


def _weeks(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """The positions of the days with which weeks begin; 1970-01-01 was a Thursday."""
    week = (days.astype("datetime64[D]").astype(int) + 3) // 7
    return np.flatnonzero(np.diff(week, prepend=week[0] - 1))


def of_week(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """The weekdays, 0 for Monday."""
    return np.asarray((days.astype("datetime64[D]").astype(int) + 3) % 7)


def _weekdays(panel: Panel) -> Floats:
    """What is sold on each weekday, as a share of the mean open day."""
    day = of_week(panel.days)
    count = np.bincount(day, minlength=7)
    mean = np.bincount(day, panel.units.sum(axis=0), 7) / np.maximum(count, 1)
    usual = count >= 0.2 * count.max()  # a shop that opened on two Saturdays is closed on Saturdays
    mean = np.where(usual, mean, 0.0)
    return np.asarray(mean / mean[usual].mean())


def _market(
    units: Floats, days: NDArray[np.datetime64], weeks: NDArray[np.int64], weekday: Floats, split: int
) -> Floats:
    """What all products sell a day, expected at the beginning of each week and after the last; from earlier weeks only.

    Products' own levels follow a change of the whole market late; the market itself is steady enough to be followed at once.
    """
    factor = np.maximum(weekday[of_week(days)], 0.2)
    rate = np.add.reduceat(units.sum(axis=0), weeks) / np.add.reduceat(factor, weeks)
    level, trend = np.log(rate[0] + features.SMALL), 0.0
    made = [level]
    for value in np.log(rate + features.SMALL):
        new = LEVEL * value + (1 - LEVEL) * (level + FADE * trend)
        trend = TREND * (new - level) + (1 - TREND) * FADE * trend
        level = new
        made.append(level + FADE * trend)
    expected = np.exp(made)
    learned = slice(4, split)  # the mean of an exponential is above the exponential of the mean
    return np.asarray(expected * np.clip(rate[learned].sum() / expected[learned].sum(), 0.9, 1.1))


def _table(
    panel: Panel, levels: features.Levels, effects: Floats, weeks: NDArray[np.int64], weekday: Floats, expected: Floats
) -> Table:
    weekly: list[list[Any]] = []
    daily: list[list[Any]] = []
    ends, rows = np.append(weeks[1:], len(panel.days)), 0
    for number, (begin, end) in enumerate(zip(weeks, ends, strict=True)):
        if begin < WARM_UP:
            continue
        made, base, active = levels.at(int(begin), panel.days[begin] + np.timedelta64(3, "D"))
        days, count, span = panel.days[begin:end], int(active.sum()), end - begin
        factor = np.maximum(weekday[of_week(days)], 0.2)
        own = levels.units[active, begin:end]
        # New products have their share of the market, too.
        share = (
            levels.units[active, max(0, begin - 24) : begin].sum() / levels.units[:, max(0, begin - 24) : begin].sum()
        )
        weekly.append(
            [
                made[active],
                base[active],
                own.sum(axis=1) / factor.sum(),
                np.full(count, factor.sum()),
                np.full(count, days[0]),
                panel.codes[active],
                np.full(count, expected[number] * share * NEW),
            ]
        )
        daily.append(
            [
                np.repeat(np.arange(rows, rows + count), span),
                np.tile(days, count),
                panel.units[active, begin:end].ravel(),
                (effects[active, begin:end] * factor).ravel(),
            ]
        )
        rows += count
    return Table(*(np.concatenate(part) for part in (*zip(*weekly, strict=True), *zip(*daily, strict=True))))
