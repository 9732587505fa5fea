"""From a model to a decision: what sells at each price, and which price earns most."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from service import features
from service.artifact import Model, ModelFault

__all__ = ["Quote", "UnknownProduct", "quote"]


class UnknownProduct(Exception):
    """No model knows this stock code."""


@dataclass(frozen=True)
class Quote:
    """The prices that were tried with expected sales (units a day) and revenue, the best of them, and who answered."""

    stockcode: str
    description: str
    bins: list[dict[str, float]]
    recommended: dict[str, float]
    model: dict[str, str]


def quote(models: list[Model], stockcode: str, on: date, low: float | None, high: float | None, bins: int) -> Quote:
    """Expected sales of ``stockcode`` at ``bins`` prices from ``low`` to ``high``; by default the range that was seen.

    The first model that answers is asked: the primary, and the backup when that fails.

    Raises:
        UnknownProduct: no model knows it.
        ModelFault: none of them answers.
        ValueError: ``low`` is not below ``high``.
    """
    faults: list[str] = []
    known = [model for model in models if stockcode in model.products]
    if not known:
        raise UnknownProduct(stockcode)
    for model in known:
        product: dict[str, Any] = model.products[stockcode]
        first, last = low or product["low"], high or product["high"]
        if first >= last:
            raise ValueError(f"low ({first:g}) must be below high ({last:g})")
        prices = np.linspace(first, last, bins)
        try:
            sales = model.sales(features.rows(product["index"], prices / product["price"], on))
        except ModelFault as fault:
            faults.append(str(fault))
            continue
        revenue = prices * sales
        table = [
            {"price": round(float(p), 4), "sales": round(float(s), 4), "revenue": round(float(r), 4)}
            for p, s, r in zip(prices, sales, revenue, strict=True)
        ]
        named = {"role": model.role, "kind": model.kind, "digest": model.digest}
        return Quote(stockcode, product["description"], table, table[int(np.argmax(revenue))], named)
    raise ModelFault("; ".join(faults))
