"""How good models are on the held-out days, and how much revenue their prices lose.

It compares the models of the last training, the champion (the primary model of ``model.lock``) and two baselines without a
model. Revenue regret and elasticities need the truth, which only generated data has.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service import artifact, data, dataset, features, registry

__all__ = ["Curve", "Evaluation", "Judged", "Metrics", "challengers", "evaluate", "load"]

BINS = 100
# A price is good when its revenue is at least this share of the best revenue.
GOOD = 0.05
# Prices around the usual one, at which an elasticity is measured.
NEAR = 0.2


@dataclass(frozen=True)
class Curve:
    """The expected sales and revenue of one product at each price, on an average held-out day."""

    stockcode: str
    description: str
    prices: NDArray[np.float64]
    sales: NDArray[np.float64]
    usual: float
    recommended: float
    elasticity: float

    @property
    def revenue(self) -> NDArray[np.float64]:
        return self.prices * self.sales


@dataclass(frozen=True)
class Metrics:
    """How good a model or baseline is on the held-out days.

    Attributes:
        mae, rmse: units a day.
        regret: mean share of the best revenue that the recommended prices lose; None when the truth is not known.
        good: share of products whose recommended price earns at least 95 % of the best revenue; None like ``regret``.
        elasticity_error: the largest relative error of an elasticity; None like ``regret``, and for baselines.
    """

    mae: float
    rmse: float
    regret: float | None
    good: float | None
    elasticity_error: float | None


@dataclass(frozen=True)
class Judged:
    """One row of the table: ``role`` is challenger, champion or baseline, ``predicted`` its sales for each held-out
    row, ``curves`` one of each product; a baseline has none.
    """

    name: str
    role: str
    digest: str
    metrics: Metrics
    predicted: NDArray[np.float64]
    curves: list[Curve]


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
        primary = artifact.load(root)[0]
        opened.append(artifact.Model("champion", primary.kind, primary.digest, primary.products, primary.session))
    return opened


def evaluate(found: dataset.Dataset, models: list[artifact.Model]) -> Evaluation:
    """Evaluate ``models`` and the baselines on the held-out rows of the products that all models know."""
    shared = [p["stockcode"] for p in found.products if all(p["stockcode"] in model.products for model in models)]
    if not shared:
        raise data.BadData("the champion knows none of these products; delete model.lock to start without a champion")
    rows = found.test[np.isin(found.test.stockcodes, shared)]
    if not len(rows):
        raise data.BadData("no held-out row is of a product that the champion knows")
    judged = [_model(found, rows, model, shared) for model in models]
    return Evaluation(found, rows, sorted(judged, key=lambda j: j.metrics.rmse), _baselines(found, rows, shared))


def _model(found: dataset.Dataset, rows: dataset.Table, model: artifact.Model, shared: list[str]) -> Judged:
    predicted = model.sales(rows.features(list(model.products.values()))).astype(np.float64)
    curves = [_curve(found, model, code) for code in shared]
    prices = {curve.stockcode: curve.recommended for curve in curves}
    errors = [
        abs(curve.elasticity / _elasticity(curve.prices, truth.sales(curve.prices), curve.usual) - 1)
        for curve in curves
        if (truth := found.truth.get(curve.stockcode))
    ]
    metrics = _metrics(found, rows, predicted, prices, max(errors, default=None))
    return Judged(model.kind, model.role, model.digest, metrics, predicted, curves)


def _baselines(found: dataset.Dataset, rows: dataset.Table, shared: list[str]) -> list[Judged]:
    """The baselines: the price and the sales of each product's last day, or the means over all its days."""
    own = {code: found.train[found.train.stockcodes == code] for code in shared}
    judged = []
    for name, of in (("last price", lambda values: values[-1]), ("mean price", np.mean)):
        predicted = np.array([float(of(own[code].sales)) for code in rows.stockcodes])
        prices = {code: float(of(table.prices)) for code, table in own.items()}
        judged.append(Judged(name, "baseline", "", _metrics(found, rows, predicted, prices, None), predicted, []))
    return judged


def _metrics(
    found: dataset.Dataset,
    rows: dataset.Table,
    predicted: NDArray[np.float64],
    prices: dict[str, float],
    elasticity_error: float | None,
) -> Metrics:
    error = predicted - rows.sales
    lost = [_lost(found, code, price) for code, price in prices.items() if code in found.truth]
    return Metrics(
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt((error**2).mean())),
        regret=float(np.mean(lost)) if lost else None,
        good=float(np.mean([share <= GOOD for share in lost])) if lost else None,
        elasticity_error=elasticity_error,
    )


def _curve(found: dataset.Dataset, model: artifact.Model, code: str) -> Curve:
    """Expected sales at each price in the range of the data, averaged over a sample of the held-out days."""
    known = model.products[code]
    prices = _range(found, code)
    days = np.unique(found.test.days)[::13]  # not a multiple of seven, so that every weekday is in the sample
    sales = np.mean(
        [model.sales(features.rows(known["index"], prices / known["price"], day.item())) for day in days],
        axis=0,
        dtype=np.float64,
    )
    recommended = float(prices[np.argmax(prices * sales)])
    usual = next(p["price"] for p in found.products if p["stockcode"] == code)
    return Curve(code, known["description"], prices, sales, usual, recommended, _elasticity(prices, sales, usual))


def _lost(found: dataset.Dataset, code: str, price: float) -> float:
    """The share of the best revenue that ``price`` loses; the best price is in the same range that models search."""
    truth, prices = found.truth[code], _range(found, code)
    best = float((prices * truth.sales(prices)).max())
    return max(0.0, 1 - price * float(truth.sales(np.array([price]))[0]) / best)


def _range(found: dataset.Dataset, code: str) -> NDArray[np.float64]:
    product = next(p for p in found.products if p["stockcode"] == code)
    return np.asarray(np.linspace(product["low"], product["high"], BINS))


def _elasticity(prices: NDArray[np.float64], sales: NDArray[np.float64], usual: float) -> float:
    """The change of sales in percent when the price rises by 1 %: the slope of their logarithms around the usual price."""
    near = (prices > usual * (1 - NEAR)) & (prices < usual * (1 + NEAR))
    if near.sum() < 2:  # the range is so wide that its bins are
        near[:] = True
    return float(np.polyfit(np.log(prices[near]), np.log(np.maximum(sales[near], 1e-9)), 1)[0])
