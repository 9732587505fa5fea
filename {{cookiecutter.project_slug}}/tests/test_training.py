"""Training: the models learn what is true, and the same training gives the same models."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from service import artifact, data, features, training


def test_lock_names_the_best_two_by_digest(trained: Path) -> None:
    """The primary is better than the backup, both are there, and nothing else is."""
    lock = tomllib.loads((trained / "model.lock").read_text())
    assert lock["primary"]["metrics"]["rmse"] <= lock["backup"]["metrics"]["rmse"]
    files = sorted(path.name for path in (trained / "models").iterdir())
    assert files == sorted(Path(lock[role]["file"]).name for role in ("primary", "backup"))


@pytest.mark.parametrize("hash_seed", ["1", "2", "3"])
def test_same_data_and_seed_give_the_same_models(trained: Path, tmp_path: Path, hash_seed: str) -> None:
    """Training in another process, with another hash seed, gives the same digests."""
    words = [sys.executable, "-m", "service.training", "--root", str(tmp_path), "--seed", "7"]
    environment = {
        "PYTHONPATH": str(Path(training.__file__).parent.parent),
        "PYTHONHASHSEED": hash_seed,
        "PATH": "/bin",
    }
    subprocess.run(words, check=True, env=environment, capture_output=True)
    assert (tmp_path / "model.lock").read_text() == (trained / "model.lock").read_text()


def test_recommended_prices_earn_nearly_the_best_revenue(trained: Path) -> None:
    """For at least nine of ten products the primary's best price earns 95 % of the best possible revenue."""
    from datetime import date

    from service import pricing

    models = artifact.load(trained)
    good = 0
    truth = data.products(7)
    for product in truth:
        found = pricing.quote(models, product.stockcode, date(2026, 1, 31), None, None, 100)

        def revenue(price: float, product: data.Product = product) -> float:
            return float(price * np.exp(product.elasticity * (price / product.price - 1)))

        within = np.clip(product.best_price, found.bins[0]["price"], found.bins[-1]["price"])
        good += revenue(found.recommended["price"]) >= 0.95 * revenue(float(within))
    assert good >= 0.9 * len(truth)


def test_no_model_is_promoted_that_is_no_better_than_the_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When sales have nothing to do with prices or seasons, the training says so and promotes nothing."""
    noise = data.generate(7, days=60)
    noise["quantity"] = np.random.default_rng(0).integers(1, 60, len(noise))
    monkeypatch.setattr(data, "generate", lambda seed: noise)
    assert training.main(["--root", str(tmp_path)]) == 1
    assert "no model beats the baselines" in capsys.readouterr().err
    assert not (tmp_path / "model.lock").exists()


def test_bad_data_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A CSV that can't be used ends the training with its reason and exit code 1."""
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    assert training.main(["--root", str(tmp_path), "--data", str(tmp_path / "bad.csv")]) == 1
    assert "lacks the columns" in capsys.readouterr().err


def test_a_csv_trains_as_generated_data_does(trained: Path, tmp_path: Path) -> None:
    """The same transactions, from a file, give models of the same quality."""
    data.generate(7).to_csv(tmp_path / "own.csv", index=False)
    assert training.main(["--root", str(tmp_path), "--data", str(tmp_path / "own.csv")]) == 0
    own, generated = (tomllib.loads((root / "model.lock").read_text()) for root in (tmp_path, trained))
    assert own["data"]["source"] == "own.csv"
    assert own["primary"]["metrics"] == generated["primary"]["metrics"]


def test_an_export_that_differs_is_refused(trained: Path) -> None:
    """The gate between a model and its ONNX form goes red when they disagree."""
    content = next((trained / "models").glob("*.onnx")).read_bytes()
    rows = features.matrix(*(np.array([v]) for v in (0, 1.0, 2, 3)))
    with pytest.raises(SystemExit, match="the export of x differs"):
        training._check_export("x", content, rows, np.array([10_000.0]))
