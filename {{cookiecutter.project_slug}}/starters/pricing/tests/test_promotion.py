"""Evaluation and promotion: the best prices are known, and no model that is too bad is promoted."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from service import artifact, data, evaluation, promotion, registry, report, training

GATE = promotion.Gate(gain=0.1, regret=0.05, slack=0.0)


@pytest.fixture(scope="module")
def judged(trained: Path) -> evaluation.Evaluation:
    """The evaluation of what was trained."""
    found, run = evaluation.load(trained)
    return evaluation.evaluate(found, evaluation.challengers(trained, run))


def test_prices_and_elasticities_are_recovered(judged: evaluation.Evaluation) -> None:
    """The best model's prices earn 95 % of the best revenue for nine of ten products; its elasticities are within 15 %."""
    best = judged.models[0]
    assert best.metrics.good is not None
    assert best.metrics.good >= 0.9
    assert best.metrics.elasticity_error is not None
    assert best.metrics.elasticity_error <= 0.15
    for curve in best.curves:  # the same, computed without the code under test
        truth = judged.found.truth[curve.stockcode]
        within = np.clip(truth.best_price, curve.prices[0], curve.prices[-1])
        earned, most = (price * truth.sales(np.array([price]))[0] for price in (curve.recommended, within))
        assert earned >= 0.95 * most
        assert curve.elasticity == pytest.approx(truth.elasticity * curve.usual / truth.price, rel=0.15)


def test_baselines_are_in_the_table_and_beaten(judged: evaluation.Evaluation) -> None:
    """Last and mean price are judged like models, and every promoted model beats them."""
    table = report.table(judged)
    assert "| last price | baseline |" in table
    assert "| mean price | baseline |" in table
    best = min(baseline.metrics.rmse for baseline in judged.baselines)
    assert judged.models[0].metrics.rmse < 0.5 * best
    assert judged.models[0].metrics.regret < min(b.metrics.regret for b in judged.baselines)  # type: ignore[type-var]


def test_lock_names_the_best_two_by_digest(trained: Path, judged: evaluation.Evaluation) -> None:
    """The primary is the best, the backup the next; both have metrics and data, and models/ holds nothing else."""
    lock = tomllib.loads((trained / "model.lock").read_text())
    assert [lock[role]["digest"] for role in ("primary", "backup")] == [j.digest for j in judged.challengers[:2]]
    assert lock["primary"]["metrics"]["rmse"] == pytest.approx(judged.models[0].metrics.rmse, abs=1e-3)
    assert lock["data"]["digest"] == judged.found.digest
    files = sorted(path.name for path in (trained / "models").iterdir())
    assert files == sorted(Path(lock[role]["file"]).name for role in ("primary", "backup"))


def test_promoting_again_changes_nothing(root: Path) -> None:
    """A model equal to the champion passes: the same training writes the same model.lock."""
    before = (root / "model.lock").read_bytes()
    assert promotion.main(["--root", str(root)]) == 0
    assert (root / "model.lock").read_bytes() == before


def changed(judged: evaluation.Judged, **metrics: float) -> evaluation.Judged:
    return dataclasses.replace(judged, metrics=dataclasses.replace(judged.metrics, **metrics))


def test_gate_refuses_what_is_too_bad(judged: evaluation.Evaluation) -> None:
    """Each condition of the gate can fail on its own."""
    best = judged.models[0]
    assert promotion.failures(best, judged, GATE) == []
    for worse, says in (
        ({"rmse": 23.0}, "RMSE 23.00 is above"),
        ({"regret": 0.051}, "revenue regret 5.1% is above 5.0%"),
        ({"regret": 0.9}, "is above the best baseline's"),
    ):
        assert any(says in reason for reason in promotion.failures(changed(best, **worse), judged, GATE))


def test_gate_refuses_what_is_worse_than_the_champion(judged: evaluation.Evaluation) -> None:
    """A challenger may be worse than the champion by the slack, and no more."""
    champion = judged.models[0]
    assert promotion.worse(champion, champion, GATE) == []
    slower = changed(champion, rmse=champion.metrics.rmse * 1.02, regret=0.02)
    assert [reason.split()[0] for reason in promotion.worse(slower, champion, GATE)] == ["RMSE", "revenue"]
    assert promotion.worse(slower, champion, dataclasses.replace(GATE, slack=0.03)) == []


