"""Training: the same training gives the same models, whatever interrupts it; no held-out data leaks in."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from service import data, dataset, features, market, models, registry, training, tuning


def test_every_kind_is_kept_by_its_digest(trained: Path) -> None:
    """Each trained model is stored under its digest, with its parameters, its data's digest and the packages' versions."""
    run, _ = registry.last_run(trained)
    kinds = set()
    for digest in run.models:
        content, known = registry.read(trained, digest)
        assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert (known["data"], known["trials"], known["seed"]) == (run.data, 1, 7)
        assert {"lightgbm", "scikit-learn", "onnx"} <= set(known["versions"])
        kinds.add(known["kind"])
    assert kinds == set(models.KINDS)


def test_kept_models_that_were_altered_are_refused(root: Path) -> None:
    """An altered model, or altered data that it is evaluated on, is detected."""
    run, _ = registry.last_run(root)
    file = root / registry.FOLDER / f"{run.models[0].removeprefix('sha256:')[:12]}.onnx"
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(registry.Missing, match="was altered"):
        registry.read(root, run.models[0])
    market.generate(8, days=9).to_parquet(root / registry.FOLDER / "data.parquet")
    with pytest.raises(registry.Missing, match=r"data\.parquet was altered"):
        registry.last_run(root)


def test_same_data_and_seed_give_the_same_models(small: Path, tmp_path: Path) -> None:
    """Training twice gives the same digests; another seed gives others."""
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        words = ["--data", str(small), "--trials", "1", "--root", str(tmp_path / name), "--seed", seed]
        assert training.main(words) == 0
    first, second, third = (registry.last_run(tmp_path / name)[0] for name in "abc")
    assert first == second
    assert not set(first.models) & set(third.models)


def test_interrupted_tuning_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    """A study that was interrupted, twice, finds the same parameters after the same number of trials."""

    def tune(name: str, stop_at: int = 0) -> tuning.Tuned:
        tried = []

        def objective(parameters: dict[str, Any]) -> float:
            tried.append(parameters)
            if len(tried) == stop_at:
                raise KeyboardInterrupt
            return float((parameters["x"] - 0.3) ** 2)

        space: dict[str, Any] = {"x": FloatDistribution(0, 1)}
        options: dict[str, Any] = {"trials": 15, "seed": 7, "deadline": time.monotonic() + 600}
        return tuning.tune(tmp_path / name, objective, {"x": 1.0}, space, tell=lambda *_: None, **options)

    whole = tune("whole")
    for stop_at in (1, 9):
        with pytest.raises(KeyboardInterrupt):
            tune("broken", stop_at)
    found = tune("broken")
    assert (found.parameters, found.score, found.trials, found.new) == (whole.parameters, whole.score, 15, 7)


def test_seconds_cut_and_say_so(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A budget of no time still gives a model of each kind, with a warning."""
    words = ["--root", str(tmp_path), "--data", str(small), "--trials", "50", "--seconds", "0"]
    assert training.main(words) == 0
    assert capsys.readouterr().out.count("cut after 1 of 50 trials; another training continues from there") == len(
        models.KINDS
    )


def test_nothing_of_the_held_out_days_leaks() -> None:
    """With other sales, prices and names on the held-out days, the models are the same."""
    frame, _ = data.clean(market.generate(7))
    start = dataset.load("", 7).test.days[0]
    late = frame["invoicedate"] >= np.datetime64(start)
    rng = np.random.default_rng(1)
    changed = frame.assign(
        quantity=frame["quantity"].mask(late, rng.integers(1, 500, len(frame))),
        unitprice=frame["unitprice"].mask(late, rng.uniform(1, 99, len(frame))),
        description=frame["description"].mask(late, "changed"),
    )
    found = dataset.assemble(changed, "", "", 7)
    kind = models.KINDS["network"]
    score = training.objective(found, kind, 7)(kind.first)
    whole = dataset.load("", 7)
    assert score == training.objective(whole, kind, 7)(kind.first)
    assert found.products == whole.products
    assert (found.train.features(found.products) == whole.train.features(whole.products)).all()
    assert (found.train.sales == whole.train.sales).all()


