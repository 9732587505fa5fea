"""The application, asked as its users and as Lambda ask it."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from ml_service import models
from service.app import create_app


@pytest.fixture
def client(root: Path) -> FlaskClient:
    assert root
    return create_app().test_client()


def test_answers_with_minutes(client: FlaskClient, root: Path) -> None:
    """A longer trip takes longer, and the answer names the model that made it."""
    near, far = (client.get(f"/v1/predict?kilometres={km}").get_json() for km in (1, 20))
    assert 0 < near["minutes"] < far["minutes"]
    assert near["model"] == models.load(root)[0].digest


@pytest.mark.parametrize(("query", "status"), [("", 400), ("?kilometres=x", 422), ("?kilometres=nan", 422)])
def test_wrong_question_is_a_problem_document(client: FlaskClient, query: str, status: int) -> None:
    """What can't be answered is refused with a problem document."""
    answer = client.get(f"/v1/predict{query}")
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert answer.get_json()["status"] == status


def test_health_and_version(client: FlaskClient) -> None:
    """The paths that a deploy asks are answered; a checkout is release 0."""
    assert client.get("/healthz").get_json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    said = client.get("/version").get_json()
    assert set(said) == {"release", "commit", "version", "model", "content"}
    assert said["release"] == 0


def test_fault_is_logged_and_answered(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fault of ours is a 500 without its details, which are in the log; each request is a line."""
    monkeypatch.setattr("service.model.Model.predict", lambda *_: 1 / 0)
    assert create_app().test_client().get("/v1/predict?kilometres=1").status_code == 500
    fault, line = (json.loads(text) for text in capsys.readouterr().out.splitlines()[-2:])
    assert fault["message"].startswith("ZeroDivisionError")
    assert (line["status"], line["Failures"], line["ColdStarts"]) == (500, 1, 1)


def test_lambda_gets_what_it_expects(root: Path) -> None:
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html"""
    sys.modules.pop("service.handler", None)
    http = {"method": "GET", "path": "/v1/predict", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"}
    event: dict[str, Any] = {"version": "2.0", "rawPath": "/v1/predict", "rawQueryString": "kilometres=3"}
    event |= {"headers": {"host": "localhost"}, "requestContext": {"http": http}, "isBase64Encoded": False}
    answer = importlib.import_module("service.handler").handler(event, None)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["minutes"] > 0
