"""What ``real_data.py`` compares the pricing starter with: a competent peer, placebos, and what hindsight could reach.

The peer is what a data scientist makes of the same weeks in an hour: LightGBM on log sales, with product, price, calendar and
level, early stopping, and Duan's smearing.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from service import artifact, dataset, elasticity, panel

__all__ = ["Tenth", "hindsight", "not_below", "peer", "placebos", "tenths"]

Floats = NDArray[np.float64]
DRAWS, NEAR = 400, 18
NEAR_ONE = 0.1  # a tenth's expected over actual units may be off by it


def peer(found: dataset.Dataset, *, sold: bool = False, paid: bool = False) -> tuple[Floats, Floats]:
    """The peer's expected units of each held-out day: back-transformed, and with smearing.

    Args:
        sold: it learns days with a sale only.
        paid: its price is what was paid on average that day, instead of the list price; on days without a sale, that.
    """
    codes = {code: i for i, code in enumerate(found.outlook.codes.tolist())}

    def inputs(table: dataset.Table) -> Floats:
        row, day = table.row, table.day
        product = np.array([codes[code] for code in table.code.tolist()])[row]
        at = found.history if day[0] < found.test.day[0] else whole
        position = {code: i for i, code in enumerate(at.codes.tolist())}
        own = np.array([position[code] for code in table.code.tolist()])[row]
        here = own, np.searchsorted(at.days, day)
        price, units = at.price[here], at.units[here]
        if paid:
            price = np.where(units > 0, at.revenue[here] / np.maximum(units, 1), price)
        usual = found.outlook.price[product]
        year = (day - day.astype("datetime64[Y]")).astype(int)
        calendar = [dataset.of_week(day), year, year // 30]
        return np.column_stack([product, price / usual, np.log(price), *calendar, np.log(table.base[row])])

    whole = panel.make(found.transactions)
    learned, wanted = inputs(found.train), np.log1p(found.train.units)
    early = found.train.day < np.quantile(found.train.day.astype(int), 0.85).astype(int).astype("datetime64[D]")
    if sold:
        some = found.train.units > 0
        learned, wanted, early = learned[some], wanted[some], early[some]
    trees = lightgbm.LGBMRegressor(
        n_estimators=2000,
        learning_rate=0.05,
        num_leaves=63,
        min_child_samples=50,
        n_jobs=1,
        verbose=-1,
        random_state=7,
    )
    trees.fit(
        learned[early],
        wanted[early],
        eval_set=[(learned[~early], wanted[~early])],
        categorical_feature=[0],
        callbacks=[lightgbm.early_stopping(50, verbose=False)],
    )
    smearing = float(np.exp(wanted[~early] - trees.predict(learned[~early])).mean())
    logs = np.asarray(trees.predict(inputs(found.test)))
    return np.maximum(np.expm1(logs), 0), np.maximum(np.exp(logs) * smearing - 1, 0)


def placebos(found: dataset.Dataset) -> dict[str, bool]:
    """What is found where there is nothing: bulk discounts of a fixed price, and the prices of other products."""
    frame = found.transactions
    usual = frame.groupby("stockcode", observed=True)["unitprice"].median()
    listed = frame["stockcode"].map(usual).astype(float).to_numpy()
    ratio = np.select([frame["quantity"] >= 32, frame["quantity"] >= 12], [0.8, 0.9], 1.0)
    fixed = elasticity.estimate(panel.make(frame.assign(unitprice=np.round(listed * ratio, 2))))
    before = found.history
    moved = np.flatnonzero([one.prices >= elasticity.LEAST_PRICES for one in found.found.each])
    price = before.price.copy()
    price[moved] = before.price[np.random.default_rng(7).permutation(moved)]
    swapped = elasticity.estimate(panel.Panel(**{**vars(before), "price": price}))
    held = {}
    for name, made in (("bulk discounts", fixed), ("prices of other products", swapped)):
        known = [one for one in made.each if one.reason is elasticity.Reason.LEARNED]
        quiet = np.mean([one.reason is not elasticity.Reason.LEARNED or abs(one.value) < 0.3 for one in made.each])
        print(
            f"placebo, {name}: {len(known)} elasticities, {quiet:.1%} of products abstain or are within 0.3 of zero, "
            f"mean {made.mean:.2f} ± {made.mean_error:.2f}"
        )
        held[f"placebo, {name}: 95 % of products"] = bool(quiet >= 0.95)
    return held


def not_below(found: dataset.Dataset, model: artifact.Model) -> bool:
    """Whether no changed price is below what 95 % of small orders paid: those of at most the median quantity."""
    for code, rows in found.transactions.groupby("stockcode", observed=True):
        decision = model.products[str(code)]["decision"]
        small = rows[rows["quantity"] <= rows["quantity"].median()]["unitprice"]
        if decision["why"] == "gain" and decision["price"] < small.quantile(0.05) - 1e-9:
            return False
    return True


def hindsight(rows: dataset.Table) -> dict[str, float]:
    """The MAE of what no forecast may know.

    Returns:
        of the best constant of each product, chosen among the held-out days themselves; and of the median of each product's
        other days around each one, half of them later than it.
    """
    codes, product = np.unique(rows.code, return_inverse=True)
    days, day = np.unique(rows.day, return_inverse=True)
    units = np.full((len(codes), len(days)), np.nan)
    units[product[rows.row], day] = rows.units
    filled = ~np.isnan(units)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a product without another day near
        constant = np.broadcast_to(np.nanmedian(units, axis=1)[:, None], units.shape)
        near = np.empty_like(units)
        for i in range(len(days)):
            others = [j for j in range(max(0, i - NEAR), min(len(days), i + NEAR + 1)) if j != i]
            near[:, i] = np.nan_to_num(np.nanmedian(units[:, others], axis=1))
    kinds = {"best constant of each product": constant, f"median of the {NEAR} days before and after": near}
    return {name: float(np.abs(made - units)[filled].mean()) for name, made in kinds.items()}


@dataclass(frozen=True)
class Tenth:
    """Expected over actual units of one tenth of the days, by expected sales; and the ranges that hold 90 % of it when
    products, or weeks, are drawn anew.
    """

    share: float
    products: tuple[float, float]
    weeks: tuple[float, float]

    @property
    def off(self) -> bool:
        """Whether it is off by more than 10 % whichever of the products are drawn."""
        return self.products[0] > 1 + NEAR_ONE or self.products[1] < 1 - NEAR_ONE


def tenths(rows: dataset.Table, mean: Floats) -> tuple[list[Tenth], float]:
    """How far chance alone moves the tenths by expected sales.

    Returns:
        each tenth; and how often all ten would be within 10 % if the forecast were right in each, with other products.
    """
    random = np.random.default_rng(7)
    groups = [np.unique(of, return_inverse=True)[1] for of in (rows.code, rows.week)]
    drawn = [random.multinomial(n, np.full(n, 1 / n), DRAWS).astype(float) for n in (g.max() + 1 for g in groups)]
    made, close = [], np.ones(DRAWS, bool)
    for part in np.array_split(np.argsort(mean, kind="stable"), 10):
        share = float(mean[part].sum() / max(rows.units[part].sum(), 1e-9))
        again = []
        for group, times in zip(groups, drawn, strict=True):
            own = group[rows.row[part]]
            expected, actual = (np.bincount(own, x[part], times.shape[1]) for x in (mean, rows.units))
            again.append((times @ expected) / np.maximum(times @ actual, 1e-9))
        close &= np.abs(again[0] / share - 1) <= NEAR_ONE
        products, weeks = ((float(low), float(high)) for low, high in (np.quantile(x, [0.05, 0.95]) for x in again))
        made.append(Tenth(share, products, weeks))
    return made, float(close.mean())
