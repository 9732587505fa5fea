"""From a model to an answer: the expected sales at each price with their intervals, and the decision that training made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service import features
from service.artifact import Model, ModelFault

__all__ = ["Asked", "BadRange", "UnknownProduct", "predict", "quote"]

Floats = NDArray[np.float64]
LEARNED = "learned"
Z90 = 1.6449


class UnknownProduct(Exception):
    """No model knows this stock code."""


class BadRange(Exception):
    """The lowest price is not below the highest; the message names both."""


@dataclass(frozen=True)
class Asked:
    """One product at one price on one day."""

    stockcode: str
    price: float
    on: date


def quote(
    models: list[Model], stockcode: str, on: date, low: float | None, high: float | None, bins: int
) -> dict[str, Any]:
    """What ``stockcode`` sells on a day at its current and its recommended price, and at ``bins`` prices between.

    Where the elasticity is not known, there is one bin, at the current price: what it sells at others was never seen.

    Returns:
        a document: the decision with its reason and gain, the bins, and the model that answered; sales are units a day.

    Raises:
        UnknownProduct: no model knows it.
        ModelFault: none of them answers.
        BadRange: ``low`` is not below ``high``.
    """
    model, level = _first(models, {stockcode}, lambda model: _levels(model, [stockcode], [on]))
    product = model.products[stockcode]
    known, decision = product["reason"] == LEARNED, product["decision"]
    first, last = low or product["low"], high or product["high"]
    if first >= last and (known or low or high):
        raise BadRange(f"low ({first:g}) must be below high ({last:g})")
    tried = np.linspace(first, last, bins) if known else np.array([product["price"]])
    table = _table(model, product, float(level[0]), np.append(tried, [product["price"], decision["price"]]))
    gain = dict(zip(("expected", "low", "high"), decision["gain"], strict=True))
    return {
        "stockcode": stockcode,
        "description": product["description"],
        "date": on.isoformat(),
        "current": table[-2],
        "recommended": table[-1],
        "change": decision["price"] != product["price"],
        "why": decision["why"],
        "gain": gain,
        "elasticity": _elasticity(product) if known else None,
        "seen": {"low": product["low"], "high": product["high"], "prices": product["prices"]},
        "breaks": [{"quantity": quantity, "ratio": ratio} for quantity, ratio in product["breaks"]],
        "experiment": decision["experiment"],
        "bins": table[:-2],
        "model": _named(model),
    }


def predict(models: list[Model], asked: list[Asked]) -> dict[str, Any]:
    """Expected sales and revenue of each instance, in their order; one model answers for all.

    Each says in ``basis`` what it rests on: ``learned``, ``outside`` the prices that were seen, or ``unknown``, where the
    price's effect is not known and that of the current price was taken.

    Raises:
        UnknownProduct: no model knows all of the products.
        ModelFault: none of them answers.
    """
    codes, days = [one.stockcode for one in asked], [one.on for one in asked]
    model, level = _first(models, set(codes), lambda model: _levels(model, codes, days))
    predictions = []
    for one, sales in zip(asked, level.tolist(), strict=True):
        product = model.products[one.stockcode]
        row = _table(model, product, sales, np.array([one.price]))[0]
        same = abs(one.price - product["price"]) < 0.005
        basis = "outside" if row.pop("outside") else LEARNED
        basis = basis if product["reason"] == LEARNED or same else "unknown"
        predictions.append({"stockcode": one.stockcode, **row, "basis": basis})
    return {"predictions": predictions, "model": _named(model)}


def _levels(model: Model, codes: list[str], days: list[date]) -> Floats:
    """Units a day of each product on each day, at its reference price."""
    known = [model.products[code] for code in codes]
    rows = np.array(
        [[*p["features"], *features.season(day, model.seasonal)] for p, day in zip(known, days, strict=True)],
        np.float32,
    )
    base = np.array([product["base"] for product in known])
    weekday = np.array([model.weekday[day.weekday()] for day in days])
    return np.asarray(model.ratio(rows) * base * model.scale * weekday)


def _table(model: Model, product: dict[str, Any], level: float, prices: Floats) -> list[dict[str, Any]]:
    """Sales and revenue at each price, with intervals that hold 90 % of the days."""
    sales = level * features.effect(product["value"], prices, product["reference"])
    rows = np.array([product["features"]], np.float32)
    orders = np.log(np.maximum(features.orders(sales, rows), 1e-9))
    at = np.log(model.spread["orders"])
    low, high = (sales * np.interp(orders, at, model.spread[side]) for side in ("low", "high"))
    # What is not certain about the elasticity adds to what is not certain about a day.
    away = np.abs(prices - product["price"]) / product["reference"]
    moved = np.exp(np.minimum(Z90 * product["error"] * away, 3))
    low, high = low / moved, high * moved
    paid = prices * product["paid"]
    outside = (prices < product["low"] - 0.005) | (prices > product["high"] + 0.005)
    columns = [x.round(4).tolist() for x in (prices, sales, low, high, sales * paid, low * paid, high * paid)]
    names = ("price", "sales", "sales_low", "sales_high", "revenue", "revenue_low", "revenue_high")
    return [
        {**dict(zip(names, row, strict=True)), "outside": out}
        for row, out in zip(zip(*columns, strict=True), outside.tolist(), strict=True)
    ]


def _elasticity(product: dict[str, Any]) -> dict[str, float]:
    """At the current price, with the interval that holds it with 90 %."""
    share = product["price"] / product["reference"]
    value, error = product["value"] * share, product["error"] * share * Z90
    return {"value": round(value, 3), "low": round(value - error, 3), "high": round(value + error, 3)}


def _first(models: list[Model], stockcodes: set[str], ask: Callable[[Model], Floats]) -> tuple[Model, Floats]:
    """The first model that knows the products and answers, and its answer: the primary, else the backup."""
    faults: list[str] = []
    able = [model for model in models if stockcodes <= model.products.keys()]
    if not able:
        raise UnknownProduct(", ".join(sorted(stockcodes - models[0].products.keys())))
    for model in able:
        try:
            return model, ask(model)
        except ModelFault as fault:
            faults.append(str(fault))
    raise ModelFault("; ".join(faults))


def _named(model: Model) -> dict[str, str]:
    return {"role": model.role, "kind": model.kind, "digest": model.digest}
