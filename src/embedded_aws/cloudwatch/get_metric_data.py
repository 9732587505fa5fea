"""GetMetricData answers with metric math, newest values first unless requested otherwise.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
ministack answers every expression with "not implemented", and merges all dimensions when a query names none.
"""

from __future__ import annotations

import re
import time
from typing import Any

from embedded_aws.cloudwatch.metric_math import InvalidQuery, Reader, Series

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/graph-dynamic-labels.html
PROP = re.compile(r"\$\{PROP\('Dim\.\w+'\)\}")


def patch() -> None:
    """Answer GetMetricData here in CBOR and JSON, which botocore and Grafana's SDK use; the query protocol is unchanged."""
    from ministack.services import cloudwatch

    original = cloudwatch._get_metric_data

    def get_metric_data(params: Any, data: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        if not (is_cbor or is_json):
            return original(params, data, is_cbor, is_json)
        start = cloudwatch._parse_ts(data.get("StartTime")) or 0.0
        end = cloudwatch._parse_ts(data.get("EndTime")) or time.time()
        oldest_first = data.get("ScanBy") == "TimestampAscending"
        queries = data.get("MetricDataQueries", [])
        reader = Reader(queries, start, end)
        results = []
        try:
            for query in queries:
                if query.get("ReturnData", True):
                    for series in reader.read(query["Id"]):
                        results.append(_result(query, series, oldest_first, cloudwatch._ts_iso))
        except (InvalidQuery, KeyError) as error:
            message = f"The parameter MetricDataQueries is not valid: {error}"
            return cloudwatch._error("ValidationError", message, 400, use_json=is_json, use_cbor=is_cbor)
        if is_cbor:
            return cloudwatch._cbor_ok({"MetricDataResults": [cloudwatch._cbor_metric_data_result(r) for r in results]})
        return cloudwatch._json_ok({"MetricDataResults": results})

    cloudwatch._get_metric_data = get_metric_data


def _result(query: dict[str, Any], series: Series, oldest_first: bool, iso: Any) -> dict[str, Any]:
    times = sorted(series.values, reverse=not oldest_first)
    label = query.get("Label", "")
    if "SEARCH" in query.get("Expression", ""):
        # A series found by SEARCH adds its own label: in place of ${PROP(...)}, else at the end.
        label = PROP.sub(series.label, label) if PROP.search(label) else f"{label} {series.label}".strip()
    return {
        "Id": query["Id"],
        "Label": label or series.label,
        "Timestamps": [iso(at) for at in times],
        "Values": [series.values[at] for at in times],
        "StatusCode": "Complete",
    }
