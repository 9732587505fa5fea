"""From transactions to promoted models: ``python -m service.training --help``.

Every model is compared, with two baselines, on the last days, which none of them has seen; the best becomes primary and
the next its backup. Models go by the digest of their ONNX file; ``model.lock`` names those that serve.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray

from service import data, features, models

__all__ = ["Candidate", "Table", "fit", "main", "promote", "tabulate"]

# float32 thresholds of trees: a row may fall on the other side of one. More than this share of rows must not.
TOLERANCE, SHARE = 0.01, 0.002


@dataclass(frozen=True)
class Table:
    """Sales per product and day as arrays of one length, and what the model must know of each product."""

    features: NDArray[np.float32]
    sales: NDArray[np.float64]
    products: list[dict[str, Any]]


@dataclass(frozen=True)
class Candidate:
    """A trained and exported model, and how it did on the held-out days (units a day)."""

    kind: str
    digest: str
    content: bytes
    metrics: dict[str, float]

    @property
    def file(self) -> str:
        return f"models/{self.digest.removeprefix('sha256:')[:12]}.onnx"


def tabulate(frame: pd.DataFrame, products: list[dict[str, Any]] | None = None) -> Table:
    """A day's sales of each product with its features; ``products`` are taken from ``frame`` unless given."""
    days = frame.assign(day=frame["invoicedate"].dt.normalize())
    daily = days.groupby(["stockcode", "day"], as_index=False).agg(
        quantity=("quantity", "sum"), price=("unitprice", "mean"), description=("description", "first")
    )
    if products is None:
        products = [
            {
                "stockcode": str(code),
                "description": str(group["description"].iloc[0]),
                "price": round(float(group["price"].median()), 4),
                "low": round(float(group["price"].quantile(0.02)), 4),
                "high": round(float(group["price"].quantile(0.98)), 4),
            }
            for code, group in daily.groupby("stockcode")
        ]
    index = {product["stockcode"]: i for i, product in enumerate(products)}
    daily = daily[daily["stockcode"].isin(list(index))]
    number = daily["stockcode"].map(index).to_numpy(dtype=np.int64)
    reference = np.array([product["price"] for product in products])[number]
    return Table(
        features.matrix(
            number,
            daily["price"].to_numpy() / reference,
            daily["day"].dt.day_of_week.to_numpy(),
            daily["day"].dt.day_of_year.to_numpy(),
        ),
        daily["quantity"].to_numpy(dtype=np.float64),
        products,
    )


def fit(frame: pd.DataFrame, seed: int, tell: Any = print) -> tuple[list[Candidate], dict[str, dict[str, float]]]:
    """Train every kind, export it, and check the export; the candidates, best first, and the baselines' metrics."""
    before, after = data.split(frame)
    train = tabulate(before)
    test = tabulate(after, train.products)
    known = {"products": train.products, "features": list(features.NAMES), "data": data.digest(frame)}
    candidates = []
    for kind, make in models.KINDS.items():
        began = time.perf_counter()
        model = make(seed).fit(train.features, np.log1p(train.sales))
        predicted = models.predict(model, test.features)
        metrics = _metrics(predicted, test.sales)
        content = models.export(model, {**known, "kind": kind, "metrics": metrics})
        _check_export(kind, content, test.features, predicted)
        candidates.append(Candidate(kind, f"sha256:{hashlib.sha256(content).hexdigest()}", content, metrics))
        tell(
            f"  {kind:<16} mae {metrics['mae']:6.2f}  rmse {metrics['rmse']:6.2f}  {time.perf_counter() - began:5.2f} s"
        )
    baselines = {name: _metrics(value, test.sales) for name, value in _baselines(train, test).items()}
    for name, metrics in baselines.items():
        tell(f"  {name:<16} mae {metrics['mae']:6.2f}  rmse {metrics['rmse']:6.2f}  (baseline)")
    return sorted(candidates, key=lambda c: c.metrics["rmse"]), baselines


def promote(root: Path, candidates: list[Candidate], source: dict[str, Any]) -> None:
    """Put the best candidate as primary, and the next as backup, into ``models/`` and ``model.lock``."""
    folder = root / "models"
    folder.mkdir(exist_ok=True)
    chosen = dict(zip(("primary", "backup"), candidates, strict=False))
    lines = ["# Names the models that serve, by digest. Written by `invoke train`; commit it with models/."]
    for role, candidate in chosen.items():
        (root / candidate.file).write_bytes(candidate.content)
        lines += [
            "",
            f"[{role}]",
            f'kind = "{candidate.kind}"',
            f'digest = "{candidate.digest}"',
            f'file = "{candidate.file}"',
            f"metrics = {{ {', '.join(f'{k} = {v}' for k, v in candidate.metrics.items())} }}",
        ]
    lines += ["", "[data]", *(f"{key} = {json.dumps(value)}" for key, value in source.items())]
    kept = {Path(candidate.file).name for candidate in chosen.values()}
    for old in folder.glob("*.onnx"):
        if old.name not in kept:
            old.unlink()
    temporary = root / "model.lock.new"
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.replace(root / "model.lock")


def _metrics(predicted: NDArray[np.float64], sales: NDArray[np.float64]) -> dict[str, float]:
    error = predicted - sales
    return {"mae": round(float(np.abs(error).mean()), 4), "rmse": round(float(np.sqrt((error**2).mean())), 4)}


def _baselines(train: Table, test: Table) -> dict[str, NDArray[np.float64]]:
    """What needs no model: each product's mean sales, and those of its last day."""
    products = train.features[:, 0].astype(int)
    mean = np.array([train.sales[products == i].mean() for i in range(len(train.products))])
    last = np.array([train.sales[products == i][-1] for i in range(len(train.products))])
    wanted = test.features[:, 0].astype(int)
    return {"mean per product": mean[wanted], "last per product": last[wanted]}


def _check_export(kind: str, content: bytes, rows: NDArray[np.float32], expected: NDArray[np.float64]) -> None:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    answered = session.run(["sales"], {"features": rows})[0].ravel()
    off = np.abs(answered - expected) > TOLERANCE * np.maximum(1.0, expected)
    if off.mean() > SHARE:
        raise SystemExit(f"✗ the export of {kind} differs from it on {off.mean():.1%} of the held-out rows")


def main(words: list[str] | None = None) -> int:
    """Train, compare and promote; exit code 1, with the reason, when the data can't be used."""
    parser = argparse.ArgumentParser(description="Train, compare and promote models.")
    parser.add_argument("--root", type=Path, default=Path(), help="the service's folder")
    parser.add_argument("--data", type=Path, help="a CSV of transactions; default: generated ones")
    parser.add_argument("--seed", type=int, default=7, help="of generated data and of the models")
    options = parser.parse_args(words)
    try:
        frame, cleaning = data.clean(data.read(options.data) if options.data else data.generate(options.seed))
        source = {
            "source": options.data.name if options.data else f"generated, seed {options.seed}",
            "digest": data.digest(frame),
            "rows": len(frame),
            "seed": options.seed,
        }
        print(f"data: {cleaning}, {frame['stockcode'].nunique()} products", flush=True)
        candidates, baselines = fit(frame, options.seed)
    except data.BadData as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    best = min(metrics["rmse"] for metrics in baselines.values())
    if candidates[0].metrics["rmse"] >= best:
        print(f"✗ no model beats the baselines (rmse {best}); nothing was promoted", file=sys.stderr)
        return 1
    promote(options.root, candidates, source)
    for role, candidate in zip(("primary", "backup"), candidates, strict=False):
        print(f"{role}: {candidate.kind} {candidate.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
