"""Promised against realised: outcomes are compared with what the promoted model expected."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from service import artifact, feedback, market


def test_outcomes_that_follow_the_truth_are_as_promised(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Days that are drawn from the known demand at recommended prices come to what was promised; unknown products are counted."""
    model = artifact.load(root)[0]
    rng = np.random.default_rng(3)
    lines = ["date,stockcode,price,units", "2026-01-05,none,1.0,2"]
    for product in market.products(7)[:8]:
        price = model.products[product.stockcode]["decision"]["price"]
        for i in range(12):
            on = date(2026, 1, 5) + timedelta(days=i)
            if on.weekday() == market.CLOSED:
                continue
            year = 1 + product.swing * np.cos(2 * np.pi * (on.timetuple().tm_yday - product.peak) / 365.25)
            week = 1 + 0.15 * np.sin(2 * np.pi * on.weekday() / 7)
            mean_size = float(np.dot(market.SIZES, market.WEIGHTS))
            orders = rng.poisson(float(product.sales(np.array([price]))[0]) * year * week / mean_size)
            lines.append(f"{on},{product.stockcode},{price},{rng.choice(market.SIZES, orders, p=market.WEIGHTS).sum()}")
    (tmp_path / "out.csv").write_text("\n".join(lines) + "\n")
    found, unknown = feedback.compare(model, feedback.read(tmp_path / "out.csv"))
    assert unknown == 1
    assert set(found) == {"followed"}
    one = found["followed"]
    assert one.units == pytest.approx(one.promised_units, rel=0.15)
    assert one.revenue == pytest.approx(one.promised_revenue, rel=0.15)
    assert 0.8 <= one.inside <= 1
    assert feedback.main(["--root", str(root), "--outcomes", str(tmp_path / "out.csv")]) == 0
    said = capsys.readouterr().out
    assert f"| followed | {one.days} |" in said
    assert "! 1 rows are of products that" in said


def test_another_price_is_a_row_of_its_own(root: Path) -> None:
    """A price that was not recommended is compared with what was expected at it."""
    model = artifact.load(root)[0]
    outcome = feedback.Outcome(date(2026, 1, 5), "85111", model.products["85111"]["decision"]["price"] * 1.05, 3.0)
    found, _ = feedback.compare(model, [outcome])
    assert set(found) == {"other price"}
    assert found["other price"].units == 3.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("date,stockcode,price,units\nsoon,1,1,1\n", "row 2: it must have a date"),
        ("date,stockcode,price,units\n2026-01-05,1,0,1\n", "row 2"),
        ("date,stockcode\n2026-01-05,1\n", "row 2"),
        ("date,stockcode,price,units\n", "has no rows"),
    ],
)
def test_wrong_outcomes_are_named(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    """The refusal names the row, and what it must be."""
    (tmp_path / "out.csv").write_text(text)
    assert feedback.main(["--root", str(root), "--outcomes", str(tmp_path / "out.csv")]) == 1
    assert says in capsys.readouterr().err
