"""The pricing starter on held-out days with a sale alone, beside constants of each product's such days and the peer.

What a model expects given that something sells is what it expects of the day, over how often that many expected orders come with a
sale; both that and the median's share of it are learned from the last weeks for training. The peer is asked twice: with the list
price, and with what was paid that day, which a shop can't know before it sells: large orders pay less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import retail
from numpy.typing import NDArray

from service import artifact, dataset, evaluation, features

__all__ = ["Sold", "compare"]

Floats = NDArray[np.float64]
BINS, LAST, MOST = 20, 20, 200
WITH_PAID = "peer that sees what was paid that day"


@dataclass(frozen=True)
class Sold:
    """Of some products: how many days with a sale, and MAE and RMSE in units, of each way to forecast them.

    Attributes:
        model, peer: each the lowest of its MAEs, and of its RMSEs; ``baseline`` likewise, of all constants of the past.
        paid: likewise of the peer that sees what was paid.
    """

    products: str
    days: int
    lines: dict[str, tuple[float, float]]
    model: tuple[float, float]
    peer: tuple[float, float]
    baseline: tuple[float, float]
    paid: tuple[float, float]


def compare(found: dataset.Dataset, best: evaluation.Judged) -> list[Sold]:
    """The comparison for all products that sold before the held-out days, and for the 200 of them that sold most units."""
    assert best.model is not None
    rows, past = found.test, found.history
    place = {code: i for i, code in enumerate(past.codes.tolist())}
    own = np.array([place.get(code, -1) for code in rows.code.tolist()])[rows.row]
    model = dict(zip(("mean", "median"), _given(found, best.model), strict=True))
    peers = {name: retail.peer(found, sold=True, paid=paid) for name, paid in (("peer", False), (WITH_PAID, True))}
    sold = (rows.units > 0) & (own >= 0)
    most = np.isin(own, np.argsort(-past.units.sum(axis=1), kind="stable")[:MOST])
    made = []
    for products, days in (("all products", sold), (f"the {MOST} products that sold most", sold & most)):
        units = rows.units[days]

        def errors(forecast: Floats, units: Floats = units) -> tuple[float, float]:
            return float(np.abs(forecast - units).mean()), float(np.sqrt(((forecast - units) ** 2).mean()))

        constants = {name: errors(value) for name, value in _constants(found, own[days], rows.day[days]).items()}
        mine = {f"{best.name}, its {name}": errors(value[days]) for name, value in model.items()}
        theirs = {
            name: {
                f"{name}{smeared}": errors(value[days]) for smeared, value in zip(("", ", smeared"), two, strict=True)
            }
            for name, two in peers.items()
        }
        after = {"hindsight, best constant": errors(_each(own[days], units, np.median))}
        made.append(
            Sold(
                products=products,
                days=len(units),
                lines={**mine, **theirs["peer"], **constants, **after, **theirs[WITH_PAID]},
                model=_least(mine),
                peer=_least(theirs["peer"]),
                baseline=_least(constants),
                paid=_least(theirs[WITH_PAID]),
            )
        )
    return made


def _least(lines: dict[str, tuple[float, float]]) -> tuple[float, float]:
    return min(mae for mae, _ in lines.values()), min(rmse for _, rmse in lines.values())


def _given(found: dataset.Dataset, model: artifact.Model) -> tuple[Floats, Floats]:
    """Mean and median units of each held-out day, given that something sells."""

    def expected(table: dataset.Table) -> tuple[Floats, Floats]:
        mean = table.daily(table.reconciled(model.ratio(table.features) * table.base))
        return mean, np.log(np.maximum(features.orders(mean, table.features[table.row]), 1e-9))

    last = found.train.split()[1]
    mean, orders = expected(last)
    bins = np.array_split(np.argsort(orders, kind="stable"), BINS)
    at = [float(np.median(orders[part])) for part in bins]
    often = [float((last.units[part] > 0).mean()) for part in bins]
    given = mean / np.interp(orders, at, often)
    share = [float(np.median((last.units / given)[part[last.units[part] > 0]])) for part in bins]
    mean, orders = expected(found.test)
    given = mean / np.interp(orders, at, often)
    return given, given * np.interp(orders, at, share)


def _constants(found: dataset.Dataset, own: NDArray[np.int64], day: NDArray[np.datetime64]) -> dict[str, Floats]:
    """Of each product's days with a sale before the held-out ones."""
    past = found.history
    product, on = np.nonzero(past.units)
    units = past.units[product, on]

    def trimmed(sold: Floats) -> float:
        cut = int(len(sold) * evaluation.TRIMMED)
        return float(np.sort(sold)[cut : len(sold) - cut].mean())

    kinds: dict[str, Callable[[Floats], float]] = {
        "median": lambda sold: float(np.median(sold)),
        "trimmed mean": trimmed,
        f"mean of the last {LAST}": lambda sold: float(sold[-LAST:].mean()),
    }
    made = {name: _each(product, units, of, own) for name, of in kinds.items()}
    weekday = dataset.of_week(past.days)[on]
    usual = _each(product, units, lambda sold: float(sold.mean()), own)
    same = _each(product * 7 + weekday, units, lambda sold: float(sold.mean()), own * 7 + dataset.of_week(day))
    return {**made, "same weekday": np.where(np.isnan(same), usual, same)}


def _each(
    group: NDArray[np.int64], units: Floats, of: Callable[[Floats], float], asked: NDArray[np.int64] | None = None
) -> Floats:
    """``of`` the units of each group, in their order, for each of ``asked``; nan for a group without units."""
    order = np.argsort(group, kind="stable")
    known, first = np.unique(group[order], return_index=True)
    value = dict(zip(known.tolist(), (of(part) for part in np.split(units[order], first[1:])), strict=True))
    return np.array([value.get(one, np.nan) for one in (group if asked is None else asked).tolist()])
