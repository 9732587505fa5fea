"""Queries of CloudWatch Metrics Insights: ``SELECT SUM(name) FROM SCHEMA("namespace", dimension, …) WHERE dimension = 'value'``.

What AWS does: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-metrics-insights-querylanguage.html
Implemented here: one function of one metric, a schema, and conditions that are joined by AND; no groups, and so one series.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Selected", "is_query", "parse"]

NAME = r'(?:[A-Za-z_][\w.-]*|"[^"]+")'
QUERY = re.compile(
    rf"SELECT\s+(?P<function>[A-Z]+)\((?P<metric>{NAME})\)"
    rf"\s+FROM\s+SCHEMA\((?P<schema>{NAME}(?:\s*,\s*{NAME})*)\)"
    rf"(?:\s+WHERE\s+(?P<where>.+))?",
    re.S,
)
CONDITION = re.compile(rf"({NAME})\s*(=|!=)\s*'([^']*)'")
STATISTICS = {"SUM": "Sum", "AVG": "Average", "MIN": "Minimum", "MAX": "Maximum", "COUNT": "SampleCount"}


@dataclass(frozen=True)
class Selected:
    """Which metrics a query selects, and what it computes of them.

    Attributes:
        namespace, metric: whose points.
        dimensions: exactly the names that a metric must have.
        conditions: dimension, whether it must have the value, and the value.
        statistic: as GetMetricData names it.
    """

    namespace: str
    metric: str
    dimensions: frozenset[str]
    conditions: tuple[tuple[str, bool, str], ...]
    statistic: str

    def matches(self, namespace: str, metric: str, dimensions: dict[str, str]) -> bool:
        """Whether the query selects this metric."""
        named = (namespace, metric, frozenset(dimensions)) == (self.namespace, self.metric, self.dimensions)
        return named and all((dimensions.get(name) == value) is wanted for name, wanted, value in self.conditions)


def is_query(expression: str) -> bool:
    """Whether an expression is such a query, rather than metric math."""
    return bool(re.match(r"\s*SELECT\s", expression))


def parse(expression: str) -> Selected:
    """What a query selects.

    Raises:
        ValueError: it is none that is implemented here.
    """
    found = QUERY.fullmatch(expression.strip())
    conditions = re.split(r"\s+AND\s+", found["where"].strip()) if found and found["where"] else []
    parsed = [CONDITION.fullmatch(condition) for condition in conditions]
    if not found or found["function"] not in STATISTICS or not all(parsed):
        raise ValueError(f"not emulated, as a query of Metrics Insights: {expression}")
    namespace, *dimensions = [part.strip().strip('"') for part in found["schema"].split(",")]
    return Selected(
        namespace,
        found["metric"].strip('"'),
        frozenset(dimensions),
        tuple((one[1].strip('"'), one[2] == "=", one[3]) for one in parsed if one),
        STATISTICS[found["function"]],
    )
