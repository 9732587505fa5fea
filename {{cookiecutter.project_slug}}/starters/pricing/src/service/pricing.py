"""From a model to a decision: the expected sales at each price, and the price with the highest revenue."""

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
    """Expected sales of ``stockcode`` at ``bins`` prices from ``low`` to ``high``; by default the range of the training data.

    Returns:
        a document: each price with sales (units a day) and revenue; the best one; and the model that answered.

    Raises:
        UnknownProduct: no model knows it.
        ModelFault: none of them answers.
        BadRange: ``low`` is not below ``high``.
    """

    def prices(model: Model) -> NDArray[np.float64]:
        product = model.products[stockcode]
        first, last = low or product["low"], high or product["high"]
        if first >= last:
            raise BadRange(f"low ({first:g}) must be below high ({last:g})")
        return np.asarray(np.linspace(first, last, bins))

    def sales(model: Model) -> NDArray[np.float32]:
        product = model.products[stockcode]
        return model.sales(features.rows(product["index"], prices(model) / product["price"], on))

    model, found = _first(models, {stockcode}, sales)
    tried = prices(model)
    revenue = tried * found
    columns = (values.round(4).tolist() for values in (tried, found.astype(np.float64), revenue))
    table = [{"price": p, "sales": s, "revenue": r} for p, s, r in zip(*columns, strict=True)]
    return {
        "stockcode": stockcode,
        "description": model.products[stockcode]["description"],
        "date": on.isoformat(),
        "bins": table,
        "recommended": table[int(np.argmax(revenue))],
        "model": _named(model),
    }


def predict(models: list[Model], asked: list[Asked]) -> dict[str, Any]:
    """Expected sales and revenue of each instance, in their order; one model answers for all.

    Raises:
        UnknownProduct: no model knows all of the products.
        ModelFault: none of them answers.
    """

    def sales(model: Model) -> NDArray[np.float32]:
        known = [model.products[one.stockcode] for one in asked]
        return model.sales(
            features.matrix(
                np.array([product["index"] for product in known]),
                np.array([one.price / product["price"] for one, product in zip(asked, known, strict=True)]),
                np.array([one.on.weekday() for one in asked]),
                np.array([one.on.timetuple().tm_yday for one in asked]),
            )
        )

    model, found = _first(models, {one.stockcode for one in asked}, sales)
    return {
        "predictions": [
            {"stockcode": one.stockcode, "price": one.price, "sales": round(s, 4), "revenue": round(one.price * s, 4)}
            for one, s in zip(asked, found.tolist(), strict=True)
        ],
        "model": _named(model),
    }


def _first(
    models: list[Model], stockcodes: set[str], ask: Callable[[Model], NDArray[np.float32]]
) -> tuple[Model, NDArray[np.float32]]:
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
