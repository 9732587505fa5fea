"""The metrics of a prediction."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service import artifact, pricing, telemetry
from service.app import create_app

PRODUCT = "85111"


def test_rank_is_even_for_values_like_those_that_are_known() -> None:
    """Among a known distribution, many equal values included, a fifth of the ranks falls into each fifth."""
    known = sorted([0.8] * 700 + [1.0] * 200 + [1.1, 1.2] * 50)
    ranks = [telemetry.rank(value, known) for value in known for _ in range(10)]
    for fifth in range(5):
        assert sum(fifth / 5 < rank <= (fifth + 1) / 5 for rank in ranks) / len(ranks) == pytest.approx(0.2, abs=0.02)
    assert telemetry.rank(0.5, known) == 0
    assert telemetry.rank(2.0, known) == 1


def test_recommendations_of_a_fresh_model_have_not_drifted(root: Path) -> None:
    """The recommendations of a model today, for its own products, are among its recommendations in training."""
    models = artifact.load(root)
    primary = models[0]
    assert len(primary.recommended) == 101
    ranks = []
    for code, product in primary.products.items():
        for day in (date(2026, 1, 5), date(2026, 6, 10), date(2026, 10, 16)):
            found = pricing.quote(models, code, day, None, None, 20)
            share = round(found["recommended"]["price"] / product["price"], 3)
            ranks += [telemetry.rank(share, primary.recommended) for _ in range(10)]
    shares = [sum(i / 5 < rank <= (i + 1) / 5 for rank in ranks) / len(ranks) for i in range(5)]
    index = sum((share - 0.2) * math.log(max(share, 0.001) / 0.2) for share in shares)
    assert index < 0.25, shares


def test_prediction_is_measured(client: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    """The log line of a prediction has the model that answered, the expected sales, the recommended price and its rank."""
    client.get("/v1/products")
    client.get("/v1/predict-price/85111?date=2026-01-30")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["ColdStarts"], second["ColdStarts"]) == (1, 0)
    assert "RecommendedPrice" not in first
    assert second["BackupUsed"] == 0
    assert second["PredictedSales"] > 0
    assert 0 <= second["RecommendedPriceRank"] <= 1


@pytest.mark.parametrize(
    "query", ["low=1e-300", "high=999999999", "low=1e-9&high=999999999&bins=1000", "low=99999&high=100000"]
)
def test_range_of_a_caller_moves_no_metric(client: FlaskClient, capsys: pytest.CaptureFixture[str], query: str) -> None:
    """Whatever range is asked for, what is measured is the decision of training, so that no caller can set off an alarm."""
    assert client.get("/v1/predict-price/85111?date=2026-01-30").status_code == 200
    assert client.get(f"/v1/predict-price/85111?date=2026-01-30&{query}").status_code == 200
    usual, absurd = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    for name in ("PredictedSales", "RecommendedPrice", "BackupUsed"):
        assert usual[name] == absurd[name]
    assert 0 <= absurd["RecommendedPriceRank"] <= 1


def test_product_that_only_the_backup_knows_is_no_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The backup answers for it, and that isn't counted as a failure of the primary, whose alarm it would set off."""
    primary, backup = artifact.load()
    fewer = {code: product for code, product in primary.products.items() if code != PRODUCT}
    monkeypatch.setattr(artifact, "load", lambda: [replace(primary, products=fewer), backup])
    client = create_app().test_client()
    body = {"instances": [{"stockcode": PRODUCT, "price": 10}]}
    for method, path in (("GET", f"/v1/predict-price/{PRODUCT}"), ("POST", "/v1/predict")):
        answer = client.open(path, method=method, json=body if method == "POST" else None)
        assert answer.get_json()["model"]["role"] == "backup"
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["BackupUsed"] == 0
