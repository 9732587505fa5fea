"""The metrics of a variant: https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ml_delivery.observed import period
from ml_delivery.records import Numbers

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud

__all__ = ["NAMESPACE", "numbers"]

NAMESPACE = "AWS/SageMaker"


def numbers(cloud: Cloud, endpoint: str, variant: str, since: float, resolution: int, own: list[float]) -> Numbers:
    """Requests, errors, failures and latency of ``variant``. One API call.

    SageMaker counts each call, so those of this deploy itself are subtracted. An error is a call without an HTTP answer; a
    failure an answer with a status of 500 or above. Latencies are in microseconds.

    Args:
        since: seconds since 1970, rounded down to the metrics' resolution.
        resolution: seconds, 60 on AWS.
        own: when this deploy itself called it.
    """
    begin = int(since // resolution) * resolution
    end = math.ceil(time.time() / 60) * 60 + 60
    asked = [
        ("Invocations", "Sum"),
        ("InvocationModelErrors", "Sum"),
        ("Invocation4XXErrors", "Sum"),
        ("Invocation5XXErrors", "Sum"),
        ("ModelLatency", "p95"),
    ]
    with cloud.faults():
        answer = cloud.client("cloudwatch").get_metric_data(
            MetricDataQueries=[
                _query(f"q{i}", endpoint, variant, *metric, period(begin, end, metric[1], resolution))
                for i, metric in enumerate(asked)
            ],
            StartTime=_utc(begin),
            EndTime=_utc(end),
        )
    values = {found["Id"]: found["Values"] for found in answer["MetricDataResults"]}
    calls, failed, refused, failures = (round(sum(values.get(f"q{i}", []))) for i in range(4))
    requests = max(0, calls - sum(1 for at in own if at >= begin))
    # One period covers the whole time, but CloudWatch may align periods so that two overlap it: the worse p95 counts.
    p95 = max(values.get("q4", []), default=0.0) / 1000
    return Numbers(requests, max(0, failed - refused - failures), p95, 0, failures)


def _query(name: str, endpoint: str, variant: str, metric: str, statistic: str, period: int) -> dict[str, Any]:
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    what = {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": dimensions}
    return {"Id": name, "MetricStat": {"Metric": what, "Period": period, "Stat": statistic}}


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
