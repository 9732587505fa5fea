"""From transactions to trained models: ``python -m service.training --help``; ``invoke train`` runs it.

Elasticities are estimated once. Each kind of model is tuned on the weeks for training (the last of them score the trials, and
calibrate), trained again on all of them, exported to ONNX, compared with its export on the held-out weeks, and stored by
digest. Nothing is promoted here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from service import cleaning, dataset, decisions, features, forecast, models, reading, registry, together, tuning

__all__ = ["Budget", "ExportDiffers", "check_export", "deviance", "main", "objective", "train"]

# Thresholds of trees become float32, so a row may fall on the other side of one; at most this share of rows may.
TOLERANCE, SHARE = 0.01, 0.005
VERSIONS = ("lightgbm", "numpy", "onnx", "onnxmltools", "optuna", "scikit-learn", "scipy")
MOST_TRIED = 25_000  # rows that a trial learns from


class ExportDiffers(Exception):
    """A model and its ONNX form disagree."""


@dataclass(frozen=True)
class Budget:
    """How many trials of each kind, in how many seconds, and on how many cores; 0: on all."""

    trials: int
    seconds: float
    cores: int = 0


def train(
    root: Path,
    found: dataset.Dataset,
    seed: int,
    budget: Budget,
    rules: decisions.Rules,
    kinds: tuple[str, ...] = tuple(models.KINDS),
    tuned: dict[str, dict[str, Any]] | None = None,
    hosts: together.Hosts | None = None,
) -> list[str]:
    """Tune, train, export, check and store a model of each kind, in parallel; their digests, best score in tuning first.

    ``hosts`` learn the model of lightgbm together.

    Raises:
        ExportDiffers: a model and its export disagree; the message names the kind.
    """
    products = decisions.products(found, rules)
    stop = threading.Event()
    cores = min(budget.cores or os.cpu_count() or 1, len(kinds))
    # Each kind has an equal share of the time.
    seconds = budget.seconds * cores / len(kinds)
    one = partial(_kind, root, found, seed, replace(budget, seconds=seconds), products, stop, tuned or {}, hosts)
    with ThreadPoolExecutor(cores) as pool:
        try:
            # The libraries compute outside of Python's lock; the slowest kinds begin first.
            first = ["network", "svr"] if hosts is None else ["lightgbm"]  # hosts wait for each other
            made = list(pool.map(one, sorted(kinds, key=first.__contains__, reverse=True)))
        except BaseException:  # an interrupt, too
            stop.set()  # no further trial begins
            pool.shutdown(cancel_futures=True)
            raise
    return [digest for _, digest in sorted(made)]


def _kind(
    root: Path,
    found: dataset.Dataset,
    seed: int,
    budget: Budget,
    products: list[dict[str, Any]],
    stop: threading.Event,
    first: dict[str, dict[str, Any]],
    hosts: together.Hosts | None,
    name: str,
) -> tuple[float, str]:
    """Make one kind of model; its score and digest."""
    began = time.monotonic()
    kind = models.KINDS[name]
    kind = replace(kind, first={**kind.first, **first.get(name, {})})
    shared = hosts if name == "lightgbm" else None
    if shared:  # the number of trials alone decides: one host that stops earlier would leave the others waiting
        kind = replace(kind, make=lambda parameters, seed: models.Trees(seed, shared, **parameters))
        budget = replace(budget, seconds=float("inf"))
    tuned = tuning.tune(
        root / ".pipeline/studies" / f"{_study(found, name, seed, kind.first, shared)}.log",
        objective(found, kind, seed),
        kind.first,
        kind.space,
        trials=budget.trials,
        seed=seed,
        deadline=began + budget.seconds,
        stop=stop,
        tell=partial(_progress, name, budget.trials),
    )
    inner, judged = found.train.split()
    earlier = forecast.fit(kind, tuned.parameters, seed, inner)
    weights = forecast.calibrate(earlier, judged)
    spread = forecast.spread(replace(earlier, weights=weights), judged)
    made = replace(forecast.fit(kind, tuned.parameters, seed, found.train), weights=weights)
    metadata = {
        "kind": name,
        "features": list(features.NAMES),
        "products": products,
        "spread": asdict(spread),
        "weekday": found.weekday.round(5).tolist(),
        "seasonal": found.seasonal,
        "scale": _scale(made, found.outlook),
        "data": found.digest,
        "until": str(found.outlook.until),
        "seed": seed,
        "parameters": tuned.parameters,
        **({"hosts": len(shared.addresses)} if shared else {}),
        "recommended": _recommended(products),
    }
    content = forecast.export(made, metadata)
    check_export(name, content, found.test.features, made.ratio(found.test.features))
    kept = {key: value for key, value in metadata.items() if key != "products"}
    more = {"score": tuned.score, "trials": tuned.trials, "versions": _versions()}
    digest = registry.store(root, content, {**kept, **more})
    before = f", {tuned.trials - tuned.new} of them earlier" if tuned.new < tuned.trials else ""
    took = f"{tuned.trials} trial{'' if tuned.trials == 1 else 's'}{before}, {time.monotonic() - began:.1f} s"
    _say(f"  {name:<12} deviance {tuned.score:7.4f}  {digest[:19]}  {took}")
    if tuned.trials < budget.trials:
        _say(f"! {name}: cut after {tuned.trials} of {budget.trials} trials; another training continues from there")
    return tuned.score, digest


def _scale(made: forecast.Forecast, outlook: dataset.Outlook) -> float:
    """The factor with which the levels of all products sum up to what the market is expected to sell."""
    level = made.ratio(outlook.features) * outlook.base
    return round(float(outlook.market / max(level[outlook.active].sum(), 1e-9)), 6)


def _recommended(products: list[dict[str, Any]]) -> list[float]:
    """The recommended prices as shares of the current ones; sorted: 101 of them show model drift well enough."""
    shares = [product["decision"]["price"] / product["price"] for product in products if product["active"]]
    quantiles = np.quantile(shares or [1.0], np.linspace(0, 1, 101), method="inverted_cdf")
    return [round(float(share), 3) for share in quantiles]


def check_export(kind: str, content: bytes, rows: NDArray[np.float32], expected: NDArray[np.float64]) -> None:
    """Compare the answers of an export for ``rows`` with its model's, ``expected``.

    Raises:
        ExportDiffers: too many rows differ.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    answered = session.run(["ratio"], {"features": rows})[0].ravel()
    off = np.abs(answered / expected - 1) > TOLERANCE
    if off.mean() > SHARE:
        raise ExportDiffers(f"the export of {kind} differs from it on {off.mean():.1%} of the held-out rows")


