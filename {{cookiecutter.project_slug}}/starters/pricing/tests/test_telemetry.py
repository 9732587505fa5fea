"""The metrics of a prediction."""

from __future__ import annotations

import json
import math
from datetime import date
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service import artifact, pricing, telemetry


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
