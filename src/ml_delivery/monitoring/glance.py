"""An overview of a service, as lines for a terminal: traffic and metrics by deployed version, alarms, latest releases."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ml_delivery.monitoring import data
from ml_delivery.monitoring.definition import observed
from ml_delivery.observed import Place
from ml_delivery.release import words

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud
    from ml_delivery.errors import CloudError
    from ml_delivery.observed import ByVersion, Panel
    from ml_delivery.records import Traffic
    from ml_delivery.release.delivery import Delivery

__all__ = ["MINUTES", "lines"]

MINUTES = 30
BARS = " ▁▂▃▄▅▆▇█"
RELEASES = 5


def lines(delivery: Delivery) -> list[str]:
    """The current overview; its metrics cover the last ``MINUTES``.

    Raises:
        CloudError: CloudWatch, the ledger or the target does not answer.
    """
    cloud = delivery.cloud
    at = Place(delivery.config, delivery.environment, cloud.account)
    seen = observed(at)
    end = (time.time() // 60 + 1) * 60
    damaged: list[CloudError] = []
    releases, head = delivery.ledger.latest(RELEASES, damaged), delivery.ledger.head()
    live = delivery.deployer.live()
    where = f"--branch {delivery.environment.branch}{delivery.where}"
    found = [f"{at.name} on {cloud.name}, {time.strftime('%H:%M:%S')}"]
    found += [f"  {line}" for line in words.state(live, head, where)]
    states = data.alarm_states(cloud, at.name)
    firing = sorted(name for name, state in states.items() if state == "ALARM")
    alarms = ", ".join(firing) or ("none in alarm" if states else f"none exist; next: invoke bootstrap {where}")
    found += [f"  alarms: {alarms}", ""]
    if seen.by_version:
        of = {release.deployed: release.number for release in reversed(releases)}
        if head.work:
            of[head.work.release.deployed] = head.work.release.number
        found += _versions(cloud, seen.by_version, of, live.traffic if live else None, end)
    else:  # the first row shows the users' requests
        found += [_latest(cloud, panel, end) for panel in next(iter(seen.rows.values())) if panel.queries]
    found.append("")
    for release in releases:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(release.at))
        found.append(
            f"  {release.number:>4}  {release.state:<11}  {when}  {release.artifact.version[:12]}  {release.who}"
        )
    return found + [f"  {error.message}" for error in damaged]


def _versions(
    cloud: Cloud, by_version: ByVersion, of: dict[str, int], traffic: Traffic | None, end: float
) -> list[str]:
    """A line for each deployed version that has traffic or had requests: its release, its percent of the traffic, its
    requests, failures and latency, and a bar for each minute.
    """
    begin = end - MINUTES * 60
    asked, errors, p95, failures = (
        {line.label: line.points for line in data.read(cloud, panel, begin, end, 60)} if panel else {}
        for panel in (by_version.requests, by_version.errors, by_version.p95, by_version.failures)
    )
    shares = {traffic.deployed: 100 - sum(traffic.weights.values()), **traffic.weights} if traffic else {}
    found = [
        f"  {'version':<9}{'release':<9}{'traffic':>8}{'requests':>10}{'raised':>8}{'5xx':>7}{'p95':>9}   last {MINUTES} minutes"
    ]
    for version in sorted({*asked, *shares}, key=lambda name: (of.get(name, 0), name), reverse=True):
        points = asked.get(version, ())
        raised = sum(value for _, value in errors.get(version, ()))
        # The service reports its own failures, so that there may be no metric: that is not zero.
        answered = f"{sum(value for _, value in failures[version]):.0f}" if version in failures else "?"
        slow = data.amount(p95[version][-1][1], "ms") if p95.get(version) else ""
        share = f"{shares[version]} %" if version in shares else ""
        found.append(
            f"  {version:<9}{of.get(version, ''):<9}{share:>8}{sum(value for _, value in points):>10.0f}"
            f"{raised:>8.0f}{answered:>7}{slow:>9}   {_bars(points, begin)}".rstrip()
        )
    if any(version not in failures for version in asked):
        found.append("  5xx = ?: the service reports no metric Failures by version")
    return found


def _latest(cloud: Cloud, panel: Panel, end: float) -> str:
    """A panel's newest values, in one line."""
    newest = [
        f"{line.label} {data.amount(line.points[-1][1], panel.unit)}".strip()
        for line in data.read(cloud, panel, end - MINUTES * 60, end, 60)
    ]
    return f"  {panel.title}: {', '.join(newest) or 'no data'}"


def _bars(points: tuple[tuple[float, float], ...], begin: float) -> str:
    """A bar for each minute, as tall as its share of the busiest minute."""
    by_minute = {int((at - begin) // 60): value for at, value in points}
    most = max(by_minute.values(), default=0) or 1
    return "".join(BARS[round(by_minute.get(minute, 0) / most * (len(BARS) - 1))] for minute in range(MINUTES)).rstrip()
