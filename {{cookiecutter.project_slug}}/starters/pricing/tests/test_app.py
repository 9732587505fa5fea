"""The application, through its HTTP API."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_service import models, release
from service import artifact, market
from service.app import create_app

PRODUCT = "85111"


def test_predicts_sales_and_revenue_per_price(client: FlaskClient) -> None:
    """Each price comes with its sales and revenue and their intervals; the recommended price is within a step of the current."""
    answer = client.get(f"/v1/predict-price/{PRODUCT}?bins=7")
    assert answer.status_code == 200
    found = answer.get_json()
    assert len(found["bins"]) == 7
    now, best = found["current"], found["recommended"]
    assert abs(best["price"] / now["price"] - 1) <= 0.1 + 1e-3
    assert found["change"] == (best["price"] != now["price"]) == (found["why"] == "gain")
    assert best["revenue"] >= now["revenue"]
    assert found["elasticity"]["low"] < found["elasticity"]["value"] < found["elasticity"]["high"] < 0
    assert all(b["sales_low"] <= b["sales"] <= b["sales_high"] for b in found["bins"])
    assert [step["quantity"] for step in found["breaks"]] == [12, 32]
    assert found["bins"][0]["sales"] > found["bins"][-1]["sales"]
    assert found["model"]["role"] == "primary"


def test_price_range_is_the_callers(client: FlaskClient) -> None:
    """``low``, ``high`` and ``bins`` set the prices that are tried."""
    found = client.get(f"/v1/predict-price/{PRODUCT}?low=10&high=12&bins=3&date=2026-01-31").get_json()
    assert [b["price"] for b in found["bins"]] == [10, 11, 12]


def test_what_is_not_known_is_said(client: FlaskClient) -> None:
    """A product whose price never varied keeps it, has one bin, no elasticity, the reason, and an experiment."""
    fixed = next(p for p in market.products(7) if p.policy is market.Policy.FIXED)
    found = client.get(f"/v1/predict-price/{fixed.stockcode}?bins=50").get_json()
    assert (found["change"], found["why"], found["elasticity"], len(found["bins"])) == (False, "not-varied", None, 1)
    assert found["recommended"] == found["current"] == found["bins"][0]
    assert found["experiment"]["orders"] > 0
    asked = {"instances": [{"stockcode": fixed.stockcode, "price": price} for price in (fixed.price, fixed.price * 2)]}
    predictions = client.post("/v1/predict", json=asked).get_json()["predictions"]
    assert [one["basis"] for one in predictions] == ["learned", "unknown"]
    assert predictions[0]["sales"] == predictions[1]["sales"]


def test_far_prices_are_marked_and_not_recommended(client: FlaskClient) -> None:
    """A range up to 10,000 changes no recommendation, and its prices are marked as outside of what was seen."""
    usual = client.get(f"/v1/predict-price/{PRODUCT}?date=2026-01-31").get_json()
    far = client.get(f"/v1/predict-price/{PRODUCT}?high=10000&date=2026-01-31").get_json()
    assert far["recommended"] == usual["recommended"]
    assert far["bins"][-1]["outside"]
    assert not far["bins"][0]["outside"]
    assert not usual["bins"][-1]["outside"]


@pytest.mark.parametrize(
    "query",
    [
        "low=0",
        "low=-1",
        "high=nan",
        "high=inf",
        "low=x",
        "bins=1",
        "bins=1001",
        "bins=2.5",
        "bins=" + "9" * 5000,
        "date=soon",
        "date=20260131",
        "lowest=1",
    ],
)
def test_bad_parameters_are_problems(client: FlaskClient, query: str) -> None:
    """A wrong parameter is 400 with a problem document that says what it must be."""
    answer = client.get(f"/v1/predict-price/{PRODUCT}?{query}")
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert "must be" in answer.get_json()["detail"]


def test_low_above_high_is_no_range(client: FlaskClient) -> None:
    """An empty range is 422: each bound is a price, but the lower one is not below the upper one."""
    for query in ("low=5&high=5", "low=1000000"):
        answer = client.get(f"/v1/predict-price/{PRODUCT}?{query}")
        assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
        assert "must be below high" in answer.get_json()["detail"]


def test_batch_is_answered_in_its_order(client: FlaskClient) -> None:
    """A batch gives each instance the sales and revenue of a single request; SageMaker's path does the same."""
    instances = [
        {"stockcode": code, "price": price, "date": "2026-01-31"} for code, price in (("85222", 14), (PRODUCT, 12))
    ]
    answer = client.post("/v1/predict", json={"instances": instances})
    assert answer.status_code == 200
    found = answer.get_json()["predictions"]
    assert [(one["stockcode"], one["price"]) for one in found] == [("85222", 14), (PRODUCT, 12)]
    alone = client.get(f"/v1/predict-price/{PRODUCT}?low=12&high=13&bins=2&date=2026-01-31").get_json()["bins"][0]
    basis = "outside" if alone.pop("outside") else "learned"
    assert found[1] == {"stockcode": PRODUCT, **alone, "basis": basis}
    assert client.post("/invocations", json={"instances": instances}).data == answer.data


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ("{", 400, "could not"),
        ("[]", 400, "the body must be"),
        ('{"instances": []}', 400, "1 to 1000, not 0"),
        ('{"instances": [{"stockcode": "\\ud800", "price": 1}]}', 404, "there is no product \\ud800"),
        ('{"instances": [{"stockcode": "85111", "price": 1, "date": "\\udfff"}]}', 400, "date must be"),
        ('{"instances": [{"stockcode": "85111", "price": 1, "\\udfff": 1}]}', 400, "instances[0] must have"),
        ('{"\\ud800": []}', 400, "the body must be"),
        ('{"instances": [1]}', 400, "instances[0] must have a stockcode and a price"),
        ('{"instances": [{"stockcode": "85111", "price": 1, "x": 1}]}', 400, "instances[0] must have"),
        ('{"instances": [{"stockcode": 85111, "price": 1}]}', 400, "instances[0].stockcode must be a string"),
        ('{"instances": [{"stockcode": "85111", "price": true}]}', 400, "instances[0].price must be a number"),
        ('{"instances": [{"stockcode": "85111", "price": NaN}]}', 400, "instances[0].price must be a price"),
        (
            f'{{"instances": [{{"stockcode": "85111", "price": 1{"0" * 400}}}]}}',
            400,
            "instances[0].price must be a price",
        ),
        ('{"instances": [{"stockcode": "85111", "price": 1, "date": 3}]}', 400, "instances[0].date must be a string"),
        ('{"instances": [{"stockcode": "none", "price": 1}]}', 404, "there is no product none"),
        ("[" * 100_000, 400, "nested"),
        (" " * 1_000_001, 413, "exceeds"),
    ],
)
def test_bad_bodies_are_problems(client: FlaskClient, body: str, status: int, says: str) -> None:
    """A wrong body is refused with the place of the error and what must be there."""
    answer = client.post("/v1/predict", data=body, content_type="application/json")
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert says in answer.get_json()["detail"]


