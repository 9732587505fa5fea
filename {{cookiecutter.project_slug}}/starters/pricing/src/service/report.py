"""The result of an evaluation, as a Markdown table for a pull request and as one self-contained HTML page.

``python -m service.report`` evaluates the models of the last training; ``invoke evaluate`` runs it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service import artifact, data, plots, registry
from service.evaluation import Curve, Evaluation, Judged, challengers, evaluate, load

__all__ = ["document", "main", "news", "page", "table", "write"]

HEAD = ("model", "", "MAE", "RMSE", "revenue regret", "good prices", "elasticity error")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; background: #fff;
  margin: 2rem auto; max-width: 1120px; padding: 0 1rem }
h1 { font-size: 1.5rem }
h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid #dde3ea; text-align: right }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left }
tr.best td { font-weight: 600 }
.plots { display: flex; flex-wrap: wrap; gap: .6rem }
.note { color: #5b6b7c; max-width: 46rem }
svg { border: 1px solid #e6ebf0; border-radius: 6px; background: #fff }
svg text { font: 10px system-ui, sans-serif; fill: #5b6b7c }
svg .title { font-size: 11.5px; font-weight: 600; fill: #1c2733; text-anchor: middle }
svg .axis { text-anchor: middle }
svg .name { text-anchor: end; font-size: 9px }
.grid { stroke: #edf1f5 }
polyline { fill: none; stroke-width: 1.8 }
.model { stroke: #0b6bcb }
.truth { stroke: #8a96a3; stroke-dasharray: 4 3 }
.even { stroke: #8a96a3; stroke-width: 1 }
.dot { fill: #0b6bcb; fill-opacity: .35 }
.bar { fill: #0b6bcb }
line.mark { stroke: #c4431d; stroke-width: 1.4 }
svg text.mark { fill: #c4431d; font-weight: 600 }
"""


