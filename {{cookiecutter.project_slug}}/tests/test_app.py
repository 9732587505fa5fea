"""The application, asked as its users ask it."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import artifact
from service.app import create_app

PRODUCT = "85111"


def test_predicts_sales_and_revenue_per_price(client: FlaskClient) -> None:
    """Each price comes with its sales and revenue, and the recommended one earns most."""
    answer = client.get(f"/v1/predict-price/{PRODUCT}?bins=7")
    assert answer.status_code == 200
    found = answer.get_json()
    assert len(found["bins"]) == 7
    assert found["recommended"] == max(found["bins"], key=lambda b: b["revenue"])
    assert found["bins"][0]["sales"] > found["bins"][-1]["sales"]
    assert found["model"]["role"] == "primary"


def test_price_range_is_the_callers(client: FlaskClient) -> None:
    """``low``, ``high`` and ``bins`` set the prices that are tried."""
    found = client.get(f"/v1/predict-price/{PRODUCT}?low=10&high=12&bins=3&date=2026-01-31").get_json()
    assert [b["price"] for b in found["bins"]] == [10, 11, 12]


@pytest.mark.parametrize(
    "query",
    [
        "low=0",
        "low=-1",
        "high=nan",
        "high=inf",
        "low=x",
        "low=5&high=5",
        "bins=1",
        "bins=1001",
        "bins=2.5",
        "date=soon",
    ],
)
def test_bad_parameters_are_problems(client: FlaskClient, query: str) -> None:
    """A wrong parameter is 400 with a problem document that says what it must be."""
    answer = client.get(f"/v1/predict-price/{PRODUCT}?{query}")
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert "must be" in answer.get_json()["detail"]


def test_unknown_product_and_path_are_404(client: FlaskClient) -> None:
    """What isn't there is 404 as a problem document, never 200 with nothing in it."""
    for path in ("/v1/predict-price/none", "/nowhere"):
        answer = client.get(path)
        assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


def test_version_names_release_and_model(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``/version`` answers the release's number, commit, model and content."""
    built = {"commit": "c" * 40, "version": "v", "model": "m", "content": "sha256:1"}
    (root / "release.json").write_text(json.dumps(built))
    monkeypatch.setenv("RELEASE_NUMBER", "12")
    said = create_app().test_client().get("/version").get_json()
    digest = artifact.load(root)[0].digest
    assert said == {"release": 12, "commit": "c" * 40, "version": "v", "model": digest, "content": "sha256:1"}


def test_backup_answers_when_the_primary_fails(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A primary that fails is replaced by the backup, in the answer and in the log; if both fail it is 503."""
    client = create_app().test_client()
    whole = artifact.Model.sales
    broken = {"primary"}

    def sales(self: artifact.Model, features: object) -> object:
        if self.role in broken:
            raise artifact.ModelFault("broken")
        return whole(self, features)  # type: ignore[arg-type]

    monkeypatch.setattr(artifact.Model, "sales", sales)
    assert client.get(f"/v1/predict-price/{PRODUCT}").get_json()["model"]["role"] == "backup"
    assert "the backup answered" in capsys.readouterr().out
    broken.add("backup")
    assert client.get(f"/v1/predict-price/{PRODUCT}").status_code == 503


@pytest.mark.parametrize("harm", ["altered", "missing", "not a model"])
def test_model_that_is_not_the_promoted_one_stops_the_start(root: Path, harm: str) -> None:
    """An altered, missing or unreadable model is found when the process starts, not at a request."""
    lock = root / "model.lock"
    file = sorted((root / "models").iterdir())[0]
    if harm == "missing":
        file.unlink()
    else:
        old = artifact.hashlib.sha256(file.read_bytes()).hexdigest()
        file.write_bytes(b"no onnx")
        if harm == "not a model":
            lock.write_text(lock.read_text().replace(old, artifact.hashlib.sha256(b"no onnx").hexdigest()))
    with pytest.raises(artifact.ModelFault, match=file.name):
        create_app()


def test_without_a_lock_the_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that no model.lock stands above says that a model must be trained."""
    monkeypatch.setattr(artifact, "__file__", str(tmp_path / "service/artifact.py"))
    with pytest.raises(artifact.ModelFault, match="train a model first"):
        artifact.find_root()


def test_log_is_one_json_line_per_request(client: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    """Each request is logged as JSON with its status, release and model."""
    client.get(f"/v1/predict-price/{PRODUCT}")
    line = json.loads(capsys.readouterr().out)
    assert (line["status"], line["path"], line["Release"]) == (200, f"/v1/predict-price/{PRODUCT}", 0)
    assert line["model"].startswith("sha256:")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    code=st.text(max_size=8),
    query=st.dictionaries(st.sampled_from(["low", "high", "bins", "date", "x"]), st.text(max_size=6), max_size=4),
)
def test_no_input_makes_a_500(client: FlaskClient, code: str, query: dict[str, str]) -> None:
    """Whatever is asked, the answer is a result or a problem of the caller's."""
    answer = client.get("/v1/predict-price/" + quote(code, safe=""), query_string=query)
    assert answer.status_code in (200, 308, 400, 404, 405)
