"""Alarms are evaluated on exactly their metric or expression, over their own periods, and repeatedly.

What AWS does: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html: M of the last N
periods must breach; a period without data counts as ``TreatMissingData`` says; alarms are evaluated again as time passes.
Here periods end at the time of the evaluation, not on AWS's grid, so that the newest one is always complete.
ministack takes all points of the last N periods as one period, whatever their dimensions; ignores missing data; evaluates
only when PutMetricData is called; and notifies topics whose policy does not allow CloudWatch to publish:
https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
"""

from __future__ import annotations

import logging
import operator
import threading
import time
from typing import Any

from embedded_aws.cloudwatch.metric_math import InvalidQuery, Reader

PAUSE = 2.0  # seconds between two evaluations of all alarms
_evaluating = threading.Lock()  # two threads evaluate alarms; a change is notified once
BREACHES = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def patch() -> None:
    """Evaluate alarms here, also by the clock."""
    from ministack.services import cloudwatch

    cloudwatch._evaluate_alarm = evaluate
    threading.Thread(target=_watch, daemon=True, name="alarms").start()


def evaluate(alarm: dict[str, Any]) -> None:
    """Set the alarm's state; on a change, record it in the history and notify its topics."""
    from ministack.services import cloudwatch

    with _evaluating:
        state, reason = judge(alarm, time.time())
        previous = alarm["StateValue"]
        if state == previous:
            return
        alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
    cloudwatch._record_history(alarm["AlarmName"], previous, state, reason)
    cloudwatch._dispatch_alarm_actions(_permitted(alarm), previous, state, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def _permitted(alarm: dict[str, Any]) -> dict[str, Any]:
    """The alarm with only those topics that it may publish to."""
    from ministack.services import sns

    def may(topic: str) -> bool:
        arn = alarm["AlarmArn"]
        return bool(sns.topic_policy_allows(topic, "cloudwatch.amazonaws.com", arn, arn.split(":")[4]))

    kinds = ("AlarmActions", "OKActions", "InsufficientDataActions")
    return {**alarm, **{kind: [topic for topic in alarm.get(kind) or [] if may(topic)] for kind in kinds}}


def judge(alarm: dict[str, Any], now: float) -> tuple[str, str]:
    """The state of an alarm at ``now``, and the reason."""
    queries = alarm.get("Metrics") or [_query(alarm)]
    (watched,) = (query["Id"] for query in queries if query.get("ReturnData", True))
    named = [int(found) for query in queries if (found := query.get("MetricStat", query).get("Period"))]
    period = max(named, default=60)  # an expression may have none of its own
    periods = int(alarm["EvaluationPeriods"])
    needed = int(alarm.get("DatapointsToAlarm") or periods)
    begin = now - period * periods
    try:
        found = Reader(queries, begin, now, origin=begin).read(watched)
    except (InvalidQuery, KeyError) as error:
        return "INSUFFICIENT_DATA", f"the metric can't be read: {error}"
    values = list(found[0].values.values()) if found else []
    missing, treatment = periods - len(values), alarm.get("TreatMissingData") or "missing"
    if not values and treatment in ("missing", "ignore"):
        return (alarm["StateValue"] if treatment == "ignore" else "INSUFFICIENT_DATA"), "no data"
    breaches, threshold = BREACHES[alarm["ComparisonOperator"]], float(alarm["Threshold"])
    breaching = sum(breaches(value, threshold) for value in values) + (missing if treatment == "breaching" else 0)
    shown = ", ".join(f"{value:g}" for value in values) or "none"
    reason = (
        f"Threshold Crossed: {breaching} of {periods} datapoints ({shown}; {missing} missing) are "
        f"{alarm['ComparisonOperator']} {threshold:g}; {needed} are needed for an alarm"
    )
    return ("ALARM" if breaching >= needed else "OK"), reason


def _query(alarm: dict[str, Any]) -> dict[str, Any]:
    metric = {k: alarm.get(k) for k in ("Namespace", "MetricName", "Dimensions")}
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic")
    return {"Id": "m", "MetricStat": {"Metric": metric, "Period": alarm.get("Period") or 60, "Stat": statistic}}


def _watch() -> None:
    from ministack.core.responses import request_scope
    from ministack.services import cloudwatch

    while True:
        time.sleep(PAUSE)
        for account, region in {key[:2] for key in list(cloudwatch._alarms._data)}:
            with request_scope(account, region):
                for alarm in cloudwatch._alarms.values():
                    try:
                        evaluate(alarm)
                    except Exception:  # one that fails must not stop the others
                        logging.getLogger("alarms").exception("alarm %s", alarm.get("AlarmName"))
