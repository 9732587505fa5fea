"""The metrics of a version that has a share of an alias's traffic: Lambda's, and what the service itself reports.

https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html (metrics and their dimensions)
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ml_delivery.observed import NAMESPACE, period
from ml_delivery.records import Numbers

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud

__all__ = ["mean_duration", "numbers"]

DAY = 86_400


def numbers(cloud: Cloud, function: str, alias: str, version: str, since: float, resolution: int) -> Numbers:
    """Requests, errors, failures and duration of ``version`` behind ``alias``.

    Lambda counts exceptions and timeouts as errors; a status of 500 or above is known to the service alone, which reports it
    by version if it uses ``ml_service.telemetry``. Throttled calls ran no version, so those of the whole alias are counted.
    One API call.

    Args:
        since: seconds since 1970, rounded down to the metrics' resolution.
        resolution: seconds, 60 on AWS.
    """
    begin = int(since // resolution) * resolution
    end = math.ceil(time.time() / 60) * 60 + 60
    shared = {"FunctionName": function, "Resource": f"{function}:{alias}"}
    own = {**shared, "ExecutedVersion": version}
    service = {"Function": function, "Version": version}
    asked = [
        ("AWS/Lambda", "Invocations", "Sum", own),
        ("AWS/Lambda", "Errors", "Sum", own),
        ("AWS/Lambda", "Duration", "p95", own),
        ("AWS/Lambda", "Throttles", "Sum", shared),
        (NAMESPACE, "Failures", "Sum", service),
    ]
    with cloud.faults():
        answer = cloud.client("cloudwatch").get_metric_data(
            MetricDataQueries=[
                _query(f"q{i}", *metric, period(begin, end, metric[2], resolution)) for i, metric in enumerate(asked)
            ],
            StartTime=_utc(begin),
            EndTime=_utc(end),
        )
    values = {found["Id"]: found["Values"] for found in answer["MetricDataResults"]}
    requests, errors, throttles = (round(sum(values.get(f"q{i}", []))) for i in (0, 1, 3))
    failures = values.get("q4") or None
    # One period covers the whole time, but CloudWatch may align periods so that two overlap it: the worse p95 counts.
    p95 = max(values.get("q2", []), default=0.0)
    return Numbers(requests, errors, p95, throttles, failures and round(sum(failures)))


def mean_duration(cloud: Cloud, function: str, alias: str) -> float:
    """The mean duration of a call of ``alias`` in the last day, in milliseconds; 0 if there was none. One API call."""
    now = time.time()
    dimensions = {"FunctionName": function, "Resource": f"{function}:{alias}"}
    with cloud.faults():
        answer = cloud.client("cloudwatch").get_metric_data(
            MetricDataQueries=[_query("q", "AWS/Lambda", "Duration", "Average", dimensions, DAY)],
            StartTime=_utc(now - DAY),
            EndTime=_utc(now + 60),
            ScanBy="TimestampAscending",
        )
    values: list[float] = answer["MetricDataResults"][0]["Values"]
    return values[-1] if values else 0.0


def _query(
    name: str, namespace: str, metric: str, statistic: str, dimensions: dict[str, str], period: int
) -> dict[str, Any]:
    named = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    what = {"Namespace": namespace, "MetricName": metric, "Dimensions": named}
    return {"Id": name, "MetricStat": {"Metric": what, "Period": period, "Stat": statistic}}


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
