"""Evaluation and promotion: the best prices are known, and no model that is too bad is promoted."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from service import artifact, dataset, evaluation, market, promotion, registry, report, training

GATE = promotion.Gate(gain=0.02, bias=0.1, boundary=0.1, regret=0.05, slack=0.0, answer=1000)


@pytest.fixture(scope="module")
def judged(trained: Path, found: dataset.Dataset) -> evaluation.Evaluation:
    """The evaluation of what was trained."""
    run, _ = registry.last_run(trained)
    return evaluation.evaluate(found, evaluation.challengers(trained, run), trained)


def test_prices_and_elasticities_are_recovered(judged: evaluation.Evaluation) -> None:
    """Prices earn 95 % of the best revenue within a step for nine of ten products; elasticities are within 15 %."""
    decided = judged.models[0].decisions
    assert decided is not None
    assert decided.learned == 8
    assert decided.good is not None
    assert decided.good >= 0.9
    assert decided.right is not None
    assert decided.right >= 0.85
    model = judged.models[0].model
    assert model is not None
    for product in market.products(7):  # the same, computed without the code under test
        known = model.products[product.stockcode]
        if known["reason"] == "learned":
            step = np.linspace(0.9, 1.1, 201) * known["price"]
            price = known["decision"]["price"]
            earned = price * product.sales(np.array([price]))[0]
            assert earned >= 0.95 * (step * product.sales(step)).max()
        else:
            assert known["decision"]["price"] == known["price"]


def test_expected_sales_are_calibrated(judged: evaluation.Evaluation) -> None:
    """In total within 5 %; the 90 % interval holds 85 to 95 % of the held-out days, without a sale or with one."""
    for one in judged.challengers:
        assert abs(one.metrics.total - 1) < 0.05
        assert 0.85 <= one.metrics.cover <= 0.95


def test_metrics_are_what_their_names_say() -> None:
    """Compared with numbers that were computed by hand."""
    units, mean = np.array([0.0, 2.0, 4.0]), np.array([1.0, 2.0, 2.0])
    found = evaluation.metrics(units, mean, np.array([0.0, 2.0, 3.0]), np.zeros(3), np.array([1.0, 1.0, 5.0]))
    assert found.mae == pytest.approx(1 / 3)
    assert found.mae_mean == pytest.approx(1.0)
    assert found.rmse == pytest.approx((5 / 3) ** 0.5)
    assert found.total == pytest.approx(5 / 6)
    assert found.cover == pytest.approx(2 / 3)
    assert found.deviance == pytest.approx(2 / 3 * (1 + 0 + 2 - 4 + 4 * np.log(2)))


def test_baselines_are_in_the_table_and_beaten(judged: evaluation.Evaluation) -> None:
    """Hard baselines are judged like models, and every promoted model beats them."""
    table = report.table(judged)
    for name in ("median", "trimmed mean", "last 20 days with a sale", "last month's mean", "same weekday"):
        assert f"| {name} | baseline |" in table
    assert judged.models[0].metrics.mae < 0.85 * min(baseline.metrics.mae for baseline in judged.baselines[:4])
    assert judged.models[0].metrics.deviance < min(baseline.metrics.deviance for baseline in judged.baselines)


def test_lock_names_the_best_two_by_digest(trained: Path, judged: evaluation.Evaluation) -> None:
    """The primary is the best, the backup the next; both have metrics and data, and models/ holds nothing else."""
    lock = tomllib.loads((trained / "model.lock").read_text())
    assert [lock[role]["digest"] for role in ("primary", "backup")] == [j.digest for j in judged.challengers[:2]]
    assert lock["primary"]["metrics"]["rmse"] == pytest.approx(judged.models[0].metrics.rmse, abs=1e-3)
    assert lock["data"]["digest"] == judged.found.digest
    files = sorted(path.name for path in (trained / "models").iterdir())
    assert files == sorted(Path(lock[role]["file"]).name for role in ("primary", "backup"))


def test_promoting_again_changes_nothing(root_small: Path) -> None:
    """A model equal to the champion passes: the same training writes the same model.lock."""
    before = (root_small / "model.lock").read_bytes()
    assert promotion.main(["--root", str(root_small)]) == 0
    assert (root_small / "model.lock").read_bytes() == before


def changed(judged: evaluation.Judged, **metrics: float) -> evaluation.Judged:
    return dataclasses.replace(judged, metrics=dataclasses.replace(judged.metrics, **metrics))


def decided(judged: evaluation.Judged, **decisions: object) -> evaluation.Judged:
    assert judged.decisions is not None
    return dataclasses.replace(judged, decisions=dataclasses.replace(judged.decisions, **decisions))  # type: ignore[arg-type]


def scaled(judged: evaluation.Judged, whole: evaluation.Evaluation, by: float) -> evaluation.Judged:
    mean = judged.mean * by
    found = evaluation.metrics(whole.rows.units, mean, judged.median, judged.low, judged.high)
    return dataclasses.replace(judged, mean=mean, metrics=found)


def test_one_great_day_is_no_bias() -> None:
    """A total that only the largest days move is not refused for them, in either direction; one that is off in both is."""
    for total, without, refused in ((0.68, 1.1, False), (1.02, 1.2, False), (0.8, 0.97, False), (0.8, 0.85, True)):
        assert bool(promotion._bias(total, without, GATE)) == refused


def test_gate_refuses_what_is_too_bad(judged: evaluation.Evaluation) -> None:
    """Each condition of the gate can fail on its own."""
    best = judged.models[0]
    assert promotion.failures(best, judged, GATE) == []
    for worse, says in (
        (changed(best, mae=99.0), "mae 99.000 is above"),
        (changed(best, deviance=99.0), "deviance 99.000 is above"),
        (scaled(best, judged, 0.8), "without the ten largest days; 10% off is the limit"),
        (changed(best, cover=0.7), "the 90 % interval holds 70%"),
        (decided(best, boundary=0.5), "50% of the recommendations are at the end"),
        (decided(best, bounded=False), "not bounded"),
        (decided(best, answer=5000.0), "an answer takes 5000.0 ms"),
        (decided(best, megabytes=70.0), "it has 70 MB"),
        (decided(best, regret=0.051), "revenue regret 5.1% is above 5.0%"),
    ):
        reasons = promotion.failures(worse, judged, GATE)
        assert len(reasons) == 1, reasons
        assert says in reasons[0]


def test_ten_largest_days_do_not_decide(judged: evaluation.Evaluation) -> None:
    """A model that is good only on the ten largest days is refused, and so the decision stays without them."""
    best = judged.models[0]
    largest = np.argsort(judged.rows.units)[-promotion.LARGEST :]
    units = judged.rows.units.copy()
    units[largest] = 1e5
    others = np.random.default_rng(0).permutation(best.mean)
    mean = np.where(np.isin(np.arange(len(units)), largest), units, others)
    lucky = dataclasses.replace(
        best, mean=mean, median=mean, metrics=evaluation.metrics(units, mean, mean, mean * 0, units)
    )
    blown = dataclasses.replace(
        judged,
        rows=dataclasses.replace(judged.rows, units=units),
        models=[lucky],
        baselines=[
            dataclasses.replace(one, metrics=evaluation.metrics(units, one.mean, one.median))
            for one in judged.baselines
        ],
    )
    assert promotion._errors(lucky, blown, GATE) == []
    reasons = promotion.failures(lucky, blown, GATE)
    assert any("without the ten largest days" in reason for reason in reasons)


def test_gate_refuses_what_is_worse_than_the_champion(judged: evaluation.Evaluation) -> None:
    """A challenger may be worse than the champion by the slack, and no more."""
    champion = judged.models[0]
    assert promotion.worse(champion, champion, GATE) == []
    slower = decided(
        changed(champion, mae=champion.metrics.mae * 1.02, deviance=champion.metrics.deviance * 1.02), regret=0.02
    )
    assert [reason.split()[0] for reason in promotion.worse(slower, champion, GATE)] == ["mae", "deviance", "revenue"]
    assert promotion.worse(slower, champion, dataclasses.replace(GATE, slack=0.03)) == []


def test_worse_challenger_is_refused_with_the_table(root_small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A training whose best is worse than the champion leaves model.lock unchanged, and prints why."""
    before = (root_small / "model.lock").read_bytes()
    run, frame = registry.last_run(root_small)
    others = [digest for digest in run.models if digest not in before.decode()]
    registry.write_run(root_small, dataclasses.replace(run, models=others), frame)
    assert promotion.main(["--root", str(root_small)]) == 1
    said = capsys.readouterr()
    assert "is worse than the champion's" in said.err
    assert "| champion" in said.out
    assert (root_small / "model.lock").read_bytes() == before


