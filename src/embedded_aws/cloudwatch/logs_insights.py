"""Logs Insights: queries on fields of log lines.

What AWS does: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html; the members of a line that is
a JSON object are fields, and so are @type, @requestId, @duration and @initDuration of Lambda's own lines. Implemented here: fields,
filter (comparison, like, in, ispresent, and, or, not), stats (count, sum, avg, min, max, pct; by fields and bin), sort, limit.
ministack has no fields of a line, sorts by time only, and ignores every filter that it does not support.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

TOKEN = re.compile(
    r"""\s*(?:(/(?:\\.|[^/])*/i?)|("[^"]*"|'[^']*')|(-?\d+(?:\.\d+)?)|([@\w.]+)|(!=|<=|>=|[=<>(),*\[\]]))"""
)
PLATFORM = {
    "@type": r"^(START|END|REPORT) RequestId",
    "@requestId": r"RequestId: (\S+)",
    "@duration": r"\tDuration: ([\d.]+) ms",
    "@initDuration": r"\tInit Duration: ([\d.]+) ms",
}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
Row = dict[str, Any]


class Malformed(Exception):
    """AWS, or this module, does not support the query."""


def run(query: str, records: list[Row]) -> list[Row]:
    """The rows that ``query`` returns for log records."""
    from ministack.services import cloudwatch_logs

    rows = [{**_fields(record), **record} for record in records]
    shown: list[str] = []
    text = "\n".join(line for line in query.splitlines() if not line.lstrip().startswith("#"))
    sorted_ = False
    for stage in cloudwatch_logs._split_insights_pipes(text):
        verb, _, rest = stage.partition(" ")
        match verb.lower():
            case "fields" | "display":
                shown += [name.strip() for name in rest.split(",")]
            case "filter":
                holds = _Condition(rest).whole()
                rows = [row for row in rows if holds(row)]
            case "stats":
                rows, shown = _stats(rest, rows)
            case "sort":
                name, _, way = rest.strip().partition(" ")
                rows = sorted(rows, key=_by(name), reverse=way.strip().lower() == "desc")
                sorted_ = True
            case "limit":
                rows = rows[: int(rest)]
            case _:
                raise Malformed(f"unexpected symbol found {verb}")
    if not shown:
        shown = ["@timestamp", "@message"]
    if not sorted_ and "@timestamp" in shown:
        rows.sort(key=lambda row: row["_timestamp_ms"], reverse=True)
    return [{name: row[name] for name in shown if row.get(name) is not None} for row in rows]


def _fields(record: Row) -> Row:
    message = record["@message"]
    try:
        found = json.loads(message)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return _flat(found)
    matches = {name: re.search(pattern, message) for name, pattern in PLATFORM.items()}
    return {name: match[1] for name, match in matches.items() if match}


def _flat(document: Row, prefix: str = "") -> Row:
    flat: Row = {}
    for name, value in document.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _by(name: str) -> Callable[[Row], tuple[int, float, str]]:
    return lambda row: _order(row.get(name))


def _order(value: Any) -> tuple[int, float, str]:
    number = _number(value)
    return (0, 0.0, "") if value is None else (1, number, "") if number is not None else (2, 0.0, str(value))


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