def test_body_that_is_not_json_and_wrong_methods_are_problems(client: FlaskClient) -> None:
    """415 and 405 are problem documents too; 405 says what is allowed."""
    assert client.post("/v1/predict", data="a,b", content_type="text/csv").status_code == 415
    answer = client.delete("/v1/products")
    assert (answer.status_code, answer.content_type) == (405, "application/problem+json")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_ready_means_that_a_model_answers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``/readyz`` and SageMaker's ``/ping`` predict; ``/healthz`` only says that the process lives."""
    client = create_app().test_client()
    for path in ("/readyz", "/ping"):
        assert client.get(path).get_json()["model"]["role"] == "primary"

    def broken(self: artifact.Model, rows: object) -> object:
        raise artifact.ModelFault("broken")

    monkeypatch.setattr(artifact.Model, "ratio", broken)
    assert [client.get(path).status_code for path in ("/readyz", "/ping", "/healthz")] == [503, 503, 200]


def test_debug_logs_what_was_asked(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With ``LOG_LEVEL=DEBUG`` the line of a request holds its query; otherwise it doesn't."""
    for level, shown in (("DEBUG", "bins=3"), ("INFO", None)):
        monkeypatch.setenv("LOG_LEVEL", level)
        create_app().test_client().get(f"/v1/predict-price/{PRODUCT}?bins=3")
        assert json.loads(capsys.readouterr().out).get("query") == shown


def test_cors_is_what_is_configured(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only pages of the configured origins may call the API from a browser; without any, none may."""
    path, mine = f"/v1/predict-price/{PRODUCT}", {"Origin": "https://shop.localhost"}
    assert "Access-Control-Allow-Origin" not in create_app().test_client().get(path, headers=mine).headers
    monkeypatch.setenv("CORS_ORIGINS", "https://shop.localhost, https://other.localhost")
    client = create_app().test_client()
    answer = client.get(path, headers=mine)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.localhost"
    assert answer.headers["Vary"] == "Origin"
    asked = {**mine, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = client.options("/v1/predict", headers=asked)
    assert preflight.status_code == 200
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Content-Type" in preflight.headers["Access-Control-Allow-Headers"]
    for origin in ("https://evil.localhost", "https://shop.localhost.evil.localhost", "null"):
        assert "Access-Control-Allow-Origin" not in client.get(path, headers={"Origin": origin}).headers
    monkeypatch.setenv("CORS_ORIGINS", "*")
    assert create_app().test_client().get(path, headers=mine).headers["Access-Control-Allow-Origin"] == mine["Origin"]


def test_page_may_run_its_own_script_only(client: FlaskClient) -> None:
    """The page's policy names its script and its style by digest, and nothing else."""
    answer = client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert answer.content_type == "text/html; charset=utf-8"
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_request_id_is_the_callers_or_a_new_one(client: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    """A request id from the caller is answered and logged if it is a plain name; otherwise a new one is made."""
    for sent, kept in (("order-17", True), ("a b", False), ("x" * 65, False), ("", False)):
        answer = client.get("/healthz", headers={"X-Request-Id": sent})
        line = json.loads(capsys.readouterr().out)
        assert line["request"] == answer.headers["X-Request-Id"]
        assert (line["request"] == sent) is kept


def test_fault_of_ones_own_is_a_problem_and_logged(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unexpected fault is answered with 500 and none of its details; the log has them, under the same request."""
    from service import pricing

    def broken(*_: object) -> object:
        raise RuntimeError("secret place")

    monkeypatch.setattr(pricing, "quote", broken)
    answer = client.get(f"/v1/predict-price/{PRODUCT}")
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert b"secret" not in answer.data
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert "RuntimeError: secret place" in first["traceback"]
    assert first["request"] == second["request"] == answer.get_json()["request"]
    assert second["Failures"] == 1


def test_unknown_product_and_path_are_404(client: FlaskClient) -> None:
    """What isn't there is 404 as a problem document, never 200 with nothing in it."""
    for path in ("/v1/predict-price/none", "/nowhere"):
        answer = client.get(path)
        assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


def test_version_names_release_and_model(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``/version`` answers the release's number, commit, model and content."""
    built = {"commit": "c" * 40, "version": "v", "model": "m", "content": "sha256:1"}
    (root / "release.json").write_text(json.dumps(built))
    monkeypatch.setattr(release, "__file__", str(root / "ml_service/release.py"))
    monkeypatch.setenv("RELEASE_NUMBER", "12")
    said = create_app().test_client().get("/version").get_json()
    digest = artifact.load()[0].digest
    assert said == {"release": 12, "commit": "c" * 40, "version": "v", "model": digest, "content": "sha256:1"}


def test_backup_answers_when_the_primary_fails(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A primary that fails is replaced by the backup, in the answer and in the log; if both fail it is 503."""
    client = create_app().test_client()
    whole = artifact.Model.ratio
    broken = {"primary"}

    def sales(self: artifact.Model, features: object) -> object:
        if self.role in broken:
            raise artifact.ModelFault("broken")
        return whole(self, features)  # type: ignore[arg-type]

    monkeypatch.setattr(artifact.Model, "ratio", sales)
    assert client.get(f"/v1/predict-price/{PRODUCT}").get_json()["model"]["role"] == "backup"
    warning, line = capsys.readouterr().out.splitlines()
    assert "the backup answered" in warning
    assert json.loads(line)["BackupUsed"] == 1
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
        old = hashlib.sha256(file.read_bytes()).hexdigest()
        file.write_bytes(b"no onnx")
        if harm == "not a model":
            lock.write_text(lock.read_text().replace(old, hashlib.sha256(b"no onnx").hexdigest()))
    with pytest.raises(artifact.ModelFault, match=file.name):
        create_app()


def test_without_a_lock_the_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a model.lock above the package, the error says that a model must be trained."""
    monkeypatch.setattr(models, "__file__", str(tmp_path / "ml_service/models.py"))
    with pytest.raises(artifact.ModelFault, match="train a model first"):
        models.find_root()


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
    """Every request is answered with a result or with an error of the caller, never with 500."""
    answer = client.get("/v1/predict-price/" + quote(code, safe=""), query_string=query)
    assert answer.status_code in (200, 308, 400, 404, 405, 422)
