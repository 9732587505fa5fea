"""What a price does is found where it is known, and nothing is found where there is nothing: three placebos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from service import cleaning, elasticity, market, panel
from service.elasticity import Reason


def panel_of(frame: pd.DataFrame) -> panel.Panel:
    return panel.make(cleaning.clean(frame)[0])


@pytest.fixture(scope="module")
def generated(clean: pd.DataFrame) -> panel.Panel:
    return panel.make(clean)


def placebo(policy: market.Policy, monkeypatch: pytest.MonkeyPatch, count: int = 24) -> elasticity.Found:
    """A market in which every price is set by ``policy``, and no demand sees it."""
    made = [replace(p, policy=policy, elasticity=0.0, demand=30.0, swing=0.5) for p in market.products(11, count)]
    monkeypatch.setattr(market, "products", lambda *_: made)
    return elasticity.estimate(panel_of(market.generate(11)))


def quiet(found: elasticity.Found) -> float:
    """The share of products that abstain, or whose elasticity is about zero."""
    return float(np.mean([one.reason is not Reason.LEARNED or abs(one.value) < 0.3 for one in found.each]))


def test_elasticities_are_recovered_where_they_can_be(generated: panel.Panel) -> None:
    """With breaks, campaigns, cancellations and all, nine of ten known elasticities are within 15 % of the truth."""
    off, inside = [], []
    for seed in (7, 8, 9):
        made = generated if seed == 7 else panel_of(market.generate(seed))
        found = dict(zip(made.codes.tolist(), elasticity.estimate(made).each, strict=True))
        for product in market.products(seed):
            own = found[product.stockcode]
            assert (own.reason is Reason.LEARNED) == (product.policy is market.Policy.VARIED), product
            if own.reason is Reason.LEARNED:
                truth = product.elasticity_at(made.price[made.codes.tolist().index(product.stockcode), -1])
                off.append(abs(own.value / truth - 1))
                inside.append(abs(own.value - truth) <= 1.6449 * own.error)
    assert len(off) == 24
    assert np.mean(np.array(off) <= 0.15) >= 0.9
    assert np.mean(inside) >= 0.75  # of 90 % intervals, one in 24 is 4 %


def test_reasons_name_what_is_wrong(generated: panel.Panel) -> None:
    """A fixed price did not vary; one that follows the season varied with time; one that follows demand is observational."""
    found = dict(zip(generated.codes.tolist(), elasticity.estimate(generated).each, strict=True))
    reasons = {product.policy: found[product.stockcode].reason for product in market.products(7)}
    assert reasons[market.Policy.FIXED] is Reason.NOT_VARIED
    assert reasons[market.Policy.SEASON] is Reason.WITH_TIME
    assert reasons[market.Policy.DEMAND] is Reason.OBSERVATIONAL
    assert reasons[market.Policy.RARE] in (Reason.TOO_FEW, Reason.NOT_VARIED, Reason.WITH_TIME)


def test_bulk_discounts_are_no_effect_of_the_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """Placebo: 10 and 20 % off from 12 and 32 units, and a list price that never moves."""
    found = placebo(market.Policy.FIXED, monkeypatch)
    assert quiet(found) >= 0.95
    assert {one.reason for one in found.each} == {Reason.NOT_VARIED}


@pytest.mark.parametrize("policy", [market.Policy.SEASON, market.Policy.DEMAND])
def test_prices_that_follow_season_or_demand_have_no_effect(
    policy: market.Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Placebo: prices are high when sales are, and no demand sees them."""
    assert quiet(placebo(policy, monkeypatch)) >= 0.95


def test_prices_of_another_product_have_no_effect(generated: panel.Panel) -> None:
    """Placebo: with prices exchanged between products, the catalogue's mean is within its error of zero."""
    price = np.roll(generated.price / generated.price[:, -1:], 1, axis=0) * generated.price[:, -1:]
    found = elasticity.estimate(replace(generated, price=price))
    assert abs(found.mean) < 3 * found.mean_error


def test_list_price_is_what_small_orders_pay(clean: pd.DataFrame, generated: panel.Panel) -> None:
    """Where most units are bought at a break, the list price is still the one without it, on every day; breaks are found."""
    fixed = next(p for p in market.products(7) if p.policy is market.Policy.FIXED)
    own = generated.price[generated.codes.tolist().index(fixed.stockcode)]
    assert (own == fixed.price).all()
    rows = clean[clean["stockcode"] == fixed.stockcode]
    found = panel.breaks(rows["quantity"].to_numpy(), rows["unitprice"].to_numpy() / fixed.price)
    assert [(b.quantity, b.ratio) for b in found] == list(market.BREAKS)


def test_windows_of_lines_are_those_of_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks and at the ends of products too, where windows are short."""
    monkeypatch.setattr(panel, "BLOCK", 64)
    rng = np.random.default_rng(3)
    group = np.sort(rng.integers(0, 12, 400))
    values = rng.choice([1.0, 1.25, 2.0, 3.5], 400)
    for quantile in (panel.ENVELOPE, 0.5):
        rolling = pd.Series(values).groupby(group).rolling(panel.WINDOW, center=True, min_periods=1)
        expected = rolling.quantile(quantile, interpolation="nearest").to_numpy()
        assert (panel._rolling(values, group, quantile) == expected).all()


def test_days_without_a_sale_are_in(generated: panel.Panel) -> None:
    """A product that hardly sells has a row on every open day; closed days are not in the panel."""
    rare = generated.codes.tolist().index(
        next(p.stockcode for p in market.products(7) if p.policy is market.Policy.RARE)
    )
    assert (generated.units[rare] == 0).mean() > 0.8
    assert not (((generated.days.astype(int) + 3) % 7) == market.CLOSED).any()


def test_pooling_draws_uncertain_estimates_to_the_mean() -> None:
    """A wide estimate moves to the common mean, a narrow one hardly; the error shrinks."""
    own = np.array([-1.0, -1.2, -0.8, -1.1, 5.0])
    error = np.array([0.05, 0.05, 0.05, 0.05, 3.0])
    value, after, _, (mean, _) = elasticity.pooled(own, error)
    assert abs(value[-1] - mean) < 0.2
    assert np.abs(value[:4] - own[:4]).max() < 0.03
    assert (after < error).all()