def test_worse_challenger_is_refused_with_the_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A training whose best is worse than the champion leaves model.lock unchanged, and prints why."""
    before = (root / "model.lock").read_bytes()
    run, frame = registry.last_run(root)
    others = [digest for digest in run.models if digest not in before.decode()]
    registry.write_run(root, dataclasses.replace(run, models=others), frame)
    assert promotion.main(["--root", str(root)]) == 1
    said = capsys.readouterr()
    assert "is worse than the champion's" in said.err
    assert "| champion" in said.out
    assert (root / "model.lock").read_bytes() == before


def test_table_that_was_just_printed_is_not_printed_again(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After an evaluation the promotion names its report; what differs from that, it prints."""
    assert report.main(["--root", str(root)]) == 0
    assert "| baseline |" in capsys.readouterr().out
    assert promotion.main(["--root", str(root)]) == 0
    said = capsys.readouterr().out
    assert f"evaluated again, with the result of {root / 'build/report.md'}" in said
    assert "| baseline |" not in said
    (root / "build/report.md").write_text("older")
    assert promotion.main(["--root", str(root)]) == 0
    assert "| baseline |" in capsys.readouterr().out


def test_no_model_is_promoted_that_is_no_better_than_the_mean(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When sales have nothing to do with prices or seasons, nothing is promoted."""
    noise = pd.read_csv(small, dtype=str)
    noise["quantity"] = np.random.default_rng(0).integers(1, 60, len(noise))
    noise.to_csv(tmp_path / "noise.csv", index=False)
    assert training.main(["--root", str(tmp_path), "--data", str(tmp_path / "noise.csv"), "--trials", "1"]) == 0
    assert promotion.main(["--root", str(tmp_path)]) == 1
    assert "below the best baseline's (mean price)" in capsys.readouterr().err
    assert not (tmp_path / "model.lock").exists()


def test_only_one_that_passes_has_no_backup(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that doesn't pass the gate is not the backup, and a warning says so."""
    run, frame = registry.last_run(root)
    registry.write_run(root, dataclasses.replace(run, models=run.models[:1]), frame)
    (root / "model.lock").unlink()
    assert promotion.main(["--root", str(root)]) == 0
    assert "no backup" in capsys.readouterr().out
    assert [model.role for model in artifact.load(root)] == ["primary"]


def test_champion_of_other_products_is_judged_on_what_it_knows(root: Path, small: Path) -> None:
    """With new products, only rows that all models know are compared; without the truth there is no regret."""
    frame = pd.read_csv(small, dtype=str)
    frame.assign(stockcode=frame["stockcode"].replace("85111", "99999")).to_csv(root / "own.csv", index=False)
    assert training.main(["--root", str(root), "--data", str(root / "own.csv"), "--trials", "1"]) == 0
    found, run = evaluation.load(root)
    judged = evaluation.evaluate(found, evaluation.challengers(root, run))
    assert set(judged.rows.stockcodes) == {"85222", "85333"}
    assert judged.models[0].metrics.regret is None
    assert "The truth is not known for this data" in report.page(judged)
    frame.assign(stockcode="9" + frame["stockcode"]).to_csv(root / "own.csv", index=False)
    assert training.main(["--root", str(root), "--data", str(root / "own.csv"), "--trials", "1"]) == 0
    found, run = evaluation.load(root)
    with pytest.raises(data.BadData, match="the champion knows none of these products"):
        evaluation.evaluate(found, evaluation.challengers(root, run))


def test_table_is_there_for_programs_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--json`` the same metrics come as one document."""
    assert report.main(["--root", str(root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    lock = tomllib.loads((root / "model.lock").read_text())
    assert found["data"] == lock["data"]["digest"]
    (champion,) = [model for model in found["models"] if model["role"] == "champion"]
    assert champion["digest"] == lock["primary"]["digest"]
    assert champion["rmse"] == pytest.approx(lock["primary"]["metrics"]["rmse"], abs=1e-3)
    assert [model["kind"] for model in found["models"] if model["role"] == "baseline"] == ["last price", "mean price"]


@pytest.mark.parametrize("call", [promotion.main, report.main])
def test_without_a_training_there_is_nothing_to_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], call: object
) -> None:
    """Both report it in one line."""
    assert call(["--root", str(tmp_path)]) == 1  # type: ignore[operator]
    assert capsys.readouterr().err == "✗ nothing has been trained yet\n"


def test_report_is_whole_and_escapes_what_it_is_given(root: Path, small: Path) -> None:
    """The page has the table and every plot, is self-contained, and escapes markup in the data."""
    pd.read_csv(small, dtype=str).assign(description="<script>alert(1)</script>").to_parquet(root / "evil.parquet")
    words = ["--root", str(root), "--data", str(root / "evil.parquet"), "--trials", "1"]
    assert training.main(words) == 0
    assert report.main(["--root", str(root)]) == 0
    page = (root / "build/report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<svg") == 3 + 2 * 3
    assert "http" not in page
    assert (root / "build/report.md").read_text().startswith("| model |")