def table(evaluation: Evaluation) -> str:
    """The Markdown table, and a line that says what the models were evaluated on."""
    lines = [
        "| " + " | ".join(HEAD) + " |",
        "|---|---|" + "---:|" * (len(HEAD) - 2),
        *("| " + " | ".join(row) + " |" for row in _rows(evaluation)),
        "",
        _judged_on(evaluation) + ".",
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
    """The HTML page; the plots are of the best model."""
    best = evaluation.models[0]
    cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in _rows(evaluation))
    rows = "\n".join(f"<tr{' class=best' if i == 0 else ''}>{row}</tr>" for i, row in enumerate(cells))
    head = "".join(f"<th>{escape(word)}</th>" for word in HEAD)
    found = evaluation.found
    left_out = (
        f"; {found.left_out} products left out, with too few days or prices to learn from" if found.left_out else ""
    )
    known = (
        "" if found.truth else " The truth is not known for this data, so there is no regret and no elasticity error."
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Model report</title>
<style>{STYLE}</style>
<h1>Model report</h1>
<p>Data: {escape(found.name)}, {escape(found.cleaning)}{left_out}. {escape(_judged_on(evaluation))}.</p>
<table><thead><tr>{head}</tr></thead><tbody>
{rows}
</tbody></table>
<p class="note">MAE and RMSE in units a day. Revenue regret: the mean share of the best possible revenue that the recommended
prices lose. Good prices: those that earn 95 % of it or more. Elasticity error: the largest over all products.{known}</p>
<h2>{escape(best.name)}: predicted and actual sales</h2>
<div class="plots">{"".join(_errors(evaluation, best))}</div>
<h2>{escape(best.name)}: demand, revenue and the recommended price</h2>
<p class="note">Of an average held-out day.{" Dashed: the truth, scaled to the same mean." if found.truth else ""}</p>
<div class="plots">{"".join(_curves(evaluation, best))}</div>
</html>
"""


def document(evaluation: Evaluation) -> dict[str, Any]:
    """The table as data: what the models were evaluated on, and the metrics of each model and baseline; shares as numbers."""
    rows, judged = evaluation.rows, (*evaluation.models, *evaluation.baselines)
    return {
        "data": evaluation.found.digest,
        "held_out": [str(rows.days.min()), str(rows.days.max())],
        "models": [{"kind": j.name, "role": j.role, "digest": j.digest, **asdict(j.metrics)} for j in judged],
    }


def _rows(evaluation: Evaluation) -> Iterable[list[str]]:
    for judged in (*evaluation.models, *evaluation.baselines):
        found = judged.metrics
        numbers = [f"{found.mae:.2f}", f"{found.rmse:.2f}"]
        shares = [found.regret, found.good, found.elasticity_error]
        yield [
            judged.name,
            f"{judged.role} {judged.digest.removeprefix('sha256:')[:12]}".strip(),
            *numbers,
            *("" if share is None else f"{share:.1%}" for share in shares),
        ]


def _judged_on(evaluation: Evaluation) -> str:
    rows = evaluation.rows
    return (
        f"Judged on {len(rows)} days and products from {rows.days.min()} to {rows.days.max()}, "
        f"which follow all that was learned from; data {evaluation.found.digest[:19]}"
    )


def _errors(evaluation: Evaluation, best: Judged) -> Iterable[str]:
    rows, names = evaluation.rows, {p["stockcode"]: p["description"] for p in evaluation.found.products}
    most = float(max(rows.sales.max(), best.predicted.max()))
    some = slice(None, None, max(1, len(rows) // 1500))
    yield plots.chart(
        "Predicted against actual",
        "units a day, actual",
        "predicted",
        plots.Dots(rows.sales[some], best.predicted[some]),
        plots.Line([0, most], [0, most], "even"),
    )
    codes = np.unique(rows.stockcodes)[:24]
    errors = np.abs(best.predicted - rows.sales)
    by_product = [float(errors[rows.stockcodes == code].mean()) for code in codes]
    yield plots.chart("Error by product", "", "MAE, units a day", plots.Bars([names[c] for c in codes], by_product))
    weeks = ((rows.days - rows.days.min()).astype(int)) // 7
    by_week: NDArray[np.float64] = np.array([errors[weeks == week].mean() for week in np.unique(weeks)])
    yield plots.chart(
        "Error over time",
        "weeks since the first held-out day",
        "MAE, units a day",
        plots.Line(np.unique(weeks), by_week),
    )


def _curves(evaluation: Evaluation, best: Judged) -> Iterable[str]:
    for curve in best.curves[:24]:
        mark = plots.Mark(curve.recommended, f"{curve.recommended:.2f}")
        name = f"{curve.description} ({curve.stockcode})"
        for what, mine, truth in zip(
            ("units a day", "revenue a day"), (curve.sales, curve.revenue), _truth(evaluation, curve), strict=True
        ):
            lines = [plots.Line(curve.prices, mine)]
            if truth is not None:
                lines.insert(0, plots.Line(curve.prices, truth * mine.mean() / truth.mean(), "truth"))
            yield plots.chart(
                name, f"price; elasticity {curve.elasticity:.2f}", what, *lines, mark, width=265, height=190
            )


def _truth(evaluation: Evaluation, curve: Curve) -> list[NDArray[np.float64] | None]:
    if not (known := evaluation.found.truth.get(curve.stockcode)):
        return [None, None]
    sales = known.sales(curve.prices)
    return [sales, sales * curve.prices]


def main(words: list[str] | None = None) -> int:
    """Evaluate, write the report, print the table; exit code 1, with the reason, when that fails."""
    parser = argparse.ArgumentParser(description="Evaluate the trained models; write the report.")
    parser.add_argument("--root", type=Path, default=Path(), help="the service's folder")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    options = parser.parse_args(words)
    root = options.root
    try:
        found, run = load(root)
        evaluation = evaluate(found, challengers(root, run))
    except (registry.Missing, data.BadData, artifact.ModelFault) as error:
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
