"""The report: one self-contained HTML page with all panels of the last days."""

from __future__ import annotations

import time
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from ml_delivery.monitoring import data
from ml_delivery.monitoring.definition import observed
from ml_delivery.observed import Observed, Panel, Place
from ml_pages import charts
from ml_pages.page import NOTHING, document, figure, state, table

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.cloud import Cloud
    from ml_delivery.records import Release
    from ml_delivery.release.delivery import Delivery

__all__ = ["Report", "write"]

FILE = "build/monitoring.html"
RELEASES = 20
NOT_CREATED = "not created"
LEAST = 300  # seconds that a plot covers


@dataclass(frozen=True)
class Report:
    """The page's path, and by each panel's id how many points each line has, or how many rows its log query."""

    path: Path
    panels: dict[str, dict[str, int]]

    @property
    def empty(self) -> tuple[str, ...]:
        """The panels without data."""
        return tuple(name for name, lines in self.panels.items() if not any(lines.values()))


def write(delivery: Delivery, days: int) -> Report:
    """Write ``build/monitoring.html`` for the last ``days`` days, or for as long as there are data or releases in them.

    Raises:
        CloudError: CloudWatch or the ledger does not answer.
    """
    config, environment, cloud = delivery.config, delivery.environment, delivery.cloud
    at = Place(config, environment, cloud.account)
    seen = observed(at)
    end = time.time()
    begin = end - days * data.DAY
    releases = delivery.ledger.latest(RELEASES, [])  # marks on plots, for those that can be read
    begin, period, lines = _fitting(cloud, seen, begin, end, [release.at for release in releases])
    marks = [charts.Mark(one.at, f"release {one.number}, {one.state}", written=False) for one in releases]
    logs = {
        panel.id: data.ask_log(cloud, seen.log_group, seen.logs[panel.log], days * 24 * 60)
        for panel in seen.panels
        if panel.log
    }

    def shown(panel: Panel) -> str:
        if panel.log:
            content = _table(logs[panel.id])
        elif drawn := [_line(line, i, period, panel.unit) for i, line in enumerate(lines[panel.id])]:
            content = charts.chart(panel.title, "", "", *marks, *drawn, width=420, height=170, span=(begin, end))
        else:
            content = NOTHING
        return figure(panel.title, content, panel.about, panel.id)

    body = "".join(
        f"<h2>{escape(row)}</h2><div class='plots'>{''.join(map(shown, listed))}</div>"
        for row, listed in seen.rows.items()
    )
    title = f"{at.name}, last {days} day{'s' if days != 1 else ''}"
    every = f"{period // 60} minutes" if period > 60 else "minute"
    about = (
        f"<p class='faint'>{_when(begin)} to {_when(end)}, a point every {every}; dashed lines are "
        f"releases; {escape(cloud.name)} cloud, {escape(at.region)}. Drag across a plot to zoom all of them; double-click "
        "to see everything again.</p>"
    )
    where = f"--branch {environment.branch}{delivery.where}"
    whole = f"{about}<h2>Alarms</h2>{_alarms(cloud, at, seen, where)}{body}<h2>Releases</h2>{_releases(releases)}"
    path = config.root / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(document(title, whole, charts.ZOOM), encoding="utf-8")
    counts = {name: {line.label: len(line.points) for line in found} for name, found in lines.items()}
    rows = {panel.id: {panel.log: len(logs[panel.id])} for panel in seen.panels if panel.log}
    return Report(path, {panel.id: (counts | rows)[panel.id] for panel in seen.panels})


def _fitting(
    cloud: Cloud, seen: Observed, begin: float, end: float, times: list[float]
) -> tuple[float, int, dict[str, list[data.Series]]]:
    """From when to plot, the seconds between points, and each panel's lines: from the first of them, or of ``times``, on."""

    def read(begin: float, period: int) -> tuple[float, dict[str, list[data.Series]]]:
        panels = [panel for panel in seen.panels if not panel.log]
        lines = {panel.id: data.read(cloud, panel, begin, end + period, period) for panel in panels}
        first = [line.points[0][0] for found in lines.values() for line in found]
        return max(begin, min([*first, *(at for at in times if at >= begin), end - LEAST]) - LEAST / 10), lines

    period = data.period_for(end - begin)
    first, lines = read(begin, period)
    if (finer := data.period_for(end - first)) < period:
        period, (first, lines) = finer, read(first, finer)
    return first, period, lines


def _line(line: data.Series, i: int, period: int, unit: str) -> charts.Line:
    """A line that is interrupted where a period has no point."""
    at, values = zip(*line.points, strict=True)
    return charts.Line(at, values, f"c{i % 6}", period * 1.5, line.label, data.amount(values[-1], unit))


def _alarms(cloud: Cloud, at: Place, seen: Observed, where: str) -> str:
    states = data.alarm_states(cloud, at.name)
    found = [(alarm, states.get(f"{at.name}-{alarm.id}", NOT_CREATED)) for alarm in seen.alarms]
    create = f"<p>To create the alarms: <code>{escape(f'invoke bootstrap {where}')}</code></p>"
    rows = [(escape(alarm.title), state(word), escape(alarm.runbook)) for alarm, word in found]
    listed = table(("alarm", "state", "what to do"), rows) if rows else NOTHING
    return listed + (create if any(word == NOT_CREATED for _, word in found) else "")


def _releases(releases: list[Release]) -> str:
    rows = [
        (
            str(one.number),
            state(one.state),
            *map(escape, (_when(one.at), one.artifact.version[:12], one.who, one.cause)),
        )
        for one in releases
    ]
    return table(("release", "state", "at", "commit", "by", "cause"), rows) if rows else NOTHING


def _table(rows: list[dict[str, str]]) -> str:
    """What a log query found."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return table(names, [[escape(row.get(name, "")) for name in names] for row in rows]) if rows else NOTHING


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
