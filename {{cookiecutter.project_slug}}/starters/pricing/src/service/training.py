"""From transactions to trained models: ``python -m service.training --help``; ``invoke train`` runs it.

Each kind is tuned on the days for training (the last of them score the trials), trained again on all of them, exported to
ONNX, compared with its export on the held-out days, and stored by digest. Nothing is promoted here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from service import data, dataset, features, models, registry, tuning

__all__ = ["ExportDiffers", "check_export", "main", "objective", "recommended", "rmse", "train"]

# Thresholds of trees become float32, so a row may fall on the other side of one; at most this share of rows may.
TOLERANCE, SHARE = 0.01, 0.005
VERSIONS = ("lightgbm", "numpy", "onnx", "onnxmltools", "optuna", "scikit-learn", "scipy", "skl2onnx")


class ExportDiffers(Exception):
    """A model and its ONNX form disagree."""


def train(root: Path, found: dataset.Dataset, seed: int, trials: int, seconds: float) -> list[str]:
    """Tune, train, export, check and store a model of each kind; returns their digests, best score in tuning first.

    Raises:
        ExportDiffers: a model and its export disagree; the message names the kind.
    """
    deadline = time.monotonic() + seconds
    made = []
    for position, (name, kind) in enumerate(models.KINDS.items()):
        began = time.monotonic()
        tuned = tuning.tune(
            root / ".pipeline/studies" / f"{_study(found, name, seed)}.log",
            objective(found, kind, seed),
            kind.first,
            kind.space,
            trials=trials,
            seed=seed,
            # Each kind gets an equal share of the remaining time.
            deadline=began + (deadline - began) / (len(models.KINDS) - position),
            tell=partial(_progress, name, trials),
        )
        model = kind.make(tuned.parameters, seed).fit(found.train.features(found.products), np.log1p(found.train.sales))
        metadata = {
            "kind": name,
            "products": found.products,
            "features": list(features.NAMES),
            "data": found.digest,
            "until": str(found.train.days[-1]),
            "seed": seed,
            "parameters": tuned.parameters,
            "recommended": recommended(model, found),
        }
        content = models.export(model, metadata)
        held_out = found.test.features(found.products)
        check_export(name, content, held_out, models.predict(model, held_out))
        versions = {package: version(package) for package in VERSIONS}
        digest = registry.store(
            root, content, {**metadata, "score": tuned.score, "trials": tuned.trials, "versions": versions}
        )
        made.append((tuned.score, digest))
        earlier = f", {tuned.trials - tuned.new} of them earlier" if tuned.new < tuned.trials else ""
        took = f"{tuned.trials} trials{earlier}, {time.monotonic() - began:.1f} s"
        _say(f"  {name:<12} rmse {tuned.score:7.3f}  {digest[:19]}  {took}")
        if tuned.trials < trials:
            _say(f"! {name}: cut after {tuned.trials} of {trials} trials; another training continues from there")
    return [digest for _, digest in sorted(made)]


def check_export(kind: str, content: bytes, rows: NDArray[np.float32], expected: NDArray[np.float64]) -> None:
    """Compare the predictions of an export for ``rows`` with its model's, ``expected``.

    Raises:
        ExportDiffers: too many rows differ.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    answered = session.run(["sales"], {"features": rows})[0].ravel()
    off = np.abs(answered - expected) > TOLERANCE * np.maximum(1.0, expected)
    if off.mean() > SHARE:
        raise ExportDiffers(f"the export of {kind} differs from it on {off.mean():.1%} of the held-out rows")


def recommended(model: models.Model, found: dataset.Dataset) -> list[float]:
    """The prices that the model recommends for all products over the year, as shares of their usual prices; sorted.

    When it serves, the rank of each recommendation among these shows drift; 101 of them are enough.
    """
    days = np.unique(found.train.days)[::45]  # not a multiple of seven, so that every weekday occurs
    best = []
    for index, product in enumerate(found.products):
        shares = np.linspace(product["low"], product["high"], 20) / product["price"]
        asked = np.concatenate([features.rows(index, shares, day.item()) for day in days])
        revenue = models.predict(model, asked).reshape(len(days), -1) * shares
        best += list(shares[np.argmax(revenue, axis=1)])
    return [round(float(share), 3) for share in np.quantile(best, np.linspace(0, 1, 101), method="inverted_cdf")]


def rmse(predicted: NDArray[np.float64], sales: NDArray[np.float64]) -> float:
    """The root mean squared error, in units a day."""
    return float(np.sqrt(((predicted - sales) ** 2).mean()))


def objective(found: dataset.Dataset, kind: models.Kind, seed: int) -> Callable[[dict[str, Any]], float]:
    """The score of parameters: trained on the first of the days for training, evaluated on the last of them."""
    inner, judged = found.train.split()
    inputs, wanted, asked = inner.features(found.products), np.log1p(inner.sales), judged.features(found.products)
    return lambda parameters: rmse(models.predict(kind.make(parameters, seed).fit(inputs, wanted), asked), judged.sales)


def _study(found: dataset.Dataset, name: str, seed: int) -> str:
    """The name of a study, from data, seed, code and packages; a change in any of them starts a new study."""
    here = Path(__file__).parent
    code = b"".join(
        (here / f).read_bytes()
        for f in ("dataset.py", "elastic.py", "features.py", "models.py", "training.py", "tuning.py")
    )
    inputs = [found.digest, name, seed, hashlib.sha256(code).hexdigest(), [version(n) for n in VERSIONS]]
    return f"{name}-{hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]}"


def _say(line: str) -> None:
    print(f"\r\033[K{line}" if sys.stdout.isatty() else line, flush=True)


def _progress(name: str, trials: int, done: int, score: float, best: float) -> None:
    """Print a line that the next one replaces, on a terminal."""
    line = f"  {name:<12} {done:>3}/{trials}  rmse {score:7.3f}  best {best:7.3f}"
    print(f"\r\033[K{line}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)


def main(words: list[str] | None = None) -> int:
    """Train; exit code 1, with the reason, when the data can't be used, 130 when interrupted."""
    parser = argparse.ArgumentParser(description="Train the models.")
    parser.add_argument("--root", type=Path, default=Path(), help="the service's folder")
    parser.add_argument("--data", default="", help="transactions, CSV or Parquet, a path or s3://; default: generated")
    parser.add_argument("--seed", type=int, default=7, help="of generated data and of the models")
    parser.add_argument("--trials", type=int, default=12, help="settings that are tried of each kind")
    parser.add_argument("--seconds", type=float, default=60, help="when tuning is cut")
    options = parser.parse_args(words)
    try:
        found = dataset.load(options.data, options.seed)
        _say(f"data: {found.cleaning}; {len(found.products)} products")
        if found.left_out:
            _say(f"! {found.left_out} products left out: too few days or prices to learn from")
        with threadpool_limits(1):  # the order of sums, and so the digest, must not depend on the cores
            digests = train(options.root, found, options.seed, options.trials, options.seconds)
    except (data.BadData, ExportDiffers) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n✗ interrupted; another training continues after the last finished trial", file=sys.stderr)
        return 130
    run = registry.Run(options.data, options.seed, found.cleaning, found.digest, digests)
    registry.write_run(options.root, run, found.transactions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
