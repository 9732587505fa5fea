"""An A/B as text, for ``invoke ab``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ml_delivery.experiments.reading import LEAST
from ml_delivery.records import STOPPING
from ml_delivery.release import words

if TYPE_CHECKING:
    from ml_delivery.records import Experiment, Measured, Reading, Rule

__all__ = ["lines", "reading", "remedy", "rule"]


def lines(one: Experiment) -> list[str]:
    """What is compared, and by which rule."""
    found = [f"{words.experiment(one)}, started by {one.who} on {_time(one.at)}", f"rule: {rule(one.rule)}"]
    if one.ended:
        winner = f"release {one.winner} got all traffic as the winner" if one.winner else "without a winner"
        found.append(f"ended on {_time(one.ended)}, {winner}{f': {one.cause}' if one.cause else ''}")
    return found


def rule(one: Rule) -> str:
    """What was decided before."""
    counted = f"{one.unit}s as the target counts them" if one.count == "requests" else f"{one.unit}s with an outcome"
    return (
        f"{one.metric} per {one.unit}, {one.hypothesis}, alpha {one.alpha:g}, {one.split} % of the traffic to the challenger; "
        f"differences from {one.effect:g} % matter; until {one.requests} {counted}, or {one.days} days"
    )


def reading(one: Reading, experiment: Experiment) -> list[str]:
    """What was measured, and what follows; a line for each."""
    made, unit = experiment.rule, experiment.rule.unit
    found = [_measured(measured, made) for measured in (one.control, one.challenger)]
    units = one.control.units + one.challenger.units
    if units:
        share = 100 * one.challenger.units / units
        found.append(
            f"{share:.1f} % of {units} {unit}s were release {one.challenger.release}'s; the split is {made.split} %"
        )
    if one.low is not None and one.high is not None:
        level, difference = 100 * (1 - made.alpha), one.challenger.mean - one.control.mean
        found.append(
            f"difference, release {one.challenger.release} - release {one.control.release}: {difference:+.4g} per {unit}, "
            f"{level:g} % confidence sequence {one.low:+.4g} to {one.high:+.4g}{_relative(one)}"
        )
    if one.crossed:
        found.append(f"{one.crossed} users were answered by both releases")
    if one.earlier:
        found.append(f"{one.earlier} outcomes of requests from before the A/B were left out")
    if one.unusable:
        found.append(f"{one.unusable} lines of the log are no outcome of these releases")
    return [*found, f"verdict: {_verdict(one, experiment)}"]


def remedy(experiment: Experiment, reading: Reading | None, where: str) -> str:
    """The next command; empty where there is nothing to do. ``where`` are the options that select the environment."""
    if not experiment.open:
        return ""
    if not experiment.since:
        return f"invoke deploy --resume {where}, which continues its start, or invoke ab --stop {where}"
    if experiment.state == STOPPING:
        return f"invoke ab --stop {where}, which continues its end"
    match reading and reading.verdict:
        case "challenger":
            return f"invoke ab --stop --winner {experiment.challenger.release} {where}"
        case "control":
            return f"invoke ab --stop --winner {experiment.control.release} {where}"
        case "negligible" | "no difference" | "ratio" | "crossed":
            return f"invoke ab --stop {where}"
    return f"invoke ab --status {where}"


def _measured(one: Measured, made: Rule) -> str:
    what = f"{one.units} {made.unit}s, {one.reported} with an outcome, {made.metric} {one.total:.2f}"
    return f"release {one.release}: {what}, {one.mean:.4g} per {made.unit} (standard deviation {one.deviation:.4g})"


def _relative(one: Reading) -> str:
    if not one.control.mean or one.low is None or one.high is None:
        return ""
    low, high = (100 * bound / one.control.mean for bound in (one.low, one.high))
    return f", {low:+.1f} % to {high:+.1f} % of release {one.control.release}'s"


def _verdict(one: Reading, experiment: Experiment) -> str:
    made, control, challenger = experiment.rule, experiment.control.release, experiment.challenger.release
    match one.verdict:
        case "challenger" | "control":
            better, other = (challenger, control) if one.verdict == "challenger" else (control, challenger)
            return f"release {better} has more {made.metric} per {made.unit} than release {other}"
        case "ratio":
            return (
                "the traffic is not split as the rule says, by chance less than once in 1000 A/Bs, so the releases can't be "
                "compared: requests of one of them are lost, or are not counted"
            )
        case "crossed":
            return f"{one.crossed} users were answered by both releases, so users can't be compared: traffic was split by request"
        case "dominated":
            return f"one outcome is {100 * one.share:.0f} % of its release's {made.metric}, so nothing can be concluded yet"
        case "negligible":
            return f"whatever the difference is, it is smaller than {made.effect:g} %"
        case "no difference" if one.low is None:
            return f"no difference shown: there were too few outcomes above 0 (at least {LEAST} of each release are needed)"
        case "no difference":
            return "no difference shown: the rule's limits are used up, and any difference within the interval is still possible"
        case "too few":
            return f"undecided: at least {LEAST} outcomes above 0 of each release are needed"
        case "undecided":
            return "undecided: the difference may still be 0"


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