def test_table_that_was_just_printed_is_not_printed_again(root_small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After an evaluation the promotion names its report; what differs from that, it prints."""
    assert report.main(["--root", str(root_small)]) == 0
    assert "| baseline |" in capsys.readouterr().out
    assert promotion.main(["--root", str(root_small)]) == 0
    said = capsys.readouterr().out
    assert f"evaluated again, with the result of {root_small / 'build/report.md'}" in said
    assert "| baseline |" not in said
    (root_small / "build/report.md").write_text("older")
    assert promotion.main(["--root", str(root_small)]) == 0
    assert "| baseline |" in capsys.readouterr().out


def test_no_model_is_promoted_that_is_no_better_than_a_constant(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When sales have nothing to do with what went before, nothing is promoted."""
    noise = pd.read_csv(small, dtype=str).drop_duplicates(["invoicedate"])
    rng = np.random.default_rng(0)
    noise["quantity"] = rng.integers(1, 60, len(noise))
    noise["stockcode"] = rng.choice(["1", "2", "3", "4"], len(noise))
    noise.to_csv(tmp_path / "noise.csv", index=False)
    assert training.main(["--root", str(tmp_path), "--data", str(tmp_path / "noise.csv"), "--trials", "1"]) == 0
    assert promotion.main(["--root", str(tmp_path), "--gain", "10"]) == 1
    assert "below the best baseline's" in capsys.readouterr().err
    assert not (tmp_path / "model.lock").exists()


def test_only_one_that_passes_has_no_backup(root_small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that doesn't pass the gate is not the backup, and a warning says so."""
    run, frame = registry.last_run(root_small)
    registry.write_run(root_small, dataclasses.replace(run, models=run.models[:1]), frame)
    (root_small / "model.lock").unlink()
    assert promotion.main(["--root", str(root_small)]) == 0
    assert "no backup" in capsys.readouterr().out
    assert [model.role for model in artifact.load(root_small)] == ["primary"]


@pytest.fixture(scope="module")
def own(trained: Path, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a champion, and then trained on other data, which have a new product and markup in their names."""
    root = tmp_path_factory.mktemp("own") / "root"
    shutil.copytree(trained, root)
    frame = pd.read_csv(small, dtype=str)
    frame = frame.assign(
        stockcode=frame["stockcode"].replace("85111", "99999"), description="<script>alert(1)</script>"
    )
    frame.to_parquet(root / "own.parquet")
    assert training.main(["--root", str(root), "--data", str(root / "own.parquet"), "--trials", "1"]) == 0
    return root


def test_champion_of_other_products_is_judged_on_the_same_days(own: Path) -> None:
    """A champion knows levels, not products, so it is compared on new ones too; without the truth there is no regret."""
    found, run = evaluation.load(own)
    judged = evaluation.evaluate(found, evaluation.challengers(own, run), own)
    assert judged.champion is not None
    assert set(judged.rows.code) == {"99999", "85222", "85333"}
    assert all(one.decisions is not None and one.decisions.regret is None for one in judged.models)
    assert "The truth is not known for this data" in report.page(judged)


def test_table_is_there_for_programs_too(root_small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--json`` the same metrics come as one document."""
    assert report.main(["--root", str(root_small), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    lock = tomllib.loads((root_small / "model.lock").read_text())
    assert found["data"] == lock["data"]["digest"]
    (champion,) = [model for model in found["models"] if model["role"] == "champion"]
    assert champion["digest"] == lock["primary"]["digest"]
    assert champion["mae"] == pytest.approx(lock["primary"]["metrics"]["mae"], abs=1e-3)
    assert champion["rmse"] == pytest.approx(lock["primary"]["metrics"]["rmse"], abs=1e-3)
    assert [model["kind"] for model in found["models"] if model["role"] == "baseline"] == [
        "median",
        "trimmed mean",
        "last 20 days with a sale",
        "last month's mean",
        "same weekday",
    ]


@pytest.mark.parametrize("call", [promotion.main, report.main])
def test_without_a_training_there_is_nothing_to_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], call: object
) -> None:
    """Both report it in one line."""
    assert call(["--root", str(tmp_path)]) == 1  # type: ignore[operator]
    assert capsys.readouterr().err == "✗ nothing has been trained yet\n"


def test_report_is_whole_and_escapes_what_it_is_given(own: Path) -> None:
    """The page has the table and every plot, is self-contained, and escapes markup in the data."""
    assert report.main(["--root", str(own)]) == 0
    page = (own / "build/report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert page.count('<svg class="plot"') == 3 + 2 * 3
    assert [page.count(f"<tr><td>{code}") for code in ("99999", "85222", "85333")] == [1, 1, 1]
    assert "<!--" not in page
    assert "http" not in page
    assert (own / "build/report.md").read_text().startswith("| model |")