class _Condition:
    """What follows ``filter``, by recursive descent."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at = 0
        while at < len(text.rstrip()):
            if not (match := TOKEN.match(text, at)):
                raise Malformed(f"unexpected symbol found {text[at:].strip()[:20]}")
            self._tokens.append(match[match.lastindex or 0])
            at = match.end()

    def whole(self) -> Callable[[Row], bool]:
        found = self._either()
        if self._tokens:
            raise Malformed(f"unexpected symbol found {self._tokens[0]}")
        return found

    def _take(self, *words: str) -> bool:
        if self._tokens and self._tokens[0].lower() in words:
            self._tokens.pop(0)
            return True
        return False

    def _next(self) -> str:
        if not self._tokens:
            raise Malformed("unexpected end of the query")
        return self._tokens.pop(0)

    def _either(self) -> Callable[[Row], bool]:
        left = self._both()
        while self._take("or"):
            left = (lambda a, b: lambda row: a(row) or b(row))(left, self._both())
        return left

    def _both(self) -> Callable[[Row], bool]:
        left = self._one()
        while self._take("and"):
            left = (lambda a, b: lambda row: a(row) and b(row))(left, self._one())
        return left

    def _one(self) -> Callable[[Row], bool]:
        if self._take("not"):
            inner = self._one()
            return lambda row: not inner(row)
        if self._take("("):
            inner = self._either()
            self._take(")")
            return inner
        if self._take("ispresent"):
            self._next()
            name = self._next()
            self._take(")")
            return lambda row: row.get(name) is not None
        name, operation = self._next(), self._next().lower()
        if operation == "in":
            values = []
            while (word := self._next()) != "]":
                values += [] if word in "[," else [_literal(word)]
            return lambda row: any(_equal(row.get(name), value) for value in values)
        token = self._next()
        if operation == "like":
            flags = re.IGNORECASE if token.endswith("/i") else 0
            pattern = re.compile(
                token.removesuffix("i").strip("/") if token.startswith("/") else re.escape(_literal(token)), flags
            )
            return lambda row: bool(pattern.search(str(row.get(name, ""))))
        return _comparison(name, operation, _literal(token))


def _literal(token: str) -> str:
    return token[1:-1] if token[0] in "\"'" else token


def _equal(value: Any, wanted: str) -> bool:
    numbers = _number(value), _number(wanted)
    return numbers[0] == numbers[1] if None not in numbers else value is not None and str(value) == wanted


def _comparison(name: str, operation: str, wanted: str) -> Callable[[Row], bool]:
    def compared(row: Row) -> bool:
        value = row.get(name)
        if operation in ("=", "!="):
            return _equal(value, wanted) == (operation == "=")
        left, right = _number(value), _number(wanted)
        if left is None or right is None:
            return False
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operation]

    if operation not in ("=", "!=", "<", "<=", ">", ">="):
        raise Malformed(f"unexpected symbol found {operation}")
    return compared


def _stats(text: str, rows: list[Row]) -> tuple[list[Row], list[str]]:
    wanted, _, by = re.sub(r"\s+", " ", text).partition(" by ")
    keys = [key.strip() for key in re.split(r",(?![^(]*\))", by) if key.strip()]
    asked = []
    for part in re.split(r",(?![^(]*\))", wanted):
        match = re.fullmatch(r"\s*(\w+)\(([^)]*)\)(?: as (\w+))?\s*", part)
        if not match:
            raise Malformed(f"unexpected symbol found {part.strip()}")
        asked.append((match[1].lower(), match[2].split(","), match[3] or part.strip()))
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(_key(key, row) for key in keys), []).append(row)
    table = [
        {**dict(zip(keys, group, strict=True)), **{name: _aggregate(f, words, found) for f, words, name in asked}}
        for group, found in groups.items()
    ]
    return table, [*keys, *(name for _, _, name in asked)]


def _key(key: str, row: Row) -> Any:
    from ministack.services import cloudwatch_logs

    if not (span := re.fullmatch(r"bin\((\d+)([smhd])\)", key)):
        return row.get(key)
    size = int(span[1]) * SECONDS[span[2]] * 1000
    return cloudwatch_logs._format_insights_timestamp(row["_timestamp_ms"] // size * size)


def _aggregate(function: str, words: list[str], rows: list[Row]) -> float | int | None:
    name = words[0].strip()
    if function == "count":
        return len(rows) if name == "*" else sum(row.get(name) is not None for row in rows)
    values = sorted(v for v in (_number(row.get(name)) for row in rows) if v is not None)
    if not values:
        return None
    match function:
        case "sum":
            return sum(values)
        case "avg":
            return sum(values) / len(values)
        case "min":
            return values[0]
        case "max":
            return values[-1]
        case "pct":
            return values[min(len(values) - 1, int(len(values) * float(words[1]) / 100))]
    raise Malformed(f"unknown function {function}")


def patch() -> None:
    """Run queries here, on the records that ministack collects."""
    from ministack.services import cloudwatch_logs as logs

    original = logs._start_query

    def start_query(data: dict[str, Any]) -> Any:
        answer = original({**data, "queryString": ""})
        status, headers, body = answer
        if status != 200:
            return answer
        record = logs._queries[json.loads(body)["queryId"]]
        scanned = logs._collect_query_records(logs._resolve_query_log_groups(data), data["startTime"], data["endTime"])
        try:
            rows = run(data.get("queryString", ""), scanned)[: int(data.get("limit") or 10_000)]
        except (Malformed, ValueError) as error:
            return logs.error_response_json("MalformedQueryException", str(error), 400)
        record["queryString"] = data.get("queryString", "")
        record["results"] = [[{"field": k, "value": _shown(v)} for k, v in row.items()] for row in rows]
        return status, headers, body

    logs._start_query = start_query


def _shown(value: Any) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
