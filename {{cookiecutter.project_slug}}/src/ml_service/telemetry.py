"""One log line for each request, which carries its metrics, too: CloudWatch's embedded metric format.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
CloudWatch extracts the metrics from the log, without a call or a daemon; anywhere else it is an ordinary line of JSON.
Dashboards and alarms read the metrics by their names.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["METRICS", "NAMESPACE", "line", "trace"]

NAMESPACE = "MLService"
# What every service measures, with its unit; a service passes its own to ``line`` as ``metrics``.
METRICS = {
    "Latency": "Milliseconds",  # of an answer, inside the process
    "Failures": "Count",  # 1 for a status of 500 or above, else 0
    "ColdStarts": "Count",  # 1 for the first request of a process, else 0
    "Release": "None",  # the number of the release that answered
}
# Those that are also written by deployed version, which a deploy in steps compares; each version is a metric that AWS charges.
BY_VERSION = ("Failures",)


def line(level: str, metrics: Mapping[str, str] | None = None, **fields: Any) -> str:
    """A log line, as JSON.

    Args:
        level: "info", "warning" or "error".
        metrics: the service's own metrics, each with CloudWatch's unit for it; a line need not have all of them.
        fields: the content of the line. Those that are metrics are declared as such; all can be searched.
    """
    function, version = (os.environ.get(f"AWS_LAMBDA_FUNCTION_{name}", "") for name in ("NAME", "VERSION"))
    known = {**METRICS, **(metrics or {})}
    measured = [{"Name": name, "Unit": unit} for name, unit in known.items() if name in fields]
    if function and measured:
        directives = [{"Namespace": NAMESPACE, "Dimensions": [["Function"]], "Metrics": measured}]
        by_version = [metric for metric in measured if metric["Name"] in BY_VERSION]
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
