"""The model is learned, judged, and promoted only if it passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_service import models
from service import data, evaluation, model, promotion, training

WORDS = ["--data", "data/trips.csv"]


def test_line_is_found() -> None:
    """From exact points the line through them is learned, and survives being written and read."""
    made = model.fit([(float(x), 3.0 + 2.0 * x) for x in range(10)])
    assert (made.start, made.pace) == (3.0, 2.0)
    assert model.decode(model.encode(made)) == made


def test_candidate_is_better_than_the_mean(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report compares both on trips that were not learned from."""
    assert evaluation.main(WORDS) == 0
    assert "| candidate |" in capsys.readouterr().out
    _, mine, baseline = evaluation.judge(root / "data/trips.csv")
    assert mine < baseline / 2
    assert "| mean |" in (root / "build/report.md").read_text()


def test_gate_refuses(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model above the limit is refused, and model.lock stays as it was."""
    before = (root / "model.lock").read_text()
    assert promotion.main([*WORDS, "--max_error", "0.1"]) == 1
    assert "✗ refused" in capsys.readouterr().err
    assert (root / "model.lock").read_text() == before


def test_nothing_trained_is_said(root: Path) -> None:
    """Without a candidate there is nothing to judge."""
    training.CANDIDATE.unlink()
    with pytest.raises(SystemExit, match="nothing has been trained yet"):
        evaluation.main(WORDS)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "kilometres,minutes\n1,x\n", "kilometres,minutes\n1,2\n"])
def test_data_that_can_not_be_used_is_refused(tmp_path: Path, text: str) -> None:
    """Missing columns, what is no number, and too little of it."""
    (tmp_path / "trips.csv").write_text(text)
    with pytest.raises(SystemExit, match=r"trips.csv"):
        data.read(tmp_path / "trips.csv")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"start": 1}', b'{"start": "x", "pace": 1}'])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    """A file that is no model stops the start."""
    with pytest.raises(models.ModelFault, match="can't be read"):
        model.decode(content)
