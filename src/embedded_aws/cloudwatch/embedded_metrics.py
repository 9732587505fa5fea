"""Log lines in CloudWatch's embedded metric format become metrics.

What AWS does: a log event that is one JSON object with ``_aws.CloudWatchMetrics`` creates the metrics that it declares,
from its own top-level members, once per set of dimensions; an event that violates the format is only a log line.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
ministack stores the line and creates no metric.
"""

from __future__ import annotations

import json
from typing import Any

MOST_DIMENSIONS = 30
MOST_VALUES = 100


def patch() -> None:
    """Read each event where ministack forwards it to subscriptions, whether from a function or from PutLogEvents."""
    from ministack.services import cloudwatch, cloudwatch_logs

    forward = cloudwatch_logs._fanout_to_subscription_filters

    def measured(group: str, stream: str, events: list[dict[str, Any]]) -> None:
        for event in events:
            for namespace, name, dimensions, at, unit, values in metrics(event.get("message", "")):
                cloudwatch._store_datum(namespace, name, dimensions, at, unit, None, values, None, None)
        forward(group, stream, events)

    cloudwatch_logs._fanout_to_subscription_filters = measured


def metrics(message: str) -> list[tuple[str, str, dict[str, str], float, str, list[float]]]:
    """Namespace, name, dimensions, seconds since 1970, unit and values of each declared metric; none if malformed."""
    if '"_aws"' not in message:
        return []
    try:
        event = json.loads(message)
        declared = event["_aws"]
        at = declared["Timestamp"] / 1000
        return [
            (directive["Namespace"], metric["Name"], dimensions, at, metric.get("Unit", "None"), values)
            for directive in declared["CloudWatchMetrics"]
            for dimensions in _dimensions(directive["Dimensions"], event)
            for metric in directive["Metrics"]
            if (values := _values(event.get(metric["Name"])))
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _dimensions(sets: list[list[str]], event: dict[str, Any]) -> list[dict[str, str]]:
    found = [{name: event[name] for name in names} for names in sets]
    for dimensions in found:
        if len(dimensions) > MOST_DIMENSIONS or not all(isinstance(v, str) and v for v in dimensions.values()):
            raise ValueError(dimensions)
    return found


def _values(value: Any) -> list[float]:
    """One number, or a list of up to a hundred; empty when the member is missing."""
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if len(listed) > MOST_VALUES or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in listed):
        raise ValueError(value)
    return [float(v) for v in listed]
