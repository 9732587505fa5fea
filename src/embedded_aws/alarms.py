"""Alarms watch exactly their metric, or an expression, over their own periods, and by the clock.

What AWS does: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html: M of the last N
periods must breach; a period without data counts as ``TreatMissingData`` says; it looks again as time goes by.
Here periods end at the moment of looking, not on AWS's grid, so that the newest is never a piece of one.
ministack takes all points of the last N periods for one, whatever their dimensions; refuses expressions in a template;
ignores missing data; looks only when PutMetricData is called; and tells topics whose policy does not let CloudWatch publish:
https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
"""

from __future__ import annotations

import logging
import operator
import threading
import time
from typing import Any

from metricmath import Reader, Wrong

PAUSE = 2.0  # seconds between two looks at all alarms
_looking = threading.Lock()  # a change is told once, whoever sees it first
BREACHES = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def mend() -> None:
    """Judge every alarm here, and go on doing so."""
    from ministack.services import cloudwatch

    cloudwatch._evaluate_alarm = evaluate
    threading.Thread(target=_watch, daemon=True, name="alarms").start()


def mend_stacks() -> None:
    """Take expressions from a template; what ministack reads of the others is right."""
    from ministack.services.cloudformation import provisioners

    read = provisioners._cw_metric_alarm_record

    def record(name: str, properties: dict[str, Any]) -> dict[str, Any]:
        queries = properties.get("Metrics")
        if not queries:
            return dict(read(name, properties))
        plain = {k: v for k, v in properties.items() if k != "Metrics"}
        alarm = read(name, {**plain, "MetricName": "-", "Namespace": "-"})
        for key in ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period", "Dimensions"):
            alarm.pop(key, None)
        return {**alarm, "Metrics": [_typed(query) for query in queries]}

    provisioners._cw_metric_alarm_record = record


def _typed(query: dict[str, Any]) -> dict[str, Any]:
    """A query with the types that the API answers with: templates and their parameters are texts."""
    query = {**query, "ReturnData": str(query.get("ReturnData", True)).lower() != "false"}
    if "MetricStat" in query:
        query["MetricStat"] = {**query["MetricStat"], "Period": int(query["MetricStat"]["Period"])}
    return query


def evaluate(alarm: dict[str, Any]) -> None:
    """Set the alarm's state; on a change, remember it and tell its topics."""
    from ministack.services import cloudwatch

    with _looking:
        state, reason = judge(alarm, time.time())
        former = alarm["StateValue"]
        if state == former:
            return
        alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
    cloudwatch._record_history(alarm["AlarmName"], former, state, reason)
    cloudwatch._dispatch_alarm_actions(_permitted(alarm), former, state, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def _permitted(alarm: dict[str, Any]) -> dict[str, Any]:
    """The alarm with those topics only that it may publish to."""
    from ministack.services import sns

    def may(topic: str) -> bool:
        arn = alarm["AlarmArn"]
        return bool(sns.topic_policy_allows(topic, "cloudwatch.amazonaws.com", arn, arn.split(":")[4]))

    kinds = ("AlarmActions", "OKActions", "InsufficientDataActions")
    return {**alarm, **{kind: [topic for topic in alarm.get(kind) or [] if may(topic)] for kind in kinds}}


def judge(alarm: dict[str, Any], now: float) -> tuple[str, str]:
    """The state that an alarm has at ``now``, and why."""
    queries = alarm.get("Metrics") or [_query(alarm)]
    (watched,) = (query["Id"] for query in queries if query.get("ReturnData", True))
    period = max((int(q["MetricStat"]["Period"]) for q in queries if "MetricStat" in q), default=60)
    looked_at = int(alarm["EvaluationPeriods"])
    needed = int(alarm.get("DatapointsToAlarm") or looked_at)
    begin = now - period * looked_at
    try:
        found = Reader(queries, begin, now, origin=begin).read(watched)
    except (Wrong, KeyError) as error:
        return "INSUFFICIENT_DATA", f"the metric can't be read: {error}"
    values = list(found[0].values.values()) if found else []
    missing, treatment = looked_at - len(values), alarm.get("TreatMissingData") or "missing"
    if not values and treatment in ("missing", "ignore"):
        return (alarm["StateValue"] if treatment == "ignore" else "INSUFFICIENT_DATA"), "no data"
    breaches, threshold = BREACHES[alarm["ComparisonOperator"]], float(alarm["Threshold"])
    breaching = sum(breaches(value, threshold) for value in values) + (missing if treatment == "breaching" else 0)
    shown = ", ".join(f"{value:g}" for value in values) or "none"
    reason = (
        f"Threshold Crossed: {breaching} of {looked_at} datapoints ({shown}; {missing} missing) are "
        f"{alarm['ComparisonOperator']} {threshold:g}; {needed} make an alarm"
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
                    except Exception:  # one that can't be judged must not stop the others
                        logging.getLogger("alarms").exception("alarm %s", alarm.get("AlarmName"))
