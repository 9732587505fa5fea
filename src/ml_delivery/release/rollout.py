"""How traffic shifts to a new release: its percentages, how long each is held, and what that must be long enough for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ml_delivery.errors import Refused
from ml_delivery.release.results import Rollout

if TYPE_CHECKING:
    from ml_delivery.keys import Deploy
    from ml_delivery.release.delivery import Delivery

__all__ = [
    "alarms",
    "described",
    "plan",
    "require_time_for_alarms",
    "require_time_in_workflow",
    "weights",
    "without_traffic",
]

# How much of a workflow's session (one hour) is available for pauses.
SESSION_SECONDS = 2700
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
STATE = re.compile(r"""\b(?:ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*["']?(?:arn:[^")]*:alarm:)?([^")']+?)["']?\s*\)""")


def weights(rules: Deploy) -> list[int]:
    """The percentages of the traffic that a new release gets, one after the other, before it gets all of it."""
    if rules.strategy == "all-at-once":
        return []
    if rules.strategy == "canary":
        return [rules.weight]
    return list(range(rules.weight, 100, rules.weight))


def plan(delivery: Delivery) -> Rollout:
    """How traffic would shift to a new release while another one serves."""
    rules, deployer = delivery.environment.deploy, delivery.deployer
    pause, period = max(rules.pause, deployer.least_pause), max(rules.period, deployer.least_period)
    steps = tuple(weights(rules)) if deployer.weighted() else ()
    return Rollout(steps, pause, period, rules.pause, rules.period)


def without_traffic(delivery: Delivery, deployed: str, left: float) -> float:
    """For how many seconds to hold a weight at which ``deployed`` got no request yet; ``left`` of its pause are left.

    Raises:
        Refused: it was held long enough, and ``deploy.no_traffic`` requires a request.
    """
    rules, pause = delivery.environment.deploy, plan(delivery).pause
    if rules.no_traffic == "wait":
        left += pause
    if left <= 0 and rules.no_traffic != "pass":
        held = pause * (1 + (rules.no_traffic == "wait"))
        raise Refused(
            f"deployed version {deployed} got 0 requests in {held} s, so nothing was measured; "
            f'deploy.no_traffic is "{rules.no_traffic}"',
            next=f'deploy while there are requests, or set deploy.no_traffic of {delivery.environment.name} to "pass" in '
            "pipeline.toml",
        )
    return left


def alarms(delivery: Delivery) -> tuple[str, ...]:
    """The names of the alarms that are watched. One list serves all environments, each of which has its own alarms."""
    return tuple(
        name.replace("{environment}", delivery.environment.name) for name in delivery.environment.deploy.alarms
    )


def described(delivery: Delivery, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """These alarms as reported by CloudWatch, metric and composite ones, by name; those that do not exist are missing."""
    if not names:
        return {}
    with delivery.cloud.faults():
        answer = delivery.cloud.client("cloudwatch").describe_alarms(
            AlarmNames=list(names), AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
    return {one["AlarmName"]: one for kind in ("MetricAlarms", "CompositeAlarms") for one in answer.get(kind, [])}


def require_time_for_alarms(delivery: Delivery) -> None:
    """Check that each weight is held until every watched alarm can be in alarm because of the new release.

    That takes as many periods as must breach, and the time in which metrics arrive:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html

    Raises:
        Refused: an alarm needs longer; names it and the least pause.
    """
    held, late = plan(delivery), delivery.deployer.metrics_delay
    if not held.weights:
        return
    slowest, seconds = "", 0
    for name in alarms(delivery):
        if (needs := _seconds(delivery, (name,), set())) > seconds:
            slowest, seconds = name, needs
    if seconds and held.pause < seconds + late:
        arrive = f", and its metrics arrive up to {late} s late" if late else ""
        raise Refused(
            f"deploy.pause is {held.pause} s, in which the alarm {slowest} can't be in alarm: its periods take {seconds} s{arrive}",
            next=f"set deploy.pause of {delivery.environment.name} in pipeline.toml to {seconds + late} or more",
        )


def require_time_in_workflow(delivery: Delivery) -> None:
    """Check that the pauses fit into a workflow's session: once its credentials have expired, nothing could be restored.

    Raises:
        Refused: they don't.
    """
    seconds = plan(delivery).seconds * (1 + (delivery.environment.deploy.no_traffic == "wait"))
    if seconds > SESSION_SECONDS:
        where = f"--branch {delivery.environment.branch}{delivery.where}"
        raise Refused(
            f"the pauses between traffic steps take {seconds / 60:.0f} minutes, a workflow's session ends after 60",
            next=f"shorten deploy.pause of {delivery.environment.name} in pipeline.toml; or, signed in to the account outside "
            f"of a workflow, invoke deploy --detach {where}, and later invoke deploy --resume {where}",
        )


def _seconds(delivery: Delivery, names: tuple[str, ...], known: set[str]) -> int:
    """How many seconds of breaching periods the slowest of these alarms needs; a composite alarm as long as its parts."""
    longest = 0
    for one in described(delivery, tuple(name for name in names if name not in known)).values():
        known.add(one["AlarmName"])
        if rule := one.get("AlarmRule"):
            seconds = _seconds(delivery, tuple(STATE.findall(rule)), known)
        else:
            metrics = [query.get("MetricStat", query).get("Period", 0) for query in one.get("Metrics", [])]
            seconds = max([one.get("Period", 0), *metrics]) * one.get("DatapointsToAlarm", one["EvaluationPeriods"])
        longest = max(longest, seconds)
    return longest