def deviance(expected: NDArray[np.float64], table: dataset.Table) -> float:
    """How far weekly sales are from what was expected: the mean Poisson deviance, in units a day; no row counts for more
    than thirty times its product's level.
    """
    sales = np.minimum(table.sales, 30 * table.base)
    expected = np.maximum(expected, 1e-9)
    terms = expected - sales + sales * np.log(np.maximum(sales, 1e-9) / expected)
    return float(2 * np.average(terms, weights=table.weight))


def objective(found: dataset.Dataset, kind: models.Kind, seed: int) -> Callable[[dict[str, Any]], float]:
    """The score of parameters: trained on some of the first weeks for training, evaluated on the last of them."""
    inner, judged = found.train.split()
    every = -(-len(inner) // MOST_TRIED)
    # Whole products, so that each week keeps its market.
    some = inner[np.isin(inner.code, np.unique(inner.code)[::every])] if every > 1 else inner

    def score(parameters: dict[str, Any]) -> float:
        made = forecast.fit(kind, parameters, seed, some)
        return deviance(replace(made, weights=forecast.calibrate(made, judged)).level(judged), judged)

    return score


@cache
def _versions() -> dict[str, str]:
    """Those of the packages that make the models; to look one up reads a file."""
    return {package: version(package) for package in VERSIONS}


def _study(
    found: dataset.Dataset, name: str, seed: int, first: dict[str, Any], hosts: together.Hosts | None = None
) -> str:
    """The name of a study, from data, seed, first values, hosts, code and packages; a change in any of them starts a new one."""
    here = Path(__file__).parent
    files = ("dataset", "elasticity", "features", "forecast", "models", "outlook", "panel", "training", "tuning")
    code = b"".join((here / f"{file}.py").read_bytes() for file in files)
    # Not which of them: what is kept of a stopped job is one file for all.
    several = [len(hosts.addresses)] if hosts else []
    digest, versions = hashlib.sha256(code).hexdigest(), list(_versions().values())
    inputs = [found.digest, name, seed, first, *several, digest, versions]
    return f"{name}-{hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]}"


def _say(line: str) -> None:
    # In one piece, since kinds are trained at the same time.
    print(f"\r\033[K{line}\n" if sys.stdout.isatty() else f"{line}\n", end="", flush=True)


def _progress(name: str, trials: int, done: int, score: float, best: float) -> None:
    """Print a line that the next one replaces, on a terminal."""
    line = f"  {name:<12} {done:>3}/{trials}  deviance {score:7.4f}  best {best:7.4f}"
    print(f"\r\033[K{line}" if sys.stdout.isatty() else f"{line}\n", end="", flush=True)


def main(words: list[str] | None = None) -> int:
    """Train; exit code 1, with the reason, when the data can't be used, 130 when interrupted."""
    parser = argparse.ArgumentParser(description="Train the models.")
    parser.add_argument("--root", type=Path, default=Path(), help="the service's folder")
    parser.add_argument(
        "--data", default="", help="transactions: CSV, Excel or Parquet, a path or s3://; default: generated"
    )
    parser.add_argument("--dates", default="", help="dmy or mdy, where the data allow both")
    parser.add_argument("--decimal", default="", help="the decimal mark, where the data allow both")
    parser.add_argument("--zone", default="UTC", help="the time zone of the shop, for times that have one")
    parser.add_argument(
        "--not-products", default=cleaning.NOT_PRODUCTS, help="regular expression of codes to leave out"
    )
    parser.add_argument("--step", type=float, default=10, help="percent that a recommended price may differ at most")
    parser.add_argument("--endings", default="", help="of recommended prices, such as 0.95,0.99; default: any")
    parser.add_argument("--seed", type=int, default=7, help="of generated data and of the models")
    parser.add_argument("--trials", type=int, default=12, help="settings that are tried of each kind")
    parser.add_argument("--seconds", type=float, default=60, help="when tuning is cut")
    parser.add_argument(
        "--kinds", default="", help="some kinds of model only, such as svr,network: a part; default: all"
    )
    parser.add_argument(
        "--together", default="", help="lightgbm: all hosts of the job learn it together, of large data"
    )
    parser.add_argument("--tuned", type=Path, help="values to begin with, as `invoke tune` writes them")
    parser.add_argument("--collect", action="store_true", help="train nothing; make one training of the parts of it")
    options = parser.parse_args(words)
    kinds = tuple(options.kinds.split(",")) if options.kinds else tuple(models.KINDS)
    reads = {"dates": options.dates, "decimal": options.decimal, "zone": options.zone}
    try:
        if options.collect:
            registry.collect(options.root, set(models.KINDS))
            return 0
        if unknown := sorted(set(kinds) - set(models.KINDS)):
            raise ValueError(f"--kinds: there is no {', '.join(unknown)}; the kinds are {', '.join(models.KINDS)}")
        if options.together not in ("", "lightgbm"):
            raise ValueError(f"--together: only lightgbm learns on several hosts together, not {options.together}")
        hosts = together.Hosts.of() if options.together else None
        rules = decisions.Rules(options.step / 100, tuple(float(e) for e in options.endings.split(",") if e))
        found = dataset.load(options.data, options.seed, options.not_products, **reads)
        _say(f"data: {found.cleaning}; {len(found.outlook.codes)} products")
        _say(_elasticities(found))
        budget = Budget(options.trials, options.seconds)
        with threadpool_limits(1):  # the order of sums, and so the digest, must not depend on the cores
            digests = train(
                options.root, found, options.seed, budget, rules, kinds, tuning.values(options.tuned), hosts
            )
    except (reading.BadData, registry.Missing, ExportDiffers, ValueError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n✗ interrupted; another training continues after the last finished trial", file=sys.stderr)
        return 130
    run = registry.Run(options.data, options.seed, found.cleaning, found.digest, digests)
    registry.write_run(options.root, run, found.transactions, "+".join(kinds) if options.kinds else "")
    return 0


def _elasticities(found: dataset.Dataset) -> str:
    """How many elasticities are known, and why the others are not."""
    reasons = [one.reason.value for one in found.found.each]
    counts = ", ".join(f"{reasons.count(reason)} {reason}" for reason in sorted(set(reasons)))
    mean, error = found.found.mean, found.found.mean_error
    return f"elasticities: {counts}" + (f"; mean {mean:.2f} ± {error:.2f}" if np.isfinite(error) else "")


if __name__ == "__main__":
    sys.exit(main())
