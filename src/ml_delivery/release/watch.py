"""What users meet at a version that has a share of the traffic, and whether that crosses a line."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_delivery.keys import Deploy
    from ml_delivery.release.delivery import Delivery

__all__ = ["Look", "look", "weights"]

COMMAND_SECONDS = 60


@dataclass(frozen=True)
class Look:
    """What was seen at one moment: the version's numbers since it had traffic, and ``breach``, the line that was crossed.

    ``alarms`` are those that ring; ``command`` is the exit code of the user's own probe.
    """

    weight: int
    requests: int
    errors: int
    p95: float
    throttles: int
    alarms: tuple[str, ...]
    command: int
    breach: str

    def __str__(self) -> str:
        return f"{self.errors} of {self.requests} requests failed, p95 {self.p95:.0f} ms"


def weights(rules: Deploy) -> list[int]:
    """The percents that a new version is given one after the other, before it gets all."""
    if rules.strategy == "all-at-once":
        return []
    if rules.strategy == "canary":
        return [rules.weight]
    return list(range(rules.weight, 100, rules.weight))


def look(delivery: Delivery, version: str, weight: int, since: float) -> Look:
    """Look at all that is watched, once.

    Args:
        delivery: the environment.
        version: the one that was given traffic.
        weight: how many percent it has.
        since: when it was first given any; seconds since 1970.
    """
    rules = delivery.config.deploy
    seen = delivery.target.numbers(version, since)
    # One list for all environments, whose alarms have names of their own.
    alarms = _ringing(
        delivery, tuple(name.replace("{environment}", delivery.environment.name) for name in rules.alarms)
    )
    command = _run(delivery, version, weight) if rules.command else 0
    breach = ""
    if seen.errors * 100 > rules.max_errors * seen.requests:
        share = 100 * seen.errors / max(seen.requests, 1)
        breach = f"{share:.1f} % of requests fail ({seen.errors} of {seen.requests}); deploy.max_errors is {rules.max_errors} %"
    elif rules.max_p95 and seen.p95 > rules.max_p95:
        breach = f"p95 is {seen.p95:.0f} ms; deploy.max_p95 is {rules.max_p95} ms"
    elif seen.throttles > rules.max_throttles:
        breach = f"{seen.throttles} calls were throttled; deploy.max_throttles is {rules.max_throttles}"
    elif alarms:
        breach = f"the alarm {alarms[0]} rings"
    elif command:
        breach = f"{' '.join(rules.command)} ended with exit code {command}"
    return Look(weight, seen.requests, seen.errors, seen.p95, seen.throttles, alarms, command, breach)


def _ringing(delivery: Delivery, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names`` that are in state ALARM; a name that no alarm has counts, since nobody is watching."""
    if not names:
        return ()
    with delivery.cloud.faults():
        answer = delivery.cloud.client("cloudwatch").describe_alarms(
            AlarmNames=list(names), AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
    found = {
        a["AlarmName"]: a["StateValue"] for kind in ("MetricAlarms", "CompositeAlarms") for a in answer.get(kind, [])
    }
    return tuple(
        name if name in found else f"{name} (which does not exist)"
        for name in names
        if found.get(name, "ALARM") == "ALARM"
    )


def _run(delivery: Delivery, version: str, weight: int) -> int:
    """The user's own probe: 0 is good. It is told the version and its share in the environment."""
    told = {"RELEASE_VERSION": version, "RELEASE_WEIGHT": str(weight), "RELEASE_ENVIRONMENT": delivery.environment.name}
    try:
        return subprocess.run(
            delivery.config.deploy.command,
            cwd=delivery.config.root,
            env={**os.environ, **told},
            timeout=COMMAND_SECONDS,
            stdout=subprocess.DEVNULL,
            check=False,
        ).returncode
    except FileNotFoundError:
        return 127
    except subprocess.TimeoutExpired:
        return 124
