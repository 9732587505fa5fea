"""What a product's list price does to the number of its orders, and where the data cannot show it.

For each product a Poisson regression of its orders a week on its list price, beside all that moves demand and may have moved
the price, too: its own trend and season, the catalogue's orders, and its own recent orders. What remains of the price then
is what identifies its effect. Where too little remains, or where next week's price is related to this week's orders, which
no effect of a price could be, the product's elasticity is not known, and the reason is recorded.

Estimates are pooled: each is drawn towards the catalogue's mean, as far as its own error is large beside the spread between
products (empirical Bayes; DerSimonian and Laird, https://doi.org/10.1016/0197-2456(86)90046-2).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from service.panel import Panel

__all__ = ["Elasticity", "Found", "Reason", "estimate", "pooled"]

Floats = NDArray[np.float64]
WEEK = 7
# A list price that moved by less is the same price.
MOVED = 0.02
LEAST_PRICES, LEAST_WEEKS, LEAST_ORDERS = 3, 26, 60
# The share of the price's variance that trend, season and earlier orders must leave.
LEAST_LEFT = 0.25
# Random shifts of each product's prices, to see how wide errors are.
SHIFTS = 4
# The widest standard errors that are still used: of a product's own estimate, and after pooling.
WIDEST_OWN, WIDEST = 1.0, 0.5
# Products differ at least by so much, even where few of them cannot show it.
LEAST_SPREAD = 0.25
# A placebo that is further from zero than so many standard errors is no chance: of one product, of the catalogue.
CHANCE, CATALOGUE_CHANCE = 3.0, 3.5


class Reason(StrEnum):
    """Why an elasticity is, or is not, known."""

    LEARNED = "learned"
    NOT_VARIED = "not-varied"  # the list price had fewer than LEAST_PRICES spells
    WITH_TIME = "with-time"  # it moved with the trend, the season or earlier orders only
    OBSERVATIONAL = "observational"  # later prices are related to earlier orders: price follows demand
    TOO_FEW = "too-few-orders"  # the error is too wide


@dataclass(frozen=True)
class Elasticity:
    """Of one product's orders, at its current list price: when that rises by 1 %, they change by ``value`` %.

    Attributes:
        value, error: after pooling, with its standard error; both 0 when not known.
        own, own_error: before pooling; the error is infinite when there is no estimate.
        placebo: of next week's price on this week's orders, in standard errors.
    """

    reason: Reason
    value: float
    error: float
    own: float
    own_error: float
    placebo: float
    prices: int


@dataclass(frozen=True)
class Found:
    """The elasticities of all products of a panel, in its order.

    Attributes:
        mean, spread: of the elasticities in the catalogue, and the standard error of the mean.
        placebo: of the whole catalogue, in standard errors.
    """

    each: list[Elasticity]
    mean: float
    mean_error: float
    spread: float
    placebo: float


def estimate(panel: Panel) -> Found:
    """The elasticities that the days of ``panel`` show.

    An elasticity is of orders; expected orders at a price p are proportional to exp(value × p / current price).
    """
    weeks = (panel.days - panel.days[0]).astype(int) // WEEK
    begins = np.flatnonzero(np.diff(weeks, prepend=-1))
    orders = np.add.reduceat(panel.orders, begins, axis=1)
    open_days = np.add.reduceat(np.ones(len(panel.days)), begins)
    price = np.add.reduceat(panel.price, begins, axis=1) / open_days
    live = begins[None, :] >= panel.first[:, None]
    count = len(panel.codes)
    spells = _spells(panel)
    enough = (spells >= LEAST_PRICES) & (live.sum(axis=1) >= LEAST_WEEKS) & (orders.sum(axis=1) >= LEAST_ORDERS)
    chosen = np.flatnonzero(enough)
    relative = np.clip(price / panel.price[:, -1:] - 1, -0.75, 1.5)
    design = _Design(orders, open_days, weeks[begins], relative, chosen, live)
    own, left, lead = (np.zeros(count) for _ in range(3))
    own_error, lead_error = (np.full(count, np.inf) for _ in range(2))
    shifted: list[float] = []
    rng = np.random.default_rng(0)
    for i in chosen:
        use = live[i]
        controls = design.controls(i)[use]
        x, y = relative[i, use], orders[i, use]
        left[i] = _left(x, controls)
        own[i], own_error[i] = _poisson(y, x, controls)
        # The placebo: next week's price cannot change this week's orders.
        ahead = np.column_stack([controls[:-1], x[:-1]])
        if _left(x[1:], ahead) > 0.02:
            lead[i], lead_error[i] = _poisson(y[:-1], x[1:], ahead)
        # Prices of another time have no effect: how far such estimates spread shows how wide errors are.
        for _ in range(SHIFTS):
            moved = np.roll(x, int(rng.integers(len(x) // 5, len(x) - len(x) // 5)))
            if _left(moved, controls) >= LEAST_LEFT:
                none, width = _poisson(y, moved, controls)
                shifted.append(none / width if np.isfinite(width) else 0.0)
    wider = max(1.0, float(np.subtract(*np.quantile(shifted, [0.84, 0.16])) / 2)) if len(shifted) >= 20 else 1.25
    own_error, lead_error = own_error * wider, lead_error * wider
    z = np.where(np.isfinite(lead_error), lead / lead_error, 0.0)
    *_, (lead_mean, lead_mean_error) = pooled(lead, lead_error)
    placebo = lead_mean / lead_mean_error if np.isfinite(lead_mean_error) else 0.0
    usable = enough & (left >= LEAST_LEFT) & (np.abs(z) < CHANCE)
    value, error, spread, (mean, mean_error) = pooled(own, np.where(usable, own_error, np.inf))
    each = []
    for i in range(count):
        if spells[i] < LEAST_PRICES:
            reason = Reason.NOT_VARIED
        elif not enough[i]:
            reason = Reason.TOO_FEW
        elif abs(z[i]) >= CHANCE or abs(placebo) >= CATALOGUE_CHANCE:
            reason = Reason.OBSERVATIONAL
        elif left[i] < LEAST_LEFT:
            reason = Reason.WITH_TIME
        else:
            reason = Reason.LEARNED if own_error[i] <= WIDEST_OWN and error[i] <= WIDEST else Reason.TOO_FEW
        known = reason is Reason.LEARNED
        each.append(
            Elasticity(
                reason,
                value[i] if known else 0.0,
                error[i] if known else 0.0,
                own[i],
                own_error[i],
                z[i],
                int(spells[i]),
            )
        )
    return Found(each, mean, mean_error, spread, placebo)


def pooled(own: Floats, error: Floats) -> tuple[Floats, Floats, float, tuple[float, float]]:
    """Each estimate drawn to the common mean, its error, the spread between them, and the mean with its error.

    Estimates with an infinite error are not used, and keep theirs.
    """
    used = np.isfinite(error) & (error > 0)
    if used.sum() < 3:  # too few to say how far products differ
        weight = 1 / np.maximum(error[used], 1e-9) ** 2
        total = weight.sum() if used.any() else 0.0
        mean = float((own[used] * weight).sum() / total) if total else 0.0
        return own, error, float("inf"), (mean, float(total**-0.5) if total else float("inf"))
    b, variance = own[used], error[used] ** 2
    weight = 1 / variance
    fixed = (b * weight).sum() / weight.sum()
    q = (weight * (b - fixed) ** 2).sum()
    spread2 = max(0.0, (q - (len(b) - 1)) / (weight.sum() - (weight**2).sum() / weight.sum()))
    spread2 = max(spread2, LEAST_SPREAD**2)
    weight = 1 / (variance + spread2)
    mean, mean_variance = float((b * weight).sum() / weight.sum()), float(1 / weight.sum())
    share = spread2 / (spread2 + variance)
    value, after = own.copy(), error.copy()
    value[used] = share * b + (1 - share) * mean
    after[used] = np.sqrt(share * variance + (1 - share) ** 2 * mean_variance)
    return value, after, float(np.sqrt(spread2)), (mean, float(np.sqrt(mean_variance)))


def _spells(panel: Panel) -> NDArray[np.int64]:
    """How many list prices each product had, one after the other."""
    moved = np.abs(np.diff(np.log(panel.price), axis=1)) > MOVED
    return np.asarray(1 + moved.sum(axis=1))


class _Design:
    """The controls of each product, one row a week.

    Products whose prices move often move at the same time, in sales and at the end of a season. So what the others of them do
    on average, in orders and in prices, is controlled too (Pesaran's common correlated effects,
    https://doi.org/10.1111/j.1468-0262.2006.00692.x).
    """

    def __init__(
        self,
        orders: Floats,
        open_days: Floats,
        week: NDArray[np.int64],
        relative: Floats,
        group: NDArray[np.int64],
        live: NDArray[np.bool_],
    ) -> None:
        time = (week - week.mean()) / max(week[-1], 1)
        year = 2 * np.pi * week * WEEK / 365.25
        self._common = [np.ones(len(week)), time, np.sin(year), np.cos(year), np.log(open_days)]
        if week[-1] * WEEK > 500:  # more than a year: a finer season, and a bend of the trend, can be distinguished
            self._common += [np.sin(2 * year), np.cos(2 * year), time**2]
        self._rate, self._total = orders / open_days, (orders / open_days).sum(axis=0)
        level = np.log(self._rate + 0.1)
        self._group = {int(i): n for n, i in enumerate(group)}
        self._averages = [np.where(live[group], x[group], np.nan) for x in (level, relative)]
        self._averages = [x - np.nanmean(x, axis=1, keepdims=True) for x in self._averages]
        self._level = level

    def controls(self, i: int) -> Floats:
        """Those of the product at position ``i``, which is one of the group."""
        others = np.log(self._total - self._rate[i] + 0.1)
        level = self._level[i]
        month = np.convolve(self._rate[i], np.ones(4) / 4)[: len(level)]
        before = [np.concatenate([x[:1], x[:-1]]) for x in (level, np.log(month + 0.1))]
        rest = np.arange(len(self._group)) != self._group[i]
        if rest.sum() >= 5:
            before += [np.nan_to_num(np.nanmean(x[rest], axis=0)) for x in self._averages]
        return np.column_stack([*self._common, others - others.mean(), *before])


def _left(x: Floats, controls: Floats) -> float:
    """The share of the variance of ``x`` that ``controls`` do not explain."""
    if x.std() < 1e-9:
        return 0.0
    solved = np.linalg.lstsq(controls, x, rcond=None)[0]
    free = max(1, len(x) - controls.shape[1])
    return float(((x - controls @ solved) ** 2).sum() / free / x.var(ddof=1))


def _poisson(y: Floats, x: Floats, controls: Floats) -> tuple[float, float]:
    """The coefficient of ``x`` in a Poisson regression, and its error, which allows for overdispersion."""
    design = np.column_stack([x, controls])
    weak = np.diag([0.0, 0.0, *([1e-3] * (design.shape[1] - 2))])
    beta = np.zeros(design.shape[1])
    beta[1] = np.log(y.mean() + 1e-3)
    eta = np.full(len(y), beta[1])
    for _ in range(25):
        mean = np.exp(np.clip(eta, -15, 15))
        step = np.linalg.lstsq((design.T * mean) @ design + weak, design.T @ (mean * eta + y - mean), rcond=None)[0]
        done = np.abs(step - beta).max() < 1e-6
        beta = step
        eta = design @ beta
        if done:
            break
    mean = np.exp(np.clip(eta, -15, 15))
    free = len(y) - design.shape[1]
    if free < 8 or _left(x, controls) < 1e-6:
        return 0.0, float("inf")
    dispersion = max(1.0, float(((y - mean) ** 2 / np.maximum(mean, 0.05)).sum() / free))
    inverse = np.linalg.pinv((design.T * mean) @ design + weak)
    # Errors of weeks with one price go together, so each price spell is one cluster of the sandwich.
    score = design * (y - mean)[:, None]
    spell = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) > MOVED / 2)])
    sums = np.zeros((spell[-1] + 1, design.shape[1]))
    np.add.at(sums, spell, score)
    groups = len(sums)
    robust = (inverse @ (sums.T @ sums) @ inverse)[0, 0] * groups / max(1, groups - 1)
    return float(beta[0]), float(np.sqrt(max(robust, dispersion * inverse[0, 0])))
