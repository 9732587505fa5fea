"""Reads and checks ``infra/metrics.toml``, in which a service declares the panels and alarms of its own domain.

The file is optional. Its keys are declared below, as those of ``pipeline.toml`` are in ``keys.py``.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from ml_delivery.errors import ConfigError
from ml_delivery.keys import key
from ml_delivery.observed import Alarm, Observed, Panel, Place, Query, own
from ml_delivery.sections import read_section, suggestion

__all__ = ["FILE", "read"]

FILE = "infra/metrics.toml"
UNITS = ("count", "ms", "s", "percent", "dollars", "ratio")
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
STATISTIC = (
    r"Sum|Average|Minimum|Maximum|SampleCount|IQM|(p|tm|wm|tc|ts)\d{1,2}(\.\d+)?|(PR|TM|WM|TC|TS)\([\d.%]*:[\d.%]*\)"
)
# The functions that an alarm's expression may call: Grafana evaluates it too, and supports no others.
IN_ALARMS = {"FILL", "LOG", "ABS"}
DAY, HOUR = 86_400, 3600


@dataclass(frozen=True)
class _Query:
    metric: str = key('the name of a metric that the service writes: "Latency"', default="", pattern=r"[\w./-]*")
    statistic: str = key('a statistic of CloudWatch: "Sum", "Average", "p95"', default="Sum", pattern=STATISTIC)
    expression: str = key('metric math over other queries: "100 * hits / requests"', default="")
    label: str = key('the line\'s name: "waiting"', default="")


@dataclass(frozen=True)
class _Panel:
    row: str = key('the title of the row that it is in: "Model"', pattern=r".+")
    title: str = key('a title: "Items in the queue"', pattern=r".+")
    about: str = key('a sentence: "Items that wait to be processed."', pattern=r".+")
    unit: str = key(f"one of {', '.join(UNITS)}", default="count", choices=UNITS)
    queries: tuple[str, ...] = key('a list of names of [queries]: ["hits"]', default=(), pattern=r".+")
    log: str = key('instead of queries, a file of infra/queries: "slow"', default="")


@dataclass(frozen=True)
class _Alarm:
    title: str = key('a title: "The queue is full"', pattern=r".+")
    means: str = key('what is wrong, as a sentence: "Items arrive faster than they are processed."', pattern=r".+\.")
    then: str = key('what to type, without a full stop: "invoke logs {where}"', pattern=r"(.*[^.])")
    query: str = key('the name of one of [queries]: "share"', pattern=r".+")
    threshold: float = key("a number: 5")
    below: bool = key("true to fire below the threshold", default=False)
    period: int = key("the seconds of one period: 60", default=60, within=(10, DAY))
    periods: int = key("how many periods are evaluated: 3", default=3, within=(1, 1440))
    needed: int = key("how many of those periods must breach the threshold: 2", default=2, within=(1, 1440))
    missing: str = key(
        'how a period without data counts: "notBreaching" or "breaching"',
        default="notBreaching",
        choices=("notBreaching", "breaching"),
    )


KINDS: dict[str, tuple[type[Any], str]] = {
    "queries": (_Query, r"[a-z][a-z0-9_]*"),
    "panels": (_Panel, r"[a-z][a-z0-9-]*"),
    "alarms": (_Alarm, r"[a-z][a-z0-9-]*"),
}


def read(at: Place, known: Observed) -> Observed:
    """The service's own panels by row, and its own alarms; empty without the file.

    Args:
        at: the environment; ``{where}`` and ``{name}`` in the file are replaced by ``Place.where`` and ``<service>-<environment>``.
        known: the other panels and alarms, whose ids are taken, and the log queries that a panel can use.

    Raises:
        ConfigError: the file is wrong; lists all problems, each as ``table.name.key: what is wrong; what to write``.
    """
    path = at.config.root / FILE
    if not path.is_file():
        return Observed()
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(FILE, [f"not TOML: {error}"], next=f"correct {FILE}") from error
    problems = [f"{name}: unknown table; {suggestion(name, list(KINDS))}" for name in data if name not in KINDS]
    tables = {name: _tables(name, data.get(name, {}), problems) for name in KINDS}
    queries: dict[str, _Query] = tables["queries"]
    problems += _of_queries(queries)
    problems += _of_panels(tables["panels"], queries, known)
    problems += _of_alarms(tables["alarms"], queries, known)
    if problems:
        raise ConfigError(FILE, problems, next=f"correct {FILE}")
    rows: dict[str, tuple[Panel, ...]] = {}
    for name, panel in tables["panels"].items():
        lines = _asked(at, queries, panel.queries)
        made = Panel(name, panel.title, panel.unit if lines else "", panel.about, lines, panel.log)
        rows[panel.row] = (*rows.get(panel.row, ()), made)
    alarms = tuple(
        Alarm(
            name,
            alarm.title,
            alarm.means,
            _filled(at, alarm.then),
            _asked(at, queries, (alarm.query,)),
            alarm.threshold,
            alarm.below,
            alarm.period,
            alarm.periods,
            alarm.needed,
            alarm.missing,
        )
        for name, alarm in tables["alarms"].items()
    )
    return Observed(rows, alarms)


def _tables(kind: str, content: Any, problems: list[str]) -> dict[str, Any]:
    declared, pattern = KINDS[kind]
    if not isinstance(content, dict):
        problems.append(f"{kind}: {content!r} is not a table; write [{kind}.NAME]")
        return {}
    found = {}
    for name, table in content.items():
        if not re.fullmatch(pattern, name):
            problems.append(f"{kind}.{name}: not an allowed name; write one such as {kind}.queue")
        if (made := read_section(f"{kind}.{name}", declared, table, problems)) is not None:
            found[name] = made
    return found


def _of_queries(queries: dict[str, _Query]) -> list[str]:
    """The problems of queries that need more than one key or query to be seen."""
    problems, before = [], list[str]()
    for name, query in queries.items():
        if bool(query.metric) == bool(query.expression):
            problems.append(f"queries.{name}: write either a metric or an expression")
        problems += [
            f"queries.{name}.expression: refers to {other!r}, which is not a query above it; {suggestion(other, before)}"
            for other in _references(query.expression)
            if other not in before
        ]
        before.append(name)
    return problems


def _of_panels(panels: dict[str, _Panel], queries: dict[str, _Query], known: Observed) -> list[str]:
    taken, problems = {panel.id for panel in known.panels}, []
    for name, panel in panels.items():
        if name in taken:
            problems.append(f"panels.{name}: there is already a panel with this name; write another name")
        if bool(panel.queries) == bool(panel.log):
            problems.append(f"panels.{name}: write either queries or log")
        if panel.log and panel.log not in known.logs:
            problems.append(f"panels.{name}.log: infra/queries/{panel.log}.txt does not exist; write the file")
        problems += [
            f"panels.{name}.queries: {other!r} is not one of [queries]; {suggestion(other, list(queries))}"
            for other in panel.queries
            if other not in queries
        ]
    return problems


def _of_alarms(alarms: dict[str, _Alarm], queries: dict[str, _Query], known: Observed) -> list[str]:
    taken, problems = {alarm.id for alarm in known.alarms}, []
    for name, alarm in alarms.items():
        if name in taken:
            problems.append(f"alarms.{name}: there is already an alarm with this name; write another name")
        if alarm.query not in queries:
            problems.append(
                f"alarms.{name}.query: {alarm.query!r} is not one of [queries]; {suggestion(alarm.query, list(queries))}"
            )
        calls = {call for other in _needed(queries, (alarm.query,)) for call in _calls(queries[other].expression)}
        problems += [
            f"alarms.{name}.query: calls {call}; an alarm's expressions can call only {', '.join(sorted(IN_ALARMS))}"
            for call in sorted(calls - IN_ALARMS)
        ]
        if alarm.needed > alarm.periods:
            problems.append(f"alarms.{name}.needed: {alarm.needed} is more than alarms.{name}.periods, {alarm.periods}")
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
        if alarm.period not in (10, 30) and alarm.period % 60:
            problems.append(f"alarms.{name}.period: {alarm.period} is not 10, 30 or a multiple of 60")
        if alarm.period * alarm.periods > (DAY if alarm.period < HOUR else 7 * DAY):
            problems.append(f"alarms.{name}.periods: together they are longer than CloudWatch evaluates")
    return problems


def _references(expression: str) -> list[str]:
    """The queries that an expression refers to: its words in lower case, outside of strings."""
    return re.findall(r"\b[a-z]\w*\b", re.sub(r"'[^']*'|\"[^\"]*\"|\{period\}", "", expression))


def _calls(expression: str) -> list[str]:
    """The functions that an expression calls."""
    return re.findall(r"\b[A-Z_]+(?=\()", expression)


def _needed(queries: dict[str, _Query], names: tuple[str, ...]) -> set[str]:
    """``names`` and all queries that they refer to."""
    found: set[str] = set()
    wanted = [name for name in names if name in queries]
    while wanted:
        if (name := wanted.pop()) not in found:
            found.add(name)
            wanted += [other for other in _references(queries[name].expression) if other in queries]
    return found


def _asked(at: Place, queries: dict[str, _Query], names: tuple[str, ...]) -> tuple[Query, ...]:
    """The queries in ``names``, preceded by those that they refer to, which are not shown."""
    needed = _needed(queries, names)
    return tuple(_query(at, name, query, name in names) for name, query in queries.items() if name in needed)


def _query(at: Place, name: str, query: _Query, shown: bool) -> Query:
    label = query.label if shown else ""
    if query.expression:
        return Query(name, label, expression=_filled(at, query.expression), shown=shown)
    return own(at, name, query.metric, label, query.statistic, shown)


def _filled(at: Place, text: str) -> str:
    return text.replace("{where}", at.where).replace("{name}", at.name)
