"""The pricing starter as jobs divide it: its parts make the one-host training, and its notebook makes its dataset."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny import PRICING

from ml_delivery.jobs import notebook


def test_parts_of_two_hosts_are_the_training_of_one(promoted: Path, tmp_path: Path) -> None:
    """Each host trains its kinds with the digests of the one-host training; what is collected is the same record."""
    from service import registry, training

    merged = tmp_path / "merged"
    for host, kinds in (("one", "network"), ("two", "svr,lightgbm,elasticnet")):
        assert training.main(["--root", str(tmp_path / host), "--trials", "1", "--kinds", kinds]) == 0
        shutil.copytree(tmp_path / host / registry.FOLDER, merged / registry.FOLDER, dirs_exist_ok=True)
    one, two = ((tmp_path / host / registry.FOLDER / "data.parquet").read_bytes() for host in ("one", "two"))
    assert one == two
    assert training.main(["--root", str(merged), "--collect"]) == 0
    assert registry.last_run(merged)[0] == registry.last_run(promoted)[0]
    assert not list((merged / registry.FOLDER).glob("run-*.json"))


def test_parts_that_are_no_training_are_refused(
    promoted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No parts, a kind that is missing, a kind that does not exist: exit code 1 and the reason."""
    from service import registry, training

    assert training.main(["--root", str(tmp_path), "--collect"]) == 1
    assert "there are no parts of one training" in capsys.readouterr().err
    shutil.copytree(promoted / registry.FOLDER, tmp_path / registry.FOLDER)
    run = json.loads((tmp_path / registry.FOLDER / "run.json").read_text())
    run["models"] = run["models"][:1]
    (tmp_path / registry.FOLDER / "run-one.json").write_text(json.dumps(run))
    assert training.main(["--root", str(tmp_path), "--collect"]) == 1
    assert "a training has each of elasticnet, lightgbm, network, svr once" in capsys.readouterr().err
    assert training.main(["--root", str(tmp_path), "--kinds", "svr,trees"]) == 1
    assert "there is no trees" in capsys.readouterr().err


def test_shipped_notebook_makes_the_shipped_dataset(
    promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training on what the notebook made drops nothing more, and learns from the same rows as from the source."""
    from service import cleaning, dataset, registry

    monkeypatch.chdir(PRICING)
    monkeypatch.setenv("PYTHONPATH", str(PRICING / "src"))
    (tmp_path / "job.json").write_text(json.dumps({"notebook": "notebooks/prepare.py", "options": {"seed": 7}}))
    assert notebook.main(str(tmp_path / "job.json"), str(tmp_path)) == 0
    counted = json.loads((tmp_path / "manifest.json").read_text())
    found = dataset.load(str(tmp_path / "data.parquet"), 7, cleaning.NOT_PRODUCTS)
    assert len(found.transactions) == counted["rows"] > 1000
    assert found.digest == registry.last_run(promoted)[0].data


def test_a_trial_has_the_score_that_training_tunes_by(promoted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first values of a kind score the same in a trial as in the training; the spaces are those of training."""
    from service import models, registry, trial

    assert trial.main(["--spaces"]) == 0
    spaces = json.loads(capsys.readouterr().out)
    assert {kind: set(space) for kind, space in spaces.items()} == {k: set(v.space) for k, v in models.KINDS.items()}
    assert spaces["lightgbm"]["n_estimators"]["choices"] == [40, 60, 80, 100, 120, 140, 160, 180, 200]
    run, _ = registry.last_run(promoted)
    scores = {known["kind"]: known["score"] for _, known in (registry.read(promoted, digest) for digest in run.models)}
    assert trial.main(["--kind", "elasticnet"]) == 0
    assert float(capsys.readouterr().out.removeprefix("score=")) == pytest.approx(scores["elasticnet"], abs=1e-6)
    assert trial.main(["--kind", "elasticnet", "--alpha", "0.05"]) == 0
    assert float(capsys.readouterr().out.removeprefix("score=")) != pytest.approx(scores["elasticnet"], abs=1e-6)
    assert trial.main(["--kind", "elasticnet", "--beta", "1"]) == 1


def test_training_begins_with_tuned_values(tmp_path: Path) -> None:
    """What a tuning wrote is the first that training tries; a file that is none is refused."""
    from service import registry, training

    tuned = tmp_path / "tuned.json"
    tuned.write_text(json.dumps({"best": {"elasticnet": {"values": {"alpha": 0.05, "l1_ratio": 0.25}}}}))
    words = ["--root", str(tmp_path), "--trials", "1", "--kinds", "elasticnet", "--tuned", str(tuned)]
    assert training.main(words) == 0
    (record,) = (tmp_path / registry.FOLDER).glob("run-*.json")
    (digest,) = json.loads(record.read_text())["models"]
    assert registry.read(tmp_path, digest)[1]["parameters"] == {"alpha": 0.05, "l1_ratio": 0.25}
    tuned.write_text("{}")
    assert training.main(words) == 1
