"""What holds for any model: it is trained, evaluated, promoted through a gate, and served as a deploy expects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import words

from ml_service import models
from service import evaluation, promotion, training
from service.app import create_app


def test_training_again_gives_the_same_model(root: Path) -> None:
    """The same data give the same bytes, so a second training promotes the same digest."""
    digest = models.load(root)[0].digest
    training.main(words("train"))
    promotion.main(words("promote"))
    assert models.load(root)[0].digest == digest


def test_report_has_candidate_and_champion(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both are evaluated on the same examples, and the report is written."""
    evaluation.main(words("evaluate"))
    report = (root / "build/report.md").read_text()
    assert "| candidate | " in report
    assert "| champion | " in report
    assert report in capsys.readouterr().out


def test_gate_refuses(root: Path) -> None:
    """A model above the limit is refused, and model.lock stays as it was."""
    before = (root / "model.lock").read_text()
    with pytest.raises(SystemExit, match="✗ refused"):
        promotion.main([*words("promote"), "--max-error", "-1"])
    assert (root / "model.lock").read_text() == before


def test_nothing_to_judge_is_reported(root: Path) -> None:
    """A missing candidate, and missing data, are reported."""
    assert root
    training.CANDIDATE.unlink()
    with pytest.raises(SystemExit, match="nothing has been trained yet"):
        evaluation.main(words("evaluate"))
    with pytest.raises(SystemExit, match=r"none\.csv can't be used"):
        training.main(["--data", "none.csv"])


def test_health_and_version(root: Path) -> None:
    """The paths that a deploy calls are answered; a checkout is release 0."""
    client = create_app().test_client()
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    said = client.get("/version").get_json()
    assert set(said) == {"release", "commit", "version", "model", "content"}
    assert (said["release"], said["model"]) == (0, models.load(root)[0].digest)


def test_request_is_logged_and_unknown_path_is_a_problem(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each request is a line of JSON with its metrics; an error is a problem document."""
    assert root
    capsys.readouterr()
    answer = create_app().test_client().get("/nowhere")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
    line = json.loads(capsys.readouterr().out)
    assert (line["status"], line["Failures"], line["ColdStarts"]) == (404, 0, 1)
