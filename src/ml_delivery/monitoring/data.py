"""The panels' data, read from CloudWatch, for the terminal, the report and tests."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ml_delivery.cloud import code_of
from ml_delivery.errors import CloudError, ConfigError
from ml_delivery.monitoring.template import metric_query
from ml_delivery.waiting import wait
from ml_pages.charts import number

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud
    from ml_delivery.observed import Panel

__all__ = ["DAY", "Series", "alarm_states", "amount", "ask_log", "period_for", "read"]

POINTS = 300  # about as many points as a plot can show
PERIODS = (60, 300, 900, 3600, 6 * 3600, 24 * 3600)
DAY = 86_400
SUFFIXES = {"ms": " ms", "s": " s", "percent": " %", "dollars": " US$", "ratio": " ×"}


@dataclass(frozen=True)
class Series:
    """One line: its label, and its points as (seconds since 1970, value), oldest first."""

    label: str
    points: tuple[tuple[float, float], ...]


def period_for(seconds: float) -> int:
    """The period of a point, in seconds, in a plot that covers ``seconds``.

    CloudWatch keeps points of one minute for 15 days, and points of five minutes for 63 days:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html
    """
    least = 60 if seconds <= 15 * DAY else 300
    return next((p for p in PERIODS if p >= least and seconds / p <= POINTS), PERIODS[-1])


def read(cloud: Cloud, panel: Panel, begin: float, end: float, period: int) -> list[Series]:
    """A panel's lines that have points; CloudWatch labels the lines of a search.

    Raises:
        CloudError: CloudWatch refused.
    """
    shown = {query.id for query in panel.queries if query.shown}
    found: list[Series] = []
    with cloud.faults():
        pages = (
            cloud.client("cloudwatch")
            .get_paginator("get_metric_data")
            .paginate(
                MetricDataQueries=[metric_query(query, period) for query in panel.queries],
                StartTime=datetime.fromtimestamp(begin, UTC),
                EndTime=datetime.fromtimestamp(end, UTC),
                ScanBy="TimestampAscending",
            )
        )
        lines: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for page in pages:
            for result in page["MetricDataResults"]:
                if result["Id"] in shown:
                    points = zip((at.timestamp() for at in result["Timestamps"]), result["Values"], strict=True)
                    lines.setdefault((result["Id"], result["Label"]), []).extend(points)
    found += [Series(label, tuple(points)) for (_, label), points in lines.items() if points]
    return found


def amount(value: float, unit: str) -> str:
    """A value in a panel's unit, as text."""
    return number(value) + SUFFIXES.get(unit, "")


def alarm_states(cloud: Cloud, name: str) -> dict[str, str]:
    """The states of the alarms of ``<service>-<environment>``, by name: OK, ALARM or INSUFFICIENT_DATA.

    Raises:
        CloudError: CloudWatch refused.
    """
    with cloud.faults():
        found = cloud.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{name}-")["MetricAlarms"]
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in found}


def ask_log(cloud: Cloud, group: str, query: str, minutes: int) -> list[dict[str, str]]:
    """The rows that a Logs Insights query finds in the last minutes.

    Raises:
        ConfigError: the query is malformed; the message has the position.
        CloudError: CloudWatch refused, or the query failed.
    """
    client = cloud.client("logs")
    now = int(time.time())
    with cloud.faults():
        try:
            started = client.start_query(
                logGroupName=group, startTime=now - minutes * 60, endTime=now + 60, queryString=query
            )
        except Exception as error:
            if code_of(error) == "MalformedQueryException":
                raise ConfigError("infra/queries", [f"malformed: {error}"], next="correct the query") from error
            raise

        def ended() -> dict[str, Any] | None:
            answer: dict[str, Any] = client.get_query_results(queryId=started["queryId"])
            return None if answer["status"] in ("Scheduled", "Running") else answer

        try:
            answer = wait(ended, what="the log query")
        except BaseException:  # AWS charges for the data that a query reads
            client.stop_query(queryId=started["queryId"])
            raise
    if answer["status"] != "Complete":
        raise CloudError(f"the log query ended as {answer['status']}", next="query a shorter time")
    return [{cell["field"]: cell["value"] for cell in row if cell["field"] != "@ptr"} for row in answer["results"]]
