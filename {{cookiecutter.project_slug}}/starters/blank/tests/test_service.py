"""The example: its model and its answers. Replace this file together with ``model`` and ``app``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ml_service import models, outcomes, stages
from service import model, training
from service.app import create_app


def test_line_is_found() -> None:
    """The line through exact points is found, and is the same after it was written and read."""
    made = model.fit([(float(x), 3.0 + 2.0 * x) for x in range(10)])
    assert (made.start, made.pace) == (3.0, 2.0)
    assert model.decode(model.encode(made)) == made


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "kilometres,minutes\n1,x\n", "kilometres,minutes\n1,2\n"])
def test_data_that_can_not_be_used_is_refused(tmp_path: Path, text: str) -> None:
    """Missing columns, values that are not numbers, and too few examples are refused."""
    (tmp_path / "examples.csv").write_text(text)
    with pytest.raises(SystemExit, match=r"examples\.csv"):
        training.split(tmp_path / "examples.csv")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"start": 1}', b'{"start": "x", "pace": 1}'])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    """A file that is not a model stops the start."""
    with pytest.raises(models.ModelFault, match="can't be read"):
        model.decode(content)


def test_answers_with_minutes(root: Path) -> None:
    """A longer trip takes longer, and the answer names the model that made it."""
    client = create_app().test_client()
    near, far = (client.get(f"/v1/predict?kilometres={km}").get_json() for km in (1, 20))
    assert 0 < near["minutes"] < far["minutes"]
    assert near["model"] == models.load(root)[0].digest


@pytest.mark.parametrize("query", ["", "?kilometres=x", "?kilometres=nan", "?kilometres=-1", "?kilometres=1e9"])
def test_wrong_question_is_a_problem_document(root: Path, query: str) -> None:
    """A wrong request is refused with a problem document."""
    assert root
    answer = create_app().test_client().get(f"/v1/predict{query}")
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")


@pytest.mark.parametrize(
    ("stage", "path", "status"),
    [
        ("prod", "/prod/version", 200),
        ("prod", "/prod", 404),  # the application's own "/", which it has not
        ("prod", "/version", 200),
        ("prod", "/production/version", 404),
        ("$default", "/version", 200),
        ("$default", "/prod/version", 404),
    ],
)
def test_named_stage_is_no_part_of_the_path(root: Path, stage: str, path: str, status: int) -> None:
    """Below a stage of an HTTP API the service answers as without one."""
    assert root
    app = create_app()
    app.wsgi_app = stages.mounted(app.wsgi_app)  # type: ignore[method-assign]
    asked = app.test_client().get(path, environ_overrides={"apig_wsgi.request_context": {"stage": stage}})
    assert asked.status_code == status


def test_fault_is_logged_and_answered(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unexpected error is answered with 500 and none of its details, which are in the log."""
    assert root
    monkeypatch.setattr(model.Model, "predict", lambda *_: 1 / 0)
    assert create_app().test_client().get("/v1/predict?kilometres=1").status_code == 500
    fault, line = (json.loads(text) for text in capsys.readouterr().out.splitlines()[-2:])
    assert fault["message"].startswith("ZeroDivisionError")
    assert (line["status"], line["Failures"]) == (500, 1)


def test_outcomes_are_taken_for_the_release_that_answered(capsys: pytest.CaptureFixture[str]) -> None:
    """Each answer names its release; what came of it is written to the log, and what is no outcome is refused."""
    client = create_app().test_client()
    release = client.get("/v1/predict?kilometres=12.5").headers[outcomes.HEADER]
    assert release == "0"  # of a checkout
    assert client.post(outcomes.PATH, json={"request": "a", "release": 3, "revenue": 1.5}).status_code == 202
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"request": "a", "release": 3, "revenue": 1.5} in [line.get("outcome") for line in lines]
    assert client.post(outcomes.PATH, json={"request": "a", "release": 3, "revenue": -1}).status_code == 400
