"""The metrics of a release that has a share of the traffic, and whether one exceeds a limit."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from ml_delivery.records import Look

if TYPE_CHECKING:
    from ml_delivery.keys import Deploy
    from ml_delivery.release.delivery import Delivery

__all__ = ["look", "weights"]

COMMAND_SECONDS = 60


def weights(rules: Deploy) -> list[int]:
    """The percentages of the traffic that a new release gets, one after the other, before it gets all of it."""
    if rules.strategy == "all-at-once":
        return []
    if rules.strategy == "canary":
        return [rules.weight]
    return list(range(rules.weight, 100, rules.weight))


def look(delivery: Delivery, deployed: str, weight: int, since: float) -> Look:
    """Measure everything that is watched once.

    Args:
        delivery: the environment.
        deployed: the deployed version that was given traffic.
        weight: its percent of the traffic.
        since: when it was first given any; seconds since 1970.
    """
    rules = delivery.environment.deploy
    seen = delivery.deployer.numbers(deployed, since)
    # One list serves all environments, each of which has its own alarms.
    alarms = _ringing(
        delivery, tuple(name.replace("{environment}", delivery.environment.name) for name in rules.alarms)
    )
    command = _run(delivery, deployed, weight) if rules.command else 0
    breach = ""
    if seen.errors * 100 > rules.max_errors * seen.requests:
        share = 100 * seen.errors / max(seen.requests, 1)
        breach = f"{share:.1f} % of requests fail ({seen.errors} of {seen.requests}); deploy.max_errors is {rules.max_errors} %"
    elif rules.max_p95 and seen.p95 > rules.max_p95:
        breach = f"p95 is {seen.p95:.0f} ms; deploy.max_p95 is {rules.max_p95} ms"
    elif seen.throttles > rules.max_throttles:
        breach = f"{seen.throttles} calls were throttled; deploy.max_throttles is {rules.max_throttles}"
    elif alarms:
        breach = f"the alarm {alarms[0]} is in alarm"
    elif command:
        breach = f"{' '.join(rules.command)} exited with code {command}"
    return Look(weight, seen.requests, seen.errors, seen.p95, seen.throttles, alarms, command, breach)


def _ringing(delivery: Delivery, names: tuple[str, ...]) -> tuple[str, ...]:
    """The alarms of ``names`` that are in state ALARM; one that does not exist counts, since nothing is being watched."""
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


def _run(delivery: Delivery, deployed: str, weight: int) -> int:
    """Run the user's own check and return its exit code. Its variables name the deployed version and its share."""
    facts = {
        "RELEASE_VERSION": deployed,
        "RELEASE_WEIGHT": str(weight),
        "RELEASE_ENVIRONMENT": delivery.environment.name,
    }
    try:
        return subprocess.run(
            delivery.environment.deploy.command,
            cwd=delivery.config.root,
            env={**os.environ, **facts},
            timeout=COMMAND_SECONDS,
            stdout=subprocess.DEVNULL,
            check=False,
        ).returncode
    except FileNotFoundError:
        return 127
    except subprocess.TimeoutExpired:
        return 124
