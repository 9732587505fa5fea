"""Metric math: queries and expressions, computed from the data points that ministack stores.

What AWS does: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html and
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html; a query without dimensions
means the metric that has none; ``PR(a:b)`` is the percentage of values above a and up to b. Implemented here: arithmetic,
comparison, SEARCH, SUM, FILL, IF, LOG, PERIOD and REMOVE_EMPTY; and ``metrics_insights.py``.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from dataclasses import dataclass, field
from typing import Any

from embedded_aws.cloudwatch import metrics_insights

# Metric math has the syntax of Python expressions, except for these two operators.
WORDS = {"&&": " and ", "||": " or "}
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.And: lambda a, b: bool(a and b),
    ast.Or: lambda a, b: bool(a or b),
}


class InvalidQuery(Exception):
    """AWS, or this module, does not support the query."""


@dataclass
class Series:
    """Values by the start of their period, in seconds since 1970."""

    label: str
    values: dict[float, float] = field(default_factory=dict)


Value = Any  # a number, a Series, or a list of Series


class Reader:
    """Answers one request: its queries, for the periods that begin within [start, end).

    Args:
        origin: the start of one period, in seconds since 1970; 0 gives AWS's own grid.
    """

    def __init__(self, queries: list[dict[str, Any]], start: float, end: float, origin: float = 0.0) -> None:
        self._queries = {query["Id"]: query for query in queries}
        self._start, self._end, self._origin = start, end, origin
        self._known: dict[str, Value] = {}

    def read(self, name: str) -> list[Series]:
        """The result of a query: one series, or those that its search found."""
        value = self._value(name)
        if isinstance(value, (int, float)):
            value = Series(name, dict.fromkeys(self._times(self._period(name)), float(value)))
        return value if isinstance(value, list) else [value]

    def _value(self, name: str) -> Value:
        if name not in self._queries:
            raise InvalidQuery(f"no query has the id {name}")
        if name not in self._known:
            query = self._queries[name]
            if metrics_insights.is_query(expression := query.get("Expression", "")):
                self._known[name] = self._selected(expression, query)
            elif expression:
                for word, python in WORDS.items():
                    expression = expression.replace(word, python)
                try:
                    tree = ast.parse(expression.strip(), mode="eval").body
                except SyntaxError as error:
                    raise InvalidQuery(f"not an expression: {expression}") from error
                self._known[name] = self._compute(tree, name)
            else:
                self._known[name] = self._measured(query["MetricStat"])
        return self._known[name]

    def _period(self, name: str) -> int:
        """The longest period of the metrics that a query uses."""
        query = self._queries[name]
        if "MetricStat" in query:
            return int(query["MetricStat"]["Period"])
        searched = [int(p) for p in re.findall(r"'\s*,\s*(\d+)\s*\)", query["Expression"])]
        named = set(re.findall(r"\b[a-z]\w*\b", query["Expression"])) & (set(self._queries) - {name})
        return max([*searched, *(self._period(n) for n in named)], default=int(query.get("Period") or 60))

    def _times(self, period: int) -> list[float]:
        first = math.ceil((self._start - self._origin) / period)
        last = math.ceil((self._end - self._origin) / period)
        return [self._origin + n * period for n in range(first, last)]

    # -- metrics

    def _measured(self, asked: dict[str, Any]) -> Series:
        from ministack.services import cloudwatch

        metric = asked["Metric"]
        dimensions = cloudwatch._dims_from_list(metric.get("Dimensions") or [])
        key = (metric["Namespace"], metric["MetricName"], cloudwatch._dims_key(dimensions))
        points = cloudwatch._metrics.get(key) or []
        return Series(metric["MetricName"], self._statistics(points, asked["Stat"], int(asked["Period"])))

    def _statistics(self, points: list[dict[str, Any]], statistic: str, period: int) -> dict[float, float]:
        periods: dict[float, list[dict[str, Any]]] = {}
        earliest = math.floor(self._start / period) * period
        # Alarms are evaluated again and again, and most points are from long before.
        for point in [one for one in points if earliest <= one["Timestamp"] < self._end + period]:
            begin = self._origin + math.floor((point["Timestamp"] - self._origin) / period) * period
            if self._start <= begin < self._end or begin == earliest:
                periods.setdefault(begin, []).append(point)
        values = {begin: _statistic(found, statistic) for begin, found in sorted(periods.items())}
        return {begin: value for begin, value in values.items() if value is not None}

    def _search(self, text: str, statistic: str, period: int) -> list[Series]:
        """``{Namespace,Dimension,…} Dimension="value" MetricName="name"``: metrics with exactly these dimensions."""
        from ministack.services import cloudwatch

        schema, _, terms = text.partition("}")
        namespace, *names = [part.strip().strip('"') for part in schema.strip().lstrip("{").split(",")]
        wanted = dict(re.findall(r'([\w:]+)\s*=\s*"([^"]*)"', terms))
        found = []
        for (space, metric, _key), points in cloudwatch._metrics.items():
            dimensions = points[0]["Dimensions"] if points else {}
            if space == namespace and set(dimensions) == set(names):
                known = {**dimensions, "MetricName": metric}
                if all(known.get(name) == value for name, value in wanted.items()):
                    label = " ".join(v for _, v in sorted(dimensions.items()) if v not in wanted.values()) or metric
                    found.append(Series(label, self._statistics(points, statistic, period)))
        return sorted(found, key=lambda series: series.label)

    def _selected(self, expression: str, query: dict[str, Any]) -> Series:
        """What a query of Metrics Insights finds, as one series."""
        from ministack.services import cloudwatch

        try:
            selected = metrics_insights.parse(expression)
        except ValueError as error:
            raise InvalidQuery(str(error)) from error
        if not query.get("Period"):
            raise InvalidQuery("a query of Metrics Insights needs a Period")
        points = [
            point
            for (space, metric, _key), found in list(cloudwatch._metrics.items())
            if found and selected.matches(space, metric, found[0]["Dimensions"])
            for point in list(found)
        ]
        return Series(query["Id"], self._statistics(points, selected.statistic, int(query["Period"])))

    # -- expressions

    def _compute(self, tree: ast.expr, name: str) -> Value:
        match tree:
            case ast.Constant(value=int() | float() | str() as value):
                return value
            case ast.Name(id=other):
                return self._value(other)
            case ast.List(elts=parts):
                found = [self._compute(part, name) for part in parts]
                return [series for part in found for series in (part if isinstance(part, list) else [part])]
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return _combine(operator.mul, -1, self._compute(inner, name))
            case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
                return _combine(OPERATORS[type(op)], self._compute(left, name), self._compute(right, name))
            case ast.BoolOp(op=op, values=[first, *others]):
                value = self._compute(first, name)
                for operand in others:
                    value = _combine(OPERATORS[type(op)], value, self._compute(operand, name))
                return value
            case ast.Call(func=ast.Name(id=function), args=parts):
                return self._call(function, [self._compute(part, name) for part in parts], name)
        raise InvalidQuery(f"not supported: {ast.unparse(tree)}")

    def _call(self, function: str, given: list[Value], name: str) -> Value:
        match function, given:
            case "SEARCH", [str(text), str(statistic), int(period)]:
                return self._search(text, statistic, period)
            case "SUM", [list(series)]:
                times = sorted({at for one in series for at in one.values})
                return Series(name, {at: sum(one.values.get(at, 0.0) for one in series) for at in times})
            case "FILL", [Series() as series, int() | float() as value]:
                return Series(series.label, {**dict.fromkeys(self._times(self._period(name)), value), **series.values})
            case "IF", [test, then, other]:
                both = _combine(lambda a, b: (a, b), then, other)
                return _combine(lambda t, pair: pair[0] if t else pair[1], test, both)
            case "LOG", [series]:
                return _combine(lambda _, value: math.log(value), 0, series)
            case "PERIOD", [Series()]:
                return self._period(name)
            case "REMOVE_EMPTY", [list(series)]:
                return [one for one in series if one.values]
        raise InvalidQuery(f"not supported: {function} of {len(given)}")


def _combine(operation: Any, left: Value, right: Value) -> Value:
    """Two numbers; a series with a number or, at the times that both have, a series; each item of a list with the other."""
    if isinstance(left, list) or isinstance(right, list):
        if isinstance(left, list) and isinstance(right, list):
            raise InvalidQuery("an array cannot be combined with an array")
        many, swapped = (left, False) if isinstance(left, list) else (right, True)
        return [_combine(operation, left, one) if swapped else _combine(operation, one, right) for one in many]
    series = [side for side in (left, right) if isinstance(side, Series)]
    if not series:
        return operation(left, right)
    times = set.intersection(*(set(one.values) for one in series))
    result = {}
    for at in sorted(times):
        pair = [side.values[at] if isinstance(side, Series) else side for side in (left, right)]
        try:
            value = operation(*pair)
        except (ZeroDivisionError, ValueError):  # no data point, as on AWS
            continue
        result[at] = float(value) if isinstance(value, (int, float)) else value
    return Series(series[0].label, result)


def _statistic(points: list[dict[str, Any]], statistic: str) -> float | None:
    from ministack.services import cloudwatch

    if not (rank := re.fullmatch(r"PR\(([\d.]*):([\d.]*)\)", statistic)):
        value = cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points)
        return None if value is None else float(value)
    low, high = float(rank[1] or "-inf"), float(rank[2] or "inf")
    samples = cloudwatch._percentile_samples(points) or []
    total = sum(weight for _, weight in samples)
    return 100 * sum(weight for value, weight in samples if low < value <= high) / total if total else None
