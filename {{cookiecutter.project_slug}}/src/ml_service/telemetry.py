"""One log line for each request, which carries its metrics, too: CloudWatch's embedded metric format.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
CloudWatch extracts the metrics from the log, without a call; anywhere else it is an ordinary line of JSON.
Dashboards and alarms read the metrics by their names.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["METRICS", "NAMESPACE", "line", "trace", "unmeasured"]

NAMESPACE = "MLService"
# What every service measures, with its unit; a service passes its own to ``line`` as ``metrics``.
METRICS = {
    "Latency": "Milliseconds",  # of an answer, inside the process
    "Failures": "Count",  # 1 for a status of 500 or above, else 0
    "ColdStarts": "Count",  # 1 for the first request of a process, else 0
    "Release": "None",  # the number of the release that answered
}
# Those that are also written by deployed version, to compare versions; each version is a metric that AWS charges. Lambda itself
# measures the others, and a cluster does not.
BY_VERSION = ("Failures",)
BY_VERSION_IN_PODS = ("Failures", "Latency", "Restarts")

_measures: ContextVar[bool] = ContextVar("measures", default=True)


@contextmanager
def unmeasured() -> Iterator[None]:
    """What is logged meanwhile carries no metrics: a check of the service's health is no request of a user."""
    token = _measures.set(False)
    try:
        yield
    finally:
        _measures.reset(token)


def line(level: str, metrics: Mapping[str, str] | None = None, **fields: Any) -> str:
    """A log line, as JSON.

    Args:
        level: "info", "warning" or "error".
        metrics: the service's own metrics, each with CloudWatch's unit for it; a line need not have all of them.
        fields: the content of the line. Those that are metrics are declared as such; all can be searched.
    """
    listed: tuple[str, ...] = BY_VERSION
    function, version = (os.environ.get(f"AWS_LAMBDA_FUNCTION_{name}", "") for name in ("NAME", "VERSION"))
    if not function:  # in a pod, whose deploy sets these
        listed = BY_VERSION_IN_PODS
        function, version = (os.environ.get(f"ML_SERVICE_{name}", "") for name in ("NAME", "VERSION"))
    known = {**METRICS, **(metrics or {})}
    measured = [{"Name": name, "Unit": unit} for name, unit in known.items() if name in fields]
    if function and measured and _measures.get():
        directives = [{"Namespace": NAMESPACE, "Dimensions": [["Function"]], "Metrics": measured}]
        by_version = [metric for metric in measured if metric["Name"] in listed]
        if version and by_version:
            directives.append({"Namespace": NAMESPACE, "Dimensions": [["Function", "Version"]], "Metrics": by_version})
            fields["Version"] = version
        fields |= {
            "Function": function,
            "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": directives},
        }
    return json.dumps({"level": level, **fields})


def trace(header: str) -> str:
    """The root of a request's X-Ray trace, from API Gateway's ``header`` or from Lambda; empty without one.

    https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
    """
    header = header or os.environ.get("_X_AMZN_TRACE_ID", "")
    parts = dict(part.split("=", 1) for part in header.split(";") if "=" in part)
    return parts.get("Root", "")[:64]
