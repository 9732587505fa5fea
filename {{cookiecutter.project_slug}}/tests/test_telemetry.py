"""A request's line of log is its metrics too, in the form that CloudWatch documents."""

from __future__ import annotations

import json

import pytest

from service import telemetry


def test_line_declares_what_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each metric that a line has is declared, with its unit, for the function; other members are only searchable."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "demand-pricing-production")
    line = json.loads(telemetry.line("info", path="/", Latency=1.5, ColdStarts=1))
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive == {
        "Namespace": telemetry.NAMESPACE,
        "Dimensions": [["Function"]],
        "Metrics": [{"Name": "Latency", "Unit": "Milliseconds"}, {"Name": "ColdStarts", "Unit": "Count"}],
    }
    assert line["Function"] == "demand-pricing-production"
    assert (line["Latency"], line["ColdStarts"], line["path"]) == (1.5, 1, "/")


def test_line_outside_lambda_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no function runs nothing is declared."""
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    assert json.loads(telemetry.line("info", Latency=1)) == {"level": "info", "Latency": 1}


def test_trace_is_the_root_of_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """API Gateway's header comes first, then Lambda's variable; only the root goes into the log."""
    root = "1-5759e988-bd862e3fe1be46a994272793"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-0-0;Sampled=0")
    assert telemetry.trace(f"Self=1-2-3;Root={root};Parent=53995c3f42cd8ad8;Sampled=1") == root
    assert telemetry.trace("") == "1-0-0"
    assert telemetry.trace("nonsense") == ""


def test_rank_is_even_for_values_like_those_that_are_known() -> None:
    """Among a known distribution, many equal values included, a fifth of the ranks falls into each fifth."""
    known = sorted([0.8] * 700 + [1.0] * 200 + [1.1, 1.2] * 50)
    ranks = [telemetry.rank(value, known) for value in known for _ in range(10)]
    for fifth in range(5):
        assert sum(fifth / 5 < rank <= (fifth + 1) / 5 for rank in ranks) / len(ranks) == pytest.approx(0.2, abs=0.02)
    assert telemetry.rank(0.5, known) == 0
    assert telemetry.rank(2.0, known) == 1
