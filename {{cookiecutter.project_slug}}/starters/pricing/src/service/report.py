"""The result of an evaluation, as a Markdown table for a pull request and as one self-contained HTML page.

``python -m service.report`` evaluates the models of the last training; ``invoke evaluate`` runs it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_pages.charts import Bars, Dots, Line, Mark, Part, chart
from ml_pages.page import STYLE, figure
from ml_pages.page import table as listed
from service import artifact, features, reading, registry
from service.elasticity import Reason
from service.evaluation import Evaluation, Judged, challengers, evaluate, load

__all__ = ["document", "main", "news", "page", "table", "write"]

HEAD = (
    "model", "role", "MAE (median)", "MAE (mean)", "RMSE", "deviance", "total", "worst tenth", "90 % interval",
    "price changes", "at the end", "regret", "elasticities right",
)  # fmt: skip
COLUMNS = ("code", "product", "price", "recommended", "gain", "why", "elasticity", "units a day", "error", "experiment")
CURVES = 12
HERE = Path(__file__).parent
# Of decisions and elasticities, as people read them.
WHY = {
    "gain": "earns more, 90 % certain",
    "gain-uncertain": "kept: the gain is not certain",
    "already-best": "kept: nothing within a step earns more",
    "not-varied": "kept: the list price did not vary",
    "with-time": "kept: the price varied with trend or season only",
    "observational": "kept: the price follows demand",
    "too-few-orders": "kept: too few orders to know",
}


def table(evaluation: Evaluation) -> str:
    """The Markdown table, and lines that say what was evaluated and how many elasticities are known."""
    lines = [
        "| " + " | ".join(HEAD) + " |",
        "|---|---|" + "---:|" * (len(HEAD) - 2),
        *("| " + " | ".join(row) + " |" for row in _rows(evaluation)),
        "",
        _judged_on(evaluation) + ".",
        _abstentions(evaluation) + ".",
    ]
    return "\n".join(lines)


def news(root: Path, evaluation: Evaluation) -> str:
    """The table, or only where it is if the last evaluation wrote, and printed, the same one."""
    written, text = root / "build/report.md", table(evaluation)
    if written.is_file() and written.read_text(encoding="utf-8") == text + "\n":
        return f"evaluated again, with the result of {written}"
    return text


def write(root: Path, evaluation: Evaluation) -> list[Path]:
    """``build/report.md`` and ``build/report.html``."""
    folder = root / "build"
    folder.mkdir(parents=True, exist_ok=True)
    made = {"report.md": table(evaluation) + "\n", "report.html": page(evaluation)}
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in made]


def page(evaluation: Evaluation) -> str:
    """The HTML page; plots and products are of the best model."""
    best, found = evaluation.models[0], evaluation.found
    curves = "".join(_curves(evaluation, best))
    parts = {
        "STYLE": STYLE,
        "MODELS": listed(HEAD, (map(escape, row) for row in _rows(evaluation)), "models"),
        "DATA": f"Data: {escape(found.name)}, {escape(found.cleaning)}. {escape(_judged_on(evaluation))}.",
        "UNKNOWN": "" if found.truth else " The truth is not known for this data, so there is no regret.",
        "ABSTENTIONS": escape(_abstentions(evaluation)),
        "BEST": escape(best.name),
        "ERRORS": "".join(_errors(evaluation, best)),
        "CURVES": curves or "<p>No elasticity is known, so there are no curves to draw.</p>",
        "PRODUCTS": listed(COLUMNS, _products(evaluation, best), "products"),
    }
    text = (HERE / "report.html").read_text(encoding="utf-8")
    head, *rest = text.split("<!--")
    return head + "".join(parts[name] + after for name, after in (piece.split("-->", 1) for piece in rest))


def document(evaluation: Evaluation) -> dict[str, Any]:
    """The table as data: what the models were evaluated on, and the metrics of each model and baseline; shares as numbers."""
    days, judged = evaluation.rows.day, (*evaluation.models, *evaluation.baselines)

    def row(one: Judged) -> dict[str, Any]:
        found = {**asdict(one.metrics), **(asdict(one.decisions) if one.decisions else {})}
        known = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in found.items()}
        return {"kind": one.name, "role": one.role, "digest": one.digest, **known}

    return {
        "data": evaluation.found.digest,
        "held_out": [str(days.min()), str(days.max())],
        "elasticities": dict(Counter(one.reason.value for one in evaluation.found.found.each)),
        "models": [row(one) for one in judged],
    }


def _rows(evaluation: Evaluation) -> Iterable[list[str]]:
    for judged in (*evaluation.models, *evaluation.baselines):
        found, decided = judged.metrics, judged.decisions
        shares = [found.total, found.decile, found.cover]
        made = [f"{decided.changes}", f"{decided.boundary:.1%}"] if decided else ["", ""]
        truth = [decided.regret, decided.right] if decided else [None, None]
        yield [
            judged.name,
            f"{judged.role} {judged.digest.removeprefix('sha256:')[:12]}".strip(),
            *(f"{value:.3f}" for value in (found.mae, found.mae_mean, found.rmse, found.deviance)),
            *("" if math.isnan(share) else f"{share:.1%}" for share in shares),
            *made,
            *("" if share is None else f"{share:.1%}" for share in truth),
        ]


def _judged_on(evaluation: Evaluation) -> str:
    rows = evaluation.rows
    return (
        f"Judged on {len(rows.units)} days of {len(np.unique(rows.code))} products, days without a sale among them, from "
        f"{rows.day.min()} to {rows.day.max()}, which follow all that was learned from; data {evaluation.found.digest[:19]}"
    )


def _abstentions(evaluation: Evaluation) -> str:
    found = evaluation.found.found
    counts = Counter(one.reason for one in found.each)
    others = ", ".join(f"{counts[reason]} {reason.value}" for reason in Reason if reason is not Reason.LEARNED)
    mean = (
        f"; the catalogue's mean is {found.mean:.2f} ± {found.mean_error:.2f}"
        if math.isfinite(found.mean_error)
        else ""
    )
    return (
        f"Elasticities: {counts[Reason.LEARNED]} of {len(found.each)} are known{mean}; the others keep their price: {others}; "
        f"placebo of the catalogue (next week's price on this week's orders): {found.placebo:.1f} standard errors. All are "
        "observational: only an experiment shows what a price does"
    )


def _figure(title: str, x: str, y: str, *parts: Part, width: int = 340, log: bool = False) -> str:
    return figure(title, chart(title, x, y, *parts, width=width, log=log))


def _errors(evaluation: Evaluation, best: Judged) -> Iterable[str]:
    rows = evaluation.rows
    some = slice(None, None, max(1, len(rows.units) // 1500))
    most = float(max(rows.units[some].max(), best.mean[some].max(), 1.0))
    even = np.geomspace(1, most + 1, 30) - 1
    parts = Dots(rows.units[some], best.mean[some]), Line(even, even, "even")
    yield _figure("Expected against actual", "units a day, actual", "expected", *parts, log=True)
    tenths = np.array_split(np.argsort(best.mean, kind="stable"), 10)
    shares = [float(best.mean[part].sum() / max(rows.units[part].sum(), 1e-9)) for part in tenths]
    names = [str(i) for i in range(1, 11)]
    yield _figure("Expected over actual, by tenth", "", "1 is right", Bars(names, shares))
    weeks = ((rows.day - rows.day.min()).astype(int)) // 7
    errors = np.abs(best.median - rows.units)
    by_week: NDArray[np.float64] = np.array([errors[weeks == week].mean() for week in np.unique(weeks)])
    at = "weeks since the first held-out day"
    yield _figure("Error over time", at, "MAE, units a day", Line(np.unique(weeks), by_week))


def _curves(evaluation: Evaluation, best: Judged) -> Iterable[str]:
    """Sales and revenue of the products with the largest gains, relative to those at the current price."""
    assert best.model is not None
    known = [p for p in best.model.products.values() if p["reason"] == Reason.LEARNED.value]
    for product in sorted(known, key=lambda p: -abs(p["decision"]["gain"][0]))[:CURVES]:
        prices = np.linspace(product["low"], product["high"], 60)
        now = np.array([product["price"]])
        sales = features.effect(product["value"], prices, product["reference"])
        sales = sales / features.effect(product["value"], now, product["reference"])
        mark = Mark(product["decision"]["price"], f"{product['decision']['price']:.2f}")
        name = f"{product['description'][:24]} ({product['stockcode']})"
        truth = evaluation.found.truth.get(product["stockcode"])
        real = truth.sales(prices) / truth.sales(now) if truth else None
        elasticity = product["value"] * product["price"] / product["reference"]
        for what, factor in (("sales", np.ones(60)), ("revenue", prices / product["price"])):
            lines = [Line(prices, sales * factor)]
            if real is not None:
                lines.insert(0, Line(prices, real * factor, "truth"))
            axis = f"price; elasticity {elasticity:.2f}"
            yield _figure(name, axis, f"{what}, now is 1", *lines, mark, width=270)


def _products(evaluation: Evaluation, best: Judged) -> Iterable[list[str]]:
    """A row for every product, the largest gains first, then by what is sold."""
    assert best.model is not None
    rows = evaluation.rows
    codes, position = np.unique(rows.code, return_inverse=True)
    day = position[rows.row]
    count = np.maximum(np.bincount(day, minlength=len(codes)), 1)
    error = dict(
        zip(codes.tolist(), np.bincount(day, np.abs(best.median - rows.units), len(codes)) / count, strict=True)
    )
    sold = dict(zip(codes.tolist(), np.bincount(day, rows.units, len(codes)) / count, strict=True))
    every = best.model.products.values()
    for product in sorted(
        every, key=lambda p: (-p["decision"]["gain"][1], -sold.get(p["stockcode"], 0), p["stockcode"])
    ):
        code, decision = product["stockcode"], product["decision"]
        share, gain, plan = product["price"] / product["reference"], decision["gain"], decision["experiment"]
        known = product["reason"] == Reason.LEARNED.value
        value, error_ = product["value"] * share, 1.645 * product["error"] * share
        cells = [
            code,
            product["description"],
            f"{product['price']:.2f}",
            f"{decision['price']:.2f}",
            f"{gain[0]:.1%} ({gain[1]:.1%} to {gain[2]:.1%})" if known and gain[0] else "",
            WHY[decision["why"]],
            f"{value:.2f} ({value - error_:.2f} to {value + error_:.2f})" if known else "",
            f"{sold[code]:.1f}" if code in sold else "",
            f"{error[code]:.1f}" if code in error else "",
            _plan(plan),
        ]
        yield [escape(cell) for cell in cells]


def _plan(plan: dict[str, Any] | None) -> str:
    if not plan:
        return ""
    together = f", or {plan['products']} such products a quarter" if plan["products"] > 1 else ""
    return f"{plan['low']:.2f} or {plan['high']:.2f}, {plan['orders']} orders: {plan['days']} days{together}"


def main(words: list[str] | None = None) -> int:
    """Evaluate, write the report, print the table; exit code 1, with the reason, when that fails."""
    parser = argparse.ArgumentParser(description="Evaluate the trained models; write the report.")
    parser.add_argument("--root", type=Path, default=Path(), help="the service's folder")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    options = parser.parse_args(words)
    root = options.root
    try:
        found, run = load(root)
        evaluation = evaluate(found, challengers(root, run), root)
    except (registry.Missing, reading.BadData, artifact.ModelFault) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    paths = write(root, evaluation)
    if options.json:
        print(json.dumps(document(evaluation), indent=2))
        return 0
    print(table(evaluation))
    for path in paths:
        print(f"report: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
