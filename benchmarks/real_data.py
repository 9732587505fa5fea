"""The pricing starter on real transactions, beside a competent peer, in one run: errors, calibration, placebos, time, memory.

``RETAIL_DATA=online_retail.csv.gz nox -s bench -- benchmarks/real_data.py`` takes the UCI Online Retail set
(https://archive.ics.uci.edu/dataset/352/online+retail), whole or in part. The peer is what a data scientist makes of the same
weeks in an hour: LightGBM on log sales, with product, price, calendar and level, early stopping, and Duan's smearing.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEMPLATE = Path(__file__).parent.parent / "{{cookiecutter.project_slug}}"
sys.path[:0] = [str(TEMPLATE / "src"), str(TEMPLATE / "starters/pricing/src")]

import lightgbm
import numpy as np
from numpy.typing import NDArray

from service import artifact, dataset, elasticity, evaluation, panel

SECONDS, MEMORY = 120.0, 1500.0
Floats = NDArray[np.float64]
STEPS = {"train": "service.training", "evaluate": "service.report", "promote": "service.promotion"}


def main() -> int:
    """Print what was measured; exit code 1 when a promise is missed, 75 without the data."""
    source = os.environ.get("RETAIL_DATA", "")
    if not source:
        print("NOT MEASURED: RETAIL_DATA names no file of transactions")
        return 75
    held: dict[str, bool] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        taken = {name: _step(module, root, source if name == "train" else "") for name, module in STEPS.items()}
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        found, run = evaluation.load(root)
        judged = evaluation.evaluate(found, evaluation.challengers(root, run), root)
    best = judged.champion or judged.models[0]
    rows = found.test
    logs, mean = _peer(found)
    peer_median = evaluation.metrics(rows.units, logs, logs)
    peer_mean = evaluation.metrics(rows.units, mean, mean)
    lines = {
        f"{best.name}, promoted": best.metrics,
        "peer": peer_median,
        "peer with smearing": peer_mean,
        **{b.name: b.metrics for b in judged.baselines},
    }
    print(f"{len(rows.units)} held-out days of products, from {rows.day.min()} to {rows.day.max()}; zero days are in")
    for name, one in lines.items():
        print(
            f"{name:<22} MAE of median {one.mae:7.3f}  of mean {one.mae_mean:7.3f}  RMSE {one.rmse:7.3f}  "
            f"total {one.total:6.1%}  worst tenth {one.decile:6.1%}"
        )
    mine = best.metrics
    held["MAE of the median 5 % below the peer's"] = mine.mae <= 0.95 * peer_median.mae
    held["MAE of the mean 5 % below the smeared peer's"] = mine.mae_mean <= 0.95 * peer_mean.mae_mean
    held["RMSE no worse than the peer's"] = mine.rmse <= min(peer_mean.rmse, peer_median.rmse)
    held["total within 5 %"] = abs(mine.total - 1) <= 0.05
    held["each tenth within 10 %"] = abs(mine.decile - 1) <= 0.1
    held["90 % intervals hold 85 to 95 %"] = 0.85 <= mine.cover <= 0.95
    held["MAE 15 % below every baseline's"] = mine.mae <= 0.85 * min(b.metrics.mae for b in judged.baselines)
    assert best.decisions is not None
    held["at most 10 % of recommendations at a boundary"] = best.decisions.boundary <= 0.1
    print(f"elasticities: {best.decisions.learned} known, mean {found.found.mean:.2f} ± {found.found.mean_error:.2f}")
    print(f"price changes {best.decisions.changes}, {best.decisions.boundary:.2%} of all products at a boundary")
    held |= _placebos(found)
    assert best.model is not None
    held["none below what 5 % of small orders paid"] = _not_below(found, best.model)
    used = sum(taken.values())
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in taken.items()) + f"; most memory {memory:.0f} MB")
    held[f"train, evaluate and promote in {SECONDS:g} s"] = used <= SECONDS
    held[f"memory of {MEMORY:g} MB"] = memory <= MEMORY
    held["an answer in 2 ms"] = best.decisions.answer <= 2.0
    for what, kept in held.items():
        print(f"{'✓' if kept else '✗'} {what}")
    return 0 if all(held.values()) else 1


def _step(module: str, root: Path, source: str) -> float:
    path = os.pathsep.join([str(TEMPLATE / "src"), str(TEMPLATE / "starters/pricing/src")])
    words = [sys.executable, "-m", module, "--root", str(root), *(["--data", source] if source else [])]
    began = time.perf_counter()
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": path}, check=False, stdout=subprocess.PIPE, text=True, errors="replace"
    )
    print("\n".join(line for line in done.stdout.splitlines() if "best" not in line))
    return time.perf_counter() - began


def _peer(found: dataset.Dataset) -> tuple[Floats, Floats]:
    """The peer's expected units of each held-out day: back-transformed, and with smearing."""
    codes = {code: i for i, code in enumerate(found.outlook.codes.tolist())}

    def inputs(table: dataset.Table) -> Floats:
        row, day = table.row, table.day
        product = np.array([codes[code] for code in table.code.tolist()])[row]
        at = found.history if day[0] < found.test.day[0] else whole
        position = {code: i for i, code in enumerate(at.codes.tolist())}
        own = np.array([position[code] for code in table.code.tolist()])[row]
        price = at.price[own, np.searchsorted(at.days, day)]
        usual = found.outlook.price[product]
        year = (day - day.astype("datetime64[Y]")).astype(int)
        calendar = [dataset.of_week(day), year, year // 30]
        return np.column_stack([product, price / usual, np.log(price), *calendar, np.log(table.base[row])])

    whole = panel.make(found.transactions)
    learned, wanted = inputs(found.train), np.log1p(found.train.units)
    early = found.train.day < np.quantile(found.train.day.astype(int), 0.85).astype(int).astype("datetime64[D]")
    trees = lightgbm.LGBMRegressor(
        n_estimators=2000, learning_rate=0.05, num_leaves=63, min_child_samples=50, verbose=-1, random_state=7
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


def _placebos(found: dataset.Dataset) -> dict[str, bool]:
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


def _not_below(found: dataset.Dataset, model: artifact.Model) -> bool:
    """Whether no changed price is below what 95 % of small orders paid: those of at most the median quantity."""
    for code, rows in found.transactions.groupby("stockcode", observed=True):
        decision = model.products[str(code)]["decision"]
        small = rows[rows["quantity"] <= rows["quantity"].median()]["unitprice"]
        if decision["why"] == "gain" and decision["price"] < small.quantile(0.05) - 1e-9:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
