"""An A/B's statistics: seldom wrong however often one looks, usually right where there is a difference, honest otherwise."""

from __future__ import annotations

import math
from random import Random

import pytest
from revenue_stream import ALPHA, BUYS, MEDIAN, REQUESTS, SPREAD, compare, largest_evidence

from ml_delivery.experiments.outcomes import Outcomes
from ml_delivery.experiments.reading import LEAST, SPLIT_ALPHA, judge
from ml_delivery.experiments.statistics import Sample, interval, split_evidence
from ml_delivery.records import RUNNING, Arm, Experiment, Reading, Rule

RULE = Rule("revenue", "request", "requests", "two-sided", ALPHA, 5.0, 50, REQUESTS, 14)
EXPERIMENT = Experiment(1, RUNNING, RULE, Arm(1, "1"), Arm(2, "2"), "tests", at=0.0, since=1.0)


def test_no_effect_is_seldom_decided() -> None:
    """Without a difference, fewer than 5 % of the A/Bs show one at any of 80 looks; many more: ``benchmarks/ab_decisions.py``."""
    decided = [seed for seed in range(80) if compare(seed, 0.0).winner]
    assert len(decided) / 80 < ALPHA


def test_effect_of_ten_percent_is_usually_found() -> None:
    """With 10 % more revenue, at least 75 % of the A/Bs show it within 40,000 requests, and none shows the opposite."""
    winners = [compare(seed, 0.1).winner for seed in range(80)]
    assert winners.count("challenger") / 80 >= 0.75
    assert "control" not in winners


def test_split_is_tested_at_every_look() -> None:
    """A right split is not called wrong; one that is off by two percentage points always is."""
    limit = -math.log(SPLIT_ALPHA)
    assert max(largest_evidence(seed, 0.5) for seed in range(25)) < limit
    assert min(largest_evidence(seed, 0.52) for seed in range(8)) > limit
    assert max(largest_evidence(seed, 0.2, expected=0.2) for seed in range(8)) < limit


def test_interval_is_the_published_one() -> None:
    """Its half-width by the formula, written out for one case; it is tightest where it was planned to be."""
    sample = Sample(500, 2.0, 9.0)
    low, high = interval(sample, Sample(500, 3.0, 9.0), 0.05, 1000)
    rho2 = (5.991464547107979 + math.log(6.991464547107979)) / 1000
    width = 6.0 * math.sqrt(2 * (1000 * rho2 + 1) / (1e6 * rho2) * math.log(math.sqrt(1000 * rho2 + 1) / 0.05))
    assert (low, high) == (pytest.approx(1 - width), pytest.approx(1 + width))
    planned = [interval(sample, sample, 0.05, n)[1] for n in (100, 1000, 10_000)]
    assert planned[1] == min(planned)


def test_sample_counts_what_was_not_reported_as_zero() -> None:
    """Its mean and variance are those of the values and the zeros, large values included."""
    found = Sample.of([2.0, 4.0], 4)
    assert (found.count, found.mean, found.variance) == (4, 1.5, pytest.approx(2.75))
    assert Sample.of([1e9, 1e9], 2).variance == 0.0
    assert Sample.of([], 0) == Sample(0, 0.0, 0.0)


def test_evidence_is_the_ratio_of_likelihoods() -> None:
    """Nothing was seen: no evidence. A single request is none; 600 of 1000 are."""
    assert split_evidence(0, 0, 0.5) == pytest.approx(0.0)
    assert abs(split_evidence(1, 0, 0.3)) < 0.01
    assert split_evidence(400, 600, 0.5) > 7


def outcomes(seed: int, lift: float, size: int, arms: tuple[int, int] = (1, 2)) -> Outcomes:
    random, found = Random(seed), Outcomes({arm: {} for arm in arms})
    for number in range(size):
        arm = number % 2
        value = random.lognormvariate(MEDIAN, SPREAD) * (1 + lift * arm) if random.random() < BUYS else 0.0
        found.values[arms[arm]][f"r{number}"] = value
    return found


def read(found: Outcomes, units: dict[int, int] | None = None, now: float = 2.0, **rule: object) -> Reading:
    fields = {name: getattr(RULE, name) for name in RULE.__dataclass_fields__} | rule
    experiment = Experiment(1, RUNNING, Rule(**fields), Arm(1, "1"), Arm(2, "2"), "tests", 0.0, 1.0)  # type: ignore[arg-type]
    return judge(experiment, found, units or {arm: len(values) for arm, values in found.values.items()}, now)


def test_verdicts() -> None:
    """Each verdict follows from what was measured, in both directions."""
    assert read(outcomes(1, 0.5, 20_000)).verdict == "challenger"
    assert read(outcomes(1, -0.5, 20_000)).verdict == "control"
    small = read(outcomes(1, 0.0, 4_000))
    assert (small.verdict, small.over) == ("undecided", False)
    assert small.low is not None
    assert small.high is not None
    assert small.low < 0 < small.high
    assert read(outcomes(1, 0.5, 100)).verdict == "too few"
    assert read(outcomes(1, 0.0, 20_000), effect=60.0).verdict == "negligible"


def test_no_difference_is_said_when_the_limits_are_used_up() -> None:
    """By requests or by days, whichever is first; a difference that is shown at that look still counts."""
    assert read(outcomes(1, 0.0, 4_000), requests=4_000).verdict == "no difference"
    assert read(outcomes(1, 0.0, 4_000), now=15 * 86_400.0).verdict == "no difference"
    assert read(outcomes(1, 0.0, 100), now=15 * 86_400.0).verdict == "no difference"
    assert read(outcomes(1, 0.5, 20_000), now=15 * 86_400.0).verdict == "challenger"


def test_data_that_cannot_be_used_decide_nothing() -> None:
    """A split that is off, users who were answered by both, and one outcome that outweighs the others."""
    good = outcomes(1, 0.5, 20_000)
    assert read(good, {1: 10_000, 2: 11_000}).verdict == "ratio"
    assert read(good, {1: 16_000, 2: 4_000}, split=20).verdict == "challenger"
    good.crossed, good.users = 200, {f"u{number}": {1} for number in range(1000)}
    assert read(good).verdict == "challenger"  # by request, it is what was to be expected
    assert read(good, unit="user", count="outcomes").verdict == "crossed"
    heavy = outcomes(1, 0.0, 4_000)
    heavy.values[2]["r1"] = 1e9
    assert read(heavy).verdict == "dominated"


def test_reading_counts_units() -> None:
    """Those without an outcome are in the mean and in the deviation; the limit is of both releases together."""
    found = Outcomes({1: {f"a{n}": 2.0 for n in range(LEAST)}, 2: {f"b{n}": 2.0 for n in range(LEAST)}})
    reading = read(found, {1: 400, 2: 400})
    assert (reading.control.units, reading.control.reported, reading.control.mean) == (400, LEAST, 0.5)
    assert reading.control.deviation == pytest.approx(math.sqrt(0.75))
    assert read(found, {1: 20_000, 2: 20_000}).over
    assert not read(found, {1: 19_999, 2: 20_000}).over
