"""How good models are on the held-out weeks, and how good the decisions are that they carry.

It compares the models of the last training, the champion (the primary model of ``model.lock``) and baselines without a model.
Levels are taken at the beginning of each held-out week, as a service has them that is trained every week; all that is
learned is from before the first of them. Revenue regret and elasticities need the truth, which only generated data has.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service import artifact, dataset, features, pricing, registry
from service.elasticity import Reason

__all__ = ["Evaluation", "Judged", "Metrics", "challengers", "evaluate", "load", "metrics"]

Floats = NDArray[np.float64]
# An elasticity is right when it is off by at most this share; a price, when it earns all but this share of the best revenue.
RIGHT, GOOD = 0.15, 0.05
TRIMMED, SOLD_DAYS = 0.1, 20
QUOTES, FAR = 40, 1e6


@dataclass(frozen=True)
class Metrics:
    """How good a model or baseline is on the held-out days, those without a sale among them.

    Attributes:
        mae: of the median, rmse: of the mean, in units a day; each is what that error is least for.
        mae_mean: of the mean; deviance: Poisson's, of the mean.
        total: expected over actual units, of all days; decile: the one of ten groups by expected sales that is furthest off.
        cover: share of the days that the 90 % interval holds; nan for baselines.
    """

    mae: float
    rmse: float
    mae_mean: float
    deviance: float
    total: float
    decile: float
    cover: float


@dataclass(frozen=True)
class Decisions:
    """What a model's decisions are.

    Attributes:
        learned: products whose elasticity is known; changes: whose price is to change.
        boundary: share of all products whose recommended price is at the end of the prices that were seen.
        regret: mean share of the best revenue within the allowed prices that decisions lose; None without the truth.
        good: share of decisions that lose at most 5 %; right: share of the elasticities within 15 %; None like regret.
        answer: median processor time of an answer with 100 prices, in milliseconds; megabytes: of the model's file.
        bounded: its answer stays finite and within ten times its usual range, however far features are from what was seen.
    """

    learned: int
    changes: int
    boundary: float
    regret: float | None
    good: float | None
    right: float | None
    answer: float
    megabytes: float
    bounded: bool


@dataclass(frozen=True)
class Judged:
    """One row of the table: ``role`` is challenger, champion or baseline; ``mean`` and ``median`` its sales of each held-out
    day; a baseline has no ``model`` and no ``decisions``.
    """

    name: str
    role: str
    digest: str
    metrics: Metrics
    mean: Floats
    median: Floats
    model: artifact.Model | None
    decisions: Decisions | None
    low: Floats | None = None
    high: Floats | None = None


@dataclass(frozen=True)
class Evaluation:
    """Everything that was evaluated, best first, and the rows that it was evaluated on."""

    found: dataset.Dataset
    rows: dataset.Table
    models: list[Judged]
    baselines: list[Judged]

    @property
    def challengers(self) -> list[Judged]:
        return [judged for judged in self.models if judged.role == "challenger"]

    @property
    def champion(self) -> Judged | None:
        return next((judged for judged in self.models if judged.role == "champion"), None)

    def without(self, days: NDArray[np.bool_]) -> Evaluation:
        """The same evaluation without some of the held-out days."""
        units = self.rows.units[~days]

        def judge(one: Judged) -> Judged:
            parts = [None if x is None else x[~days] for x in (one.mean, one.median, one.low, one.high)]
            mean, median, low, high = parts
            assert mean is not None
            assert median is not None
            return replace(
                one, metrics=metrics(units, mean, median, low, high), mean=mean, median=median, low=low, high=high
            )

        daily = {name: getattr(self.rows, name)[~days] for name in ("row", "day", "units", "factor")}
        rows = replace(self.rows, **daily)
        return Evaluation(self.found, rows, [judge(one) for one in self.models], [judge(one) for one in self.baselines])


def load(root: Path) -> tuple[dataset.Dataset, registry.Run]:
    """The data of the last training, unchanged, and its record.

    Raises:
        registry.Missing: there was no training, or its stored data were altered.
    """
    run, transactions = registry.last_run(root)
    return dataset.assemble(transactions, run.cleaning, run.source, run.seed), run


def challengers(root: Path, run: registry.Run) -> list[artifact.Model]:
    """The models of a training, opened as for serving, and the champion, if there is one.

    Raises:
        registry.Missing, artifact.ModelFault: a model is missing, was altered, or can't be opened.
    """
    opened = [
        artifact.open_model(registry.read(root, digest)[0], "challenger", digest, digest) for digest in run.models
    ]
    if (root / artifact.LOCK).is_file():
        opened.append(replace(artifact.load(root)[0], role="champion"))
    return opened


def evaluate(found: dataset.Dataset, models: list[artifact.Model], root: Path | None = None) -> Evaluation:
    """Evaluate ``models`` and the baselines on the held-out days; ``root`` is the folder that holds their files."""
    rows = found.test
    judged = sorted((_model(found, rows, model, root) for model in models), key=lambda j: j.metrics.deviance)
    return Evaluation(found, rows, judged, _baselines(found, rows))


def metrics(
    units: Floats, mean: Floats, median: Floats, low: Floats | None = None, high: Floats | None = None
) -> Metrics:
    """The metrics of forecasts of ``units``."""
    expected = np.maximum(mean, 1e-9)
    logs = units * np.log(np.maximum(units, 1e-9) / expected)
    order = np.array_split(np.argsort(mean, kind="stable"), 10)
    shares = [mean[part].sum() / max(units[part].sum(), 1e-9) for part in order]
    return Metrics(
        mae=float(np.abs(median - units).mean()),
        rmse=float(np.sqrt(((mean - units) ** 2).mean())),
        mae_mean=float(np.abs(mean - units).mean()),
        deviance=float(2 * (expected - units + logs).mean()),
        total=float(mean.sum() / max(units.sum(), 1e-9)),
        decile=float(max(shares, key=lambda share: abs(np.log(max(share, 1e-9))))),
        cover=float("nan") if low is None or high is None else float(((units >= low) & (units <= high)).mean()),
    )


def _model(found: dataset.Dataset, rows: dataset.Table, model: artifact.Model, root: Path | None) -> Judged:
    mean = rows.daily(rows.reconciled(model.ratio(rows.features) * rows.base))
    at = np.log(model.spread["orders"])
    logs = np.log(np.maximum(features.orders(mean, rows.features[rows.row]), 1e-9))
    median, low, high = (mean * np.interp(logs, at, model.spread[what]) for what in ("median", "low", "high"))
    measured = metrics(rows.units, mean, median, low, high)
    decided = _decisions(found, model, root)
    return Judged(model.kind, model.role, model.digest, measured, mean, median, model, decided, low, high)


def _decisions(found: dataset.Dataset, model: artifact.Model, root: Path | None) -> Decisions:
    products = list(model.products.values())
    known = [product for product in products if product["reason"] == Reason.LEARNED.value]
    lost, wrong = [], []
    for product in known:
        if truth := found.truth.get(product["stockcode"]):
            step = np.linspace(
                max(product["low"], product["price"] * 0.9), min(product["high"], product["price"] * 1.1), 99
            )
            price = product["decision"]["price"]
            mine = price * float(truth.sales(np.array([price]))[0])
            lost.append(max(0.0, 1 - mine / float((step * truth.sales(step)).max())))
            value = product["value"] * product["price"] / product["reference"]
            wrong.append(abs(value / truth.elasticity_at(product["price"]) - 1))
    return Decisions(
        learned=len(known),
        changes=sum(product["decision"]["price"] != product["price"] for product in products),
        boundary=float(np.mean([product["decision"]["boundary"] for product in products])),
        regret=float(np.mean(lost)) if lost else None,
        good=float(np.mean([share <= GOOD for share in lost])) if lost else None,
        right=float(np.mean([share <= RIGHT for share in wrong])) if wrong else None,
        answer=_answer(model),
        megabytes=registry.size(root, model.digest) / 1e6 if root else 0.0,
        bounded=_bounded(found, model),
    )


def _answer(model: artifact.Model) -> float:
    # Not by the clock: what else the machine does must not decide whether a model is promoted.
    code, day = next(iter(model.products)), date(2026, 1, 5)
    taken = []
    for _ in range(QUOTES):
        began = time.thread_time()
        pricing.quote([model], code, day, None, None, 100)
        taken.append(time.thread_time() - began)
    return float(np.median(taken)) * 1000


def _bounded(found: dataset.Dataset, model: artifact.Model) -> bool:
    usual = model.ratio(found.train.features)
    rows = np.where(np.random.default_rng(0).random((200, len(features.NAMES))) < 0.5, -FAR, FAR).astype(np.float32)
    try:
        far = model.ratio(rows)
    except artifact.ModelFault:
        return False
    return bool((far <= 10 * usual.max()).all() and (far >= 0).all())


def _baselines(found: dataset.Dataset, rows: dataset.Table) -> list[Judged]:
    """What needs no model: constants of each product's past, and its recent means; a hard measure where little changes."""
    past = found.history
    codes = {code: i for i, code in enumerate(past.codes.tolist())}
    recent = {
        name: np.maximum(
            rows.base * np.exp(rows.features[:, features.NAMES.index(f"units_{part}")]) - features.SMALL, 0
        )
        for name, part in (("last month's mean", "month"), ("same weekday", "quarter"))
    }

    def constant(of: Any) -> Floats:
        each = np.array([of(past.units[i, past.first[i] :]) for i in range(len(past.codes))])
        position = np.array([codes.get(code, -1) for code in rows.code.tolist()])
        return np.where(position >= 0, each[position], 0.0)

    def trimmed(units: Floats) -> float:
        cut = int(len(units) * TRIMMED)
        return float(np.sort(units)[cut : len(units) - cut].mean())

    def last_sold(units: Floats) -> float:
        """Since the twentieth last day with a sale, the days without one among them."""
        return float(units[np.flatnonzero(units)[-SOLD_DAYS:][0] :].mean())

    made = {
        "median": constant(np.median)[rows.row],
        "trimmed mean": constant(trimmed)[rows.row],
        "last 20 days with a sale": constant(last_sold)[rows.row],
        "last month's mean": recent["last month's mean"][rows.row],
        "same weekday": recent["same weekday"][rows.row] * found.weekday[dataset.of_week(rows.day)],
    }
    return [
        Judged(name, "baseline", "", metrics(rows.units, value, value), value, value, None, None)
        for name, value in made.items()
    ]
