"""A service at a glance, as lines for a terminal: who answers how much, how well, what fires, what was released."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ml_delivery.monitoring import data
from ml_delivery.monitoring.definition import panels
from ml_delivery.monitoring.plot import number
from ml_delivery.monitoring.queries import place

if TYPE_CHECKING:
    from ml_delivery.release.delivery import Delivery

__all__ = ["MINUTES", "lines"]

MINUTES = 30
BARS = " ▁▂▃▄▅▆▇█"
RELEASES = 5


def lines(delivery: Delivery) -> list[str]:
    """What there is to see now; the numbers are those of the last ``MINUTES``.

    Raises:
        CloudError: CloudWatch, the ledger or the target does not answer.
    """
    cloud, environment = delivery.cloud, delivery.environment
    at = place(delivery.config, environment, cloud.account)
    end = (time.time() // 60 + 1) * 60
    begin = end - MINUTES * 60
    known = {panel.id: panel for row in panels(at).values() for panel in row}
    requests, errors, p95 = (
        {s.label: s.points for s in data.read(cloud, known[name], begin, end, 60)}
        for name in ("requests", "errors", "latency-by-version")
    )
    releases, live = delivery.ledger.latest(RELEASES), delivery.deployer.live()
    of = {release.deployed: release.number for release in reversed(releases)}
    total = sum(value for points in requests.values() for _, value in points)
    found = [
        f"{at.function} on {cloud.name}, {time.strftime('%H:%M:%S')}",
        f"  release {live.release} serves as version {live.deployed}"
        if live
        else "  nothing is live; next: invoke deploy",
        "",
        f"  {'version':<9}{'release':<9}{'share':>6}{'requests':>10}{'errors':>8}{'p95':>9}   last {MINUTES} minutes",
    ]
    for version, points in sorted(
        requests.items(), key=lambda item: int(item[0]) if item[0].isdigit() else 0, reverse=True
    ):
        count = sum(value for _, value in points)
        failed = sum(value for _, value in errors.get(version, ()))
        slow = number(p95[version][-1][1]) + " ms" if p95.get(version) else ""
        bars = _bars(points, begin)
        share = f"{100 * count / total:.0f} %" if total else ""
        found.append(f"  {version:<9}{of.get(version, ''):<9}{share:>6}{count:>10.0f}{failed:>8.0f}{slow:>9}   {bars}")
    if not requests:
        found.append("  nobody has asked for anything")
    states = data.alarm_states(cloud, at.function)
    firing = sorted(name for name, state in states.items() if state == "ALARM")
    alarms = ", ".join(firing) if firing else "none fires" if states else "none were made; next: invoke bootstrap"
    found += ["", f"  alarms: {alarms}", ""]
    for release in releases:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(release.at))
        found.append(
            f"  {release.number:>4}  {release.state:<11}  {when}  {release.artifact.version[:12]}  {release.who}"
        )
    return found


def _bars(points: tuple[tuple[float, float], ...], begin: float) -> str:
    """A bar for each minute, the tallest for the busiest."""
    by_minute = {int((at - begin) // 60): value for at, value in points}
    most = max(by_minute.values(), default=0) or 1
    return "".join(BARS[round(by_minute.get(minute, 0) / most * (len(BARS) - 1))] for minute in range(MINUTES)).rstrip()
