"""A stack's alarm can watch expressions.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-cloudwatch-alarm.html
ministack's CloudFormation refuses an alarm with ``Metrics``; the other properties it reads correctly.
"""

from __future__ import annotations

from typing import Any


def patch() -> None:
    """Read ``Metrics`` here, and everything else with ministack's own function."""
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
    """A query with the API's types: in templates and their parameters, numbers and booleans may be strings."""
    query = {**query, "ReturnData": str(query.get("ReturnData", True)).lower() != "false"}
    if "MetricStat" in query:
        query["MetricStat"] = {**query["MetricStat"], "Period": int(query["MetricStat"]["Period"])}
    if "Period" in query:
        query["Period"] = int(query["Period"])
    return query
