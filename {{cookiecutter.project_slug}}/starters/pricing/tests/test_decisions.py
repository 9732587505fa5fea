"""Decisions: a price changes only when it earns more for certain, by a step at most, within what was seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.decisions import Decision, Rules, Why, decide
from service.elasticity import Reason


def decided(elasticity: float, error: float = 0.1, rules: Rules | None = None, **more: Any) -> Decision:
    known = {"low": 5.0, "high": 20.0, "orders": 4.0, "reference": 10.0, **more}
    return decide(10.0, elasticity=elasticity, error=error, rules=rules or Rules(), **known)


def test_revenue_decides() -> None:
    """Elastic demand asks for a lower price, inelastic for a higher one; near -1 the current price is the best."""
    assert decided(-2.0).price == pytest.approx(9.0)
    assert decided(-0.5).price == pytest.approx(11.0)
    assert decided(-1.0).why == Why.BEST.value
    assert decided(-2.0).capped


def test_no_change_when_the_gain_holds_zero() -> None:
    """With the same elasticity and a wide error the price stays, and an experiment is planned."""
    found = decided(-1.4, error=0.6)
    assert (found.price, found.why) == (10.0, Why.UNCERTAIN.value)
    assert found.gain[1] <= 0 < found.gain[0]
    assert found.experiment is not None


def test_margin_decides_where_the_cost_is_known() -> None:
    """A price that earns more revenue at a loss is not recommended."""
    assert decided(-1.6, cost=8.0).price > 10 > decided(-1.6).price


def test_abstention_keeps_the_price_and_plans_an_experiment() -> None:
    """The plan has as many orders as an independent formula asks for: two rates, 80 % power, 5 % level."""
    found = decided(0.0, reason=Reason.NOT_VARIED)
    assert (found.price, found.why, found.gain) == (10.0, "not-varied", (0.0, 0.0, 0.0))
    plan = found.experiment
    assert plan is not None
    assert (plan.low, plan.high) == (9.0, 11.0)
    rng = np.random.default_rng(1)
    half, ratio = plan.orders / 2, math.exp(-math.log(1.1 / 0.9))
    arms = [
        rng.negative_binomial(m / 0.5, 1 / 1.5, 4000) for m in (half * 2 / (1 + ratio), half * 2 * ratio / (1 + ratio))
    ]
    z = np.log(arms[0] / arms[1]) / np.sqrt(1.5 * (1 / arms[0] + 1 / arms[1]))
    assert (z > 1.96).mean() == pytest.approx(0.8, abs=0.04)
    assert decided(0.0, reason=Reason.NOT_VARIED, orders=0.0).experiment is None


def test_endings_are_kept() -> None:
    """With endings, a recommended price has one of them."""
    assert decided(-2.0, rules=Rules(0.1, (0.95, 0.49))).price == 9.49


@given(
    st.floats(-4, 1), st.floats(0.01, 2), st.floats(0.05, 1.0), st.floats(1.0, 3.0), st.floats(0.01, 0.3),
    st.sampled_from(list(Reason)),
)  # fmt: skip
def test_never_outside_what_was_seen_or_further_than_a_step(
    elasticity: float, error: float, low: float, high: float, step: float, reason: Reason
) -> None:
    """Whatever the elasticity is."""
    found = decided(elasticity, error, Rules(step), low=10 * low, high=10 * high, reason=reason)
    assert 10 * low - 1e-3 <= found.price <= 10 * high + 1e-3
    assert abs(found.price / 10 - 1) <= step + 1e-3
    assert found.price == 10 or found.gain[1] > 0
