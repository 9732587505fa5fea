"""The report: one self-contained HTML page with all panels of the last days."""

from __future__ import annotations

import html
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.monitoring import data, plot
from ml_delivery.monitoring.definition import observed
from ml_delivery.observed import Observed, Panel, Place

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.cloud import Cloud
    from ml_delivery.records import Release
    from ml_delivery.release.delivery import Delivery

__all__ = ["Report", "write"]

FILE = "build/monitoring.html"
RELEASES = 20
STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #777; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem; }
h1 { margin-bottom: 0 } h2 { margin-top: 2rem; border-bottom: 1px solid var(--line) }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: 1rem }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .7rem }
figcaption b { display: block } figcaption, .legend, .faint { font-size: 13px } figcaption, .faint { color: var(--faint) }
svg { width: 100%; height: auto } svg text { font-size: 10px; fill: var(--faint) }
.grid { stroke: var(--line); stroke-width: .7 } .mark { stroke: #c33; stroke-width: 1.2; stroke-dasharray: 3 3 }
.legend { margin: .2rem 0 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: 13px }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .7rem .25rem 0; text-align: left; white-space: nowrap }
td:last-child { white-space: normal }
.ALARM { color: #c33; font-weight: bold }
"""


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
    """Write ``build/monitoring.html`` for the last ``days`` days.

    Raises:
        CloudError: CloudWatch or the ledger does not answer.
    """
    config, environment, cloud = delivery.config, delivery.environment, delivery.cloud
    at = Place(config, environment, cloud.account)
    seen = observed(at)
    end = time.time()
    begin = end - days * data.DAY
    releases = delivery.ledger.latest(RELEASES, [])  # marks on plots, for those that can be read
    marks = [(release.at, f"release {release.number}, {release.state}") for release in releases]
    period = data.period_for(end - begin)
    counts: dict[str, dict[str, int]] = {}

    def shown(panel: Panel) -> str:
        if panel.log:
            rows = data.ask_log(cloud, seen.log_group, seen.logs[panel.log], days * 24 * 60)
            counts[panel.id], content = {panel.log: len(rows)}, _table(rows)
        else:
            lines = data.read(cloud, panel, begin, end + period, period)
            counts[panel.id] = {line.label: len(line.points) for line in lines}
            content = plot.draw(lines, begin, end, period, marks, panel.unit) if lines else _NOTHING
        caption = f"<figcaption><b>{html.escape(panel.title)}</b>{html.escape(panel.about)}</figcaption>"
        return f'<figure id="{panel.id}">{caption}{content}</figure>'

    body = "".join(
        f"<h2>{html.escape(row)}</h2><div class='row'>{''.join(map(shown, listed))}</div>"
        for row, listed in seen.rows.items()
    )
    span = f"{_when(begin)} to {_when(end)}, a point for each {period // 60} minutes; dashed lines are releases"
    title = f"{at.name}, last {days} day{'s' if days != 1 else ''}"
    page = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
        "<meta name='viewport' content='width=device-width'>"
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1><p class='faint'>{span}; {html.escape(cloud.name)} cloud, "
        f"{html.escape(at.region)}</p><h2>Alarms</h2>{_alarms(cloud, at, seen)}{body}<h2>Releases</h2>{_releases(releases)}"
        "</html>\n"
    )
    path = config.root / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return Report(path, counts)


_NOTHING = "<p class='faint'>no data</p>"


def _alarms(cloud: Cloud, at: Place, seen: Observed) -> str:
    states = data.alarm_states(cloud, at.name)
    rows = [
        {
            "alarm": alarm.title,
            "state": states.get(f"{at.name}-{alarm.id}", "not created"),
            "what to do": alarm.runbook,
        }
        for alarm in seen.alarms
    ]
    return _table(rows)


def _releases(releases: list[Release]) -> str:
    return _table(
        [
            {
                "release": str(release.number),
                "state": release.state,
                "at": _when(release.at),
                "commit": release.artifact.version[:12],
                "by": release.who,
                "cause": release.cause,
            }
            for release in releases
        ]
    )


def _table(rows: list[dict[str, str]]) -> str:
    if not rows:
        return _NOTHING
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    cells = "".join(
        "<tr>"
        + "".join(f"<td class='{_mark(row, name)}'>{html.escape(row.get(name, ''))}</td>" for name in names)
        + "</tr>"
        for row in rows
    )
    return f"<div class='scroll'><table><tr>{head}</tr>{cells}</table></div>"


def _mark(row: dict[str, str], name: str) -> str:
    return "ALARM" if row.get(name) == "ALARM" else ""


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
