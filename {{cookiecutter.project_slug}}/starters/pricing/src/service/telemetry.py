"""One line of log for each request, which is its metrics too: CloudWatch's embedded metric format.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
CloudWatch makes metrics of it without a call or a daemon; anywhere else it is a line of JSON like any other. Dashboards
and alarms (``src/ml_delivery/monitoring``) read the metrics by the names in ``METRICS``.
"""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from random import random
from typing import Any

__all__ = ["METRICS", "NAMESPACE", "line", "rank", "trace"]

NAMESPACE = "MLService"
# Each with its unit. A request measures those that it has something to say about.
METRICS = {
    "Latency": "Milliseconds",  # of an answer, inside the process
    "Failures": "Count",  # 1 for a status of 500 or above, else 0
    "ColdStarts": "Count",  # 1 for the first request of a process, else 0
    "Release": "None",  # the number of the release that answered
    "BackupUsed": "Count",  # of a prediction: 1 when the primary model did not answer
    "CacheHits": "Count",  # of a prediction: 1 when it came from the cache
    "PredictedSales": "None",  # units a day at the recommended price
    "RecommendedPrice": "None",  # as a share of the product's usual price: 1 is that price
    "RecommendedPriceRank": "None",  # where that share lies among those of training; even from 0 to 1 if nothing drifts
}


def line(level: str, **fields: Any) -> str:
    """A line of log, with the metrics that ``fields`` names; their own other members stay searchable."""
    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    measured = [{"Name": name, "Unit": unit} for name, unit in METRICS.items() if name in fields]
    if function and measured:
        directive = {"Namespace": NAMESPACE, "Dimensions": [["Function"]], "Metrics": measured}
        fields |= {
            "Function": function,
            "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
        }
    return json.dumps({"level": level, **fields})


def trace(header: str) -> str:
    """The root of a request's X-Ray trace, from API Gateway's ``header`` or from Lambda; empty where there is none.

    https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
    """
    header = header or os.environ.get("_X_AMZN_TRACE_ID", "")
    parts = dict(part.split("=", 1) for part in header.split(";") if "=" in part)
    return parts.get("Root", "")[:64]


def rank(value: float, known: Sequence[float]) -> float:
    """The share of ``known``, which is sorted, that lies below ``value``; among equals, any, at random.

    So a value like those that are known has a rank that is evenly spread from 0 to 1, even where many are the same.
    """
    below, up_to = bisect_left(known, value), bisect_right(known, value)
    return (below + random() * (up_to - below)) / len(known)  # noqa: S311  # it decides nothing  # nosec
