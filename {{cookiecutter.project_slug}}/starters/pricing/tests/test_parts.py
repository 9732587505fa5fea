"""Training in parts, as hosts of a job do it, on prepared data, and with values that were tuned before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from service import cleaning, dataset, models, reading, registry, training, trial


@pytest.fixture(scope="module")
def prepared(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset as ``notebooks/prepare.py`` writes it."""
    frame, found = cleaning.clean(reading.read(str(small)))
    frame.attrs[dataset.PREPARED] = str(found)
    path = tmp_path_factory.mktemp("prepared") / "data.parquet"
    frame.to_parquet(path, index=False)
    return path


def test_prepared_data_are_not_cleaned_again(
    small: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have the same rows, by their digest, and say what was dropped; another Parquet file is cleaned."""
    raw, found = dataset.load(str(small), 7), dataset.load(str(prepared), 7)
    assert (found.digest, found.cleaning) == (raw.digest, raw.cleaning)
    reading.read(str(small)).to_parquet(tmp_path / "raw.parquet")
    with monkeypatch.context() as patched:  # one that was not prepared is read once, by ``reading``
        patched.setattr(pd, "read_parquet", None)
        assert dataset.load(str(tmp_path / "raw.parquet"), 7).digest == raw.digest
    (tmp_path / "none.parquet").write_text("not Parquet")
    with pytest.raises(reading.BadData, match="can't be read"):
        dataset.load(str(tmp_path / "none.parquet"), 7)


def test_parts_of_two_hosts_are_the_training_of_one(trained_small: Path, small: Path, tmp_path: Path) -> None:
    """Each host trains its kinds with the digests of the one-host training; what is collected is the same record."""
    merged = tmp_path / "merged"
    for host, kinds in (("one", "network"), ("two", "svr,lightgbm,elasticnet")):
        words = ["--root", str(tmp_path / host), "--trials", "1", "--data", str(small), "--kinds", kinds]
        assert training.main(words) == 0
        shutil.copytree(tmp_path / host / registry.FOLDER, merged / registry.FOLDER, dirs_exist_ok=True)
    one, two = ((tmp_path / host / registry.FOLDER / "data.parquet").read_bytes() for host in ("one", "two"))
    assert one == two
    assert training.main(["--root", str(merged), "--collect"]) == 0
    assert registry.last_run(merged)[0] == registry.last_run(trained_small)[0]
    assert not list((merged / registry.FOLDER).glob("run-*.json"))


def test_parts_that_are_no_training_are_refused(
    trained_small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No parts, a kind that is missing, a kind that does not exist: exit code 1 and the reason."""
    assert training.main(["--root", str(tmp_path), "--collect"]) == 1
    assert "there are no parts of one training" in capsys.readouterr().err
    shutil.copytree(trained_small / registry.FOLDER, tmp_path / registry.FOLDER)
    run = json.loads((tmp_path / registry.FOLDER / "run.json").read_text())
    (tmp_path / registry.FOLDER / "run-one.json").write_text(json.dumps({**run, "models": run["models"][:1]}))
    assert training.main(["--root", str(tmp_path), "--collect"]) == 1
    assert "a training has each of elasticnet, lightgbm, network, svr once" in capsys.readouterr().err
    assert training.main(["--root", str(tmp_path), "--kinds", "svr,trees"]) == 1
    assert "there is no trees" in capsys.readouterr().err


def test_a_trial_has_the_score_that_training_tunes_by(
    trained_small: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first values of a kind score the same in a trial as in the training; the spaces are those of training."""
    assert trial.main(["--spaces"]) == 0
    spaces = json.loads(capsys.readouterr().out)
    assert {kind: set(space) for kind, space in spaces.items()} == {k: set(v.space) for k, v in models.KINDS.items()}
    assert spaces["lightgbm"]["n_estimators"]["choices"] == [40, 60, 80, 100, 120, 140, 160, 180, 200]
    run, _ = registry.last_run(trained_small)
    scores = {
        known["kind"]: known["score"] for _, known in (registry.read(trained_small, digest) for digest in run.models)
    }
    data = ["--data", str(prepared)]
    for kind in ("elasticnet", "lightgbm"):
        assert trial.main(["--kind", kind, *data]) == 0
        assert float(capsys.readouterr().out.removeprefix("score=")) == pytest.approx(scores[kind], abs=1e-6)
    assert trial.main(["--kind", "elasticnet", *data, "--alpha", "0.05"]) == 0
    assert float(capsys.readouterr().out.removeprefix("score=")) != pytest.approx(scores["elasticnet"], abs=1e-6)
    assert trial.main(["--kind", "lightgbm", *data, "--num_leaves", "7", "--learning_rate", "0.1"]) == 0
    assert trial.main(["--kind", "svr", *data, "--components", "40"]) == 0
    for words, says in (
        (["--kind", "svr", *data, "--beta", "1"], "there is no --beta"),
        (["--kind", "svr", *data, "--components", "41"], "--components is one of 40, 80, 120, and not '41'"),
        (data, "--kind is missing"),
    ):
        assert trial.main(words) == 1
        assert says in capsys.readouterr().err


def test_training_begins_with_tuned_values(prepared: Path, tmp_path: Path) -> None:
    """What a tuning wrote is the first that training tries; a file that is none is refused."""
    tuned = tmp_path / "tuned.json"
    tuned.write_text(json.dumps({"best": {"elasticnet": {"values": {"alpha": 0.05, "l1_ratio": 0.25}}}}))
    words = ["--root", str(tmp_path), "--trials", "1", "--data", str(prepared), "--kinds", "elasticnet"]
    assert training.main([*words, "--tuned", str(tuned)]) == 0
    (record,) = (tmp_path / registry.FOLDER).glob("run-*.json")
    (digest,) = json.loads(record.read_text())["models"]
    assert registry.read(tmp_path, digest)[1]["parameters"] == {"alpha": 0.05, "l1_ratio": 0.25}
    for text in ("{}", '{"best": {"elasticnet": {"values": 3}}}'):
        tuned.write_text(text)
        assert training.main([*words, "--tuned", str(tuned)]) == 1
