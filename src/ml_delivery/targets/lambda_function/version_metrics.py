"""Lambda's metrics of a version that has a share of an alias's traffic.

https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html (metrics and their dimensions)
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ml_delivery.records import Numbers

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud

__all__ = ["mean_duration", "numbers"]

DAY = 86_400


def numbers(cloud: Cloud, function: str, alias: str, version: str, since: float) -> Numbers:
    """Requests, errors (exceptions and timeouts, not HTTP 5xx) and duration of ``version`` behind ``alias``.

    Throttled calls ran no version, so those of the whole alias are counted. One API call.

    Args:
        since: seconds since 1970; Lambda's metrics are per minute, so it is rounded down to its minute.
    """
    begin = int(since // 60) * 60
    end = math.ceil(time.time() / 60) * 60 + 60
    shared = {"FunctionName": function, "Resource": f"{function}:{alias}"}
    own = {**shared, "ExecutedVersion": version}
    asked = [
        ("Invocations", "Sum", own),
        ("Errors", "Sum", own),
        ("Duration", "p95", own),
        ("Throttles", "Sum", shared),
    ]
    with cloud.faults():
        answer = cloud.client("cloudwatch").get_metric_data(
            MetricDataQueries=[
                _query(f"q{i}", name, statistic, dimensions, end - begin)
                for i, (name, statistic, dimensions) in enumerate(asked)
            ],
            StartTime=_utc(begin),
            EndTime=_utc(end),
        )
    values = {found["Id"]: found["Values"] for found in answer["MetricDataResults"]}
    requests, errors, throttles = (round(sum(values.get(f"q{i}", []))) for i in (0, 1, 3))
    # One period covers the whole time, but CloudWatch may align periods so that two overlap it: the worse p95 counts.
    return Numbers(requests, errors, max(values.get("q2", []), default=0.0), throttles)


def mean_duration(cloud: Cloud, function: str, alias: str) -> float:
    """The mean duration of a call of ``alias`` in the last day, in milliseconds; 0 if there was none. One API call."""
    now = time.time()
    dimensions = {"FunctionName": function, "Resource": f"{function}:{alias}"}
    with cloud.faults():
        answer = cloud.client("cloudwatch").get_metric_data(
            MetricDataQueries=[_query("q", "Duration", "Average", dimensions, DAY)],
            StartTime=_utc(now - DAY),
            EndTime=_utc(now + 60),
            ScanBy="TimestampAscending",
        )
    values: list[float] = answer["MetricDataResults"][0]["Values"]
    return values[-1] if values else 0.0


def _query(name: str, metric: str, statistic: str, dimensions: dict[str, str], period: int) -> dict[str, Any]:
    named = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    what = {"Namespace": "AWS/Lambda", "MetricName": metric, "Dimensions": named}
    return {"Id": name, "MetricStat": {"Metric": what, "Period": period, "Stat": statistic}}


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
