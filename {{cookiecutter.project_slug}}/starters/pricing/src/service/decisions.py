"""From an elasticity to a decision: the price that earns more for certain, or to keep the current one, and why.

A change is recommended when 90 % of what its elasticity may be earns more. It is never larger than one step, and never
outside the prices that were seen. Where the elasticity is not known, the current price stays, and an experiment is planned.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset
from service.elasticity import Reason
from service.features import effect

__all__ = ["Decision", "Experiment", "Rules", "Why", "decide", "products"]

Floats = NDArray[np.float64]
Z90 = 1.6449  # of a normal distribution, 90 % is within so many standard deviations
GRID = 81
# An experiment is planned for an elasticity of -1, found at a level of 5 % in 80 % of experiments, in so many days at most.
ASSUMED, Z_LEVEL, Z_POWER, LONGEST = 1.0, 1.96, 0.84, 91
OVERDISPERSION = 1.5


class Why(StrEnum):
    """Why a price is kept or changed."""

    GAIN = "gain"  # it changes: 90 % of the interval of the gain is above zero
    UNCERTAIN = "gain-uncertain"  # it stays: the interval of the gain holds zero
    BEST = "already-best"  # it stays: no price within one step earns more


@dataclass(frozen=True)
class Rules:
    """What a recommendation may be.

    Attributes:
        step: the largest change, as a share of the current price.
        endings: of recommended prices, such as 0.95; any when there are none.
    """

    step: float = 0.1
    endings: tuple[float, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """Two prices, randomly one or the other in each week, until the effect of an elasticity of -1 is seen.

    Attributes:
        low, high: the prices.
        orders: that are needed.
        days: open days that this takes with the product alone.
        products: of its kind that must take part for it to end within a quarter.
    """

    low: float
    high: float
    orders: int
    days: int
    products: int


@dataclass(frozen=True)
class Decision:
    """What to do with a product's price.

    Attributes:
        price: the recommended one; ``why`` is a value of ``Why``, or of ``elasticity.Reason`` where that is not known.
        gain: of revenue (of margin, where the cost is known), as a share, expected and from the interval's low to its high end.
        boundary: the recommendation is at the end of the prices that were seen; ``capped``: at the end of the step.
    """

    price: float
    why: str
    gain: tuple[float, float, float]
    boundary: bool
    capped: bool
    experiment: Experiment | None


def decide(
    price: float,
    low: float,
    high: float,
    elasticity: float,
    error: float,
    reference: float,
    *,
    orders: float,
    rules: Rules,
    reason: Reason = Reason.LEARNED,
    cost: float = math.nan,
    paid: float = 1.0,
) -> Decision:
    """The decision for a product at ``price``, whose sales at p are proportional to exp(elasticity × p / reference).

    Args:
        low, high: the prices that were seen.
        error: of ``elasticity``.
        orders: a day.
        cost: of a unit, if it is known; ``paid``: the mean share of the list price that is paid.
    """
    if reason is not Reason.LEARNED:
        return Decision(price, reason.value, (0.0, 0.0, 0.0), False, False, plan(price, orders, rules.step))
    first, last = max(low, price * (1 - rules.step)), min(high, price * (1 + rules.step))
    tried = _allowed(first, last, price, rules.endings)
    unit = cost if math.isfinite(cost) and 0 < cost < price * paid else 0.0

    def gains(value: float) -> Floats:
        margin = (tried * paid - unit) / (price * paid - unit)
        return np.asarray(margin * effect(value, tried, reference) / effect(value, np.array(price), reference) - 1)

    expected = gains(elasticity)
    best = int(np.argmax(expected))
    low_gain, high_gain = sorted(float(gains(elasticity + side * Z90 * error)[best]) for side in (-1, 1))
    gain = (float(expected[best]), low_gain, high_gain)
    if abs(tried[best] / price - 1) < 0.002:
        return Decision(price, Why.BEST.value, (0.0, 0.0, 0.0), False, False, None)
    if low_gain <= 0:
        return Decision(price, Why.UNCERTAIN.value, gain, False, False, plan(price, orders, rules.step))
    chosen = float(tried[best])
    at_end = min(abs(chosen - low), abs(chosen - high)) < 0.005 * price
    capped = not at_end and min(abs(chosen - first), abs(chosen - last)) < 0.005 * price
    return Decision(round(chosen, 4), Why.GAIN.value, gain, at_end, capped, None)


def plan(price: float, orders: float, step: float) -> Experiment | None:
    """An experiment about ``price``; none for a product that is not sold."""
    if orders <= 0 or price <= 0:
        return None
    difference = ASSUMED * math.log((1 + step) / (1 - step))
    needed = math.ceil(4 * OVERDISPERSION * ((Z_LEVEL + Z_POWER) / difference) ** 2)
    days = math.ceil(needed / orders)
    low, high = (round(price * (1 + side * step), 2) for side in (-1, 1))
    return Experiment(low, high, needed, days, math.ceil(days / LONGEST))


def products(found: Dataset, rules: Rules) -> list[dict[str, Any]]:
    """What serving must know of each product, in the order of ``found.outlook``; only numbers, words and lists."""
    at = found.outlook
    made = []
    for i, code in enumerate(at.codes.tolist()):
        known = found.known.get(code)
        reason = known.reason if known else Reason.TOO_FEW
        value, error = (known.value, known.error) if known else (0.0, 0.0)
        price, low, high = (round(float(x[i]), 4) for x in (at.price, at.low, at.high))
        decision = decide(
            price, low, high, value, error, float(at.reference[i]), orders=float(at.orders[i]), rules=rules,
            reason=reason, cost=float(at.cost[i]), paid=float(at.paid[i]),
        )  # fmt: skip
        made.append(
            {
                "stockcode": code,
                "description": at.names[i] or code,
                "price": price,
                "low": low,
                "high": high,
                "reference": round(float(at.reference[i]), 4),
                "value": round(value, 5),
                "error": round(error, 5),
                "reason": reason.value,
                "prices": known.prices if known else 1,
                "paid": round(float(at.paid[i]), 4),
                "active": bool(at.active[i]),
                "breaks": [[b.quantity, b.ratio] for b in at.breaks[i]],
                "base": round(float(at.base[i]), 6),
                "features": [round(float(v), 5) for v in at.features[i][:-2]],
                "decision": asdict(decision),
            }
        )
    return made


def _allowed(first: float, last: float, price: float, endings: tuple[float, ...]) -> Floats:
    """The prices that may be recommended, the current one among them."""
    grid = np.round(np.linspace(first, last, GRID), 4)
    if endings:
        whole = np.arange(math.floor(first), math.floor(last) + 1)
        ended = np.round(np.add.outer(whole, np.asarray(endings)).ravel(), 2)
        grid = ended[(ended >= first) & (ended <= last)]
    return np.asarray(np.unique(np.append(grid, price)))
