"""One look at an A/B: the outcomes of both releases, counted, compared and judged by the rule."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from ml_delivery.experiments import outcomes
from ml_delivery.experiments.statistics import Sample, interval, split_evidence
from ml_delivery.records import Measured, Reading

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.experiments.outcomes import Outcomes
    from ml_delivery.records import Arm, Experiment, Rule, Verdict
    from ml_delivery.release.delivery import Delivery

__all__ = ["judge", "read"]

DAY = 86_400.0
# A right split is called wrong once in a thousand A/Bs: what follows, an end without a result, is costly, and a real fault, such as
# a release whose requests are lost, soon exceeds any such limit.
SPLIT_ALPHA = 0.001
# The confidence sequence holds for large samples: a release needs so many outcomes above 0, of which none makes up so much.
LEAST = 100
MOST_SHARE = 0.2
# Users who were answered by both releases, as a share: where each user is to have one, more of them means that it was not so.
MOST_CROSSED = 0.01


def read(delivery: Delivery, experiment: Experiment, file: Path | None) -> Reading:
    """Look once; changes nothing.

    Args:
        delivery: the environment.
        experiment: one whose traffic was split.
        file: the outcomes; None means the service's log.

    Raises:
        ConfigError: the file can't be used.
        CloudError: the cloud does not answer.
    """
    logged = () if file else delivery.deployer.logs(experiment.since)
    found = outcomes.of_file(file, experiment) if file else outcomes.of_log(logged, experiment)
    units, now = {}, time.time()
    for arm in (experiment.control, experiment.challenger):
        units[arm.release] = len(found.values[arm.release])
        # Metrics can be late, outcomes can't be more than requests; before ``since`` there is nothing to count.
        if experiment.rule.count == "requests" and experiment.since <= now:
            measured = delivery.deployer.numbers(arm.deployed, experiment.since).requests
            units[arm.release] = max(measured, units[arm.release])
    return judge(experiment, found, units, now)


def judge(experiment: Experiment, found: Outcomes, units: dict[int, int], now: float) -> Reading:
    """What follows by the rule from these outcomes.

    Args:
        experiment: its rule and releases.
        found: the outcomes.
        units: how many requests or users each release had.
        now: seconds since 1970.
    """
    rule = experiment.rule
    control, before = _sample(experiment.control, found, units)
    challenger, after = _sample(experiment.challenger, found, units)
    evidence = split_evidence(control.count, challenger.count, rule.split / 100)
    low, high, share = None, None, 0.0
    positive = []
    for arm in (experiment.control, experiment.challenger):
        values = found.values[arm.release].values()
        positive.append(sum(value > 0 for value in values))
        share = max(share, max(values, default=0.0) / (math.fsum(values) or 1.0))
    if min(positive) >= LEAST:
        low, high = interval(control, challenger, rule.alpha, rule.requests)
    over = control.count + challenger.count >= rule.requests or now >= experiment.at + rule.days * DAY
    verdict: Verdict
    if evidence >= -math.log(SPLIT_ALPHA):
        verdict = "ratio"
    elif rule.unit == "user" and found.crossed > MOST_CROSSED * len(found.users):
        verdict = "crossed"
    elif low is None or high is None:
        verdict = "no difference" if over else "too few"
    elif share > MOST_SHARE:
        verdict = "dominated"
    else:
        verdict = _decided(rule, low, high, control.mean, over)
    return Reading(
        at=now,
        verdict=verdict,
        control=before,
        challenger=after,
        low=low,
        high=high,
        evidence=evidence,
        crossed=found.crossed,
        share=share,
        earlier=found.earlier,
        unusable=found.unusable,
        over=over,
    )


def _decided(rule: Rule, low: float, high: float, mean: float, over: bool) -> Verdict:
    if low > 0:
        return "challenger"
    if high < 0:
        return "control"
    matters = rule.effect / 100 * mean
    if -matters < low and high < matters:
        return "negligible"
    return "no difference" if over else "undecided"


def _sample(arm: Arm, found: Outcomes, units: dict[int, int]) -> tuple[Sample, Measured]:
    values = found.values[arm.release]
    sample = Sample.of(values.values(), units[arm.release])
    total = math.fsum(values.values())
    deviation = math.sqrt(sample.variance)
    return sample, Measured(arm.release, sample.count, len(values), total, sample.mean, deviation)