def test_bad_data_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A CSV that can't be used ends the training with its reason and exit code 1."""
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    assert training.main(["--root", str(tmp_path), "--data", str(tmp_path / "bad.csv")]) == 1
    assert "lacks the columns" in capsys.readouterr().err
    assert not (tmp_path / ".pipeline").exists()


def test_an_export_that_differs_is_refused(trained: Path) -> None:
    """A model and an ONNX export that disagree fail the training."""
    content = registry.read(trained, registry.last_run(trained)[0].models[0])[0]
    rows = features.matrix(*(np.array([v]) for v in (0, 1.0, 2, 3)))
    with pytest.raises(training.ExportDiffers, match="the export of x differs"):
        training.check_export("x", content, rows, np.array([10_000.0]))


def test_preprocessing_is_inside_the_graph(trained: Path) -> None:
    """A served model takes plain features, and needs no operators that are newer than the oldest runtime."""
    for digest in registry.last_run(trained)[0].models:
        graph = onnx.load_from_string(registry.read(trained, digest)[0])
        assert [i.name for i in graph.graph.input] == ["features"]
        assert all(opset.version <= models.OPSET[opset.domain] for opset in graph.opset_import)
        assert graph.ir_version <= models.IR_VERSION


class TorchNetwork:
    """A model made with torch, behind the same interface; nothing else has to change."""

    def __init__(self, parameters: dict[str, Any], seed: int) -> None:
        torch = pytest.importorskip("torch")
        torch.manual_seed(seed)

        class Network(torch.nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.product = torch.nn.Embedding(12, 8)
                self.weekday = torch.nn.Embedding(7, 4)
                width = parameters["width"]
                self.layers = torch.nn.Sequential(
                    torch.nn.Linear(15, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU(),
                    torch.nn.Linear(width, 1),
                )  # fmt: skip

            def forward(self, rows: Any) -> Any:
                known = self.product(rows[:, 0].long()), self.weekday(rows[:, 2].long())
                return self.layers(torch.cat([*known, rows[:, 1:2], rows[:, 3:]], dim=1))

        self._torch, self._network = torch, Network()

    def fit(self, rows: Any, log_sales: Any) -> TorchNetwork:
        torch = self._torch
        inputs, wanted = torch.tensor(rows), torch.tensor(log_sales, dtype=torch.float32)[:, None]
        optimizer = torch.optim.Adam(self._network.parameters(), lr=1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(self._network(inputs), wanted).backward()
            optimizer.step()
        return self

    def predict(self, rows: Any) -> Any:
        with self._torch.no_grad():
            return self._network(self._torch.tensor(rows)).numpy().ravel().astype(np.float64)

    def graph(self) -> onnx.ModelProto:
        import io

        out = io.BytesIO()
        self._torch.onnx.export(
            self._network,
            (self._torch.zeros(2, len(features.NAMES)),),
            out,
            input_names=["features"],
            output_names=["log_sales"],
            dynamic_axes={"features": {0: "n"}, "log_sales": {0: "n"}},
            opset_version=models.OPSET[""],
            dynamo=False,
        )
        return onnx.load_from_string(out.getvalue())


def test_torch_model_is_trained_promoted_and_served(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch network behind the same interface is tuned, exported, promoted and served like any other."""
    pytest.importorskip("torch", reason="NOT TESTED: torch is not installed here")
    from service import promotion
    from service.app import create_app

    torch_kind = models.Kind(TorchNetwork, {"width": 32}, {"width": IntDistribution(16, 64)})
    monkeypatch.setattr(models, "KINDS", {"torch": torch_kind})
    (root / "model.lock").unlink()
    assert training.main(["--root", str(root), "--trials", "1"]) == 0
    assert promotion.main(["--root", str(root)]) == 0
    found = create_app().test_client().get("/v1/predict-price/85111").get_json()
    assert found["model"]["kind"] == "torch"
    assert found["bins"][0]["sales"] > found["bins"][-1]["sales"]
