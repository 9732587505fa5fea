"""The metrics of a release that has a share of the traffic, and whether one exceeds a limit."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from ml_delivery.records import Look
from ml_delivery.release import rollout, words

if TYPE_CHECKING:
    from ml_delivery.keys import Deploy
    from ml_delivery.release.delivery import Delivery

__all__ = ["breach", "look"]

COMMAND_SECONDS = 60


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
    alarms = _in_alarm(delivery, rollout.alarms(delivery))
    command = _run(delivery, deployed, weight) if rules.command else 0
    found = Look(weight, seen.requests, seen.errors, seen.p95, seen.throttles, alarms, command, "", seen.failures)
    return replace(found, breach=breach(found, rules))


def breach(seen: Look, rules: Deploy) -> str:
    """The first limit that ``seen`` is above, in words, or empty; what is equal to a limit is within it."""
    failed = seen.errors + (seen.failures or 0)
    if failed * 100 > rules.max_errors * seen.requests:
        share = 100 * failed / max(seen.requests, 1)
        return f"{share:.1f} % of requests fail ({words.failed(seen)}); deploy.max_errors is {rules.max_errors} %"
    if rules.max_p95 and seen.p95 > rules.max_p95:
        return f"p95 is {seen.p95:.0f} ms; deploy.max_p95 is {rules.max_p95} ms"
    if seen.throttles > rules.max_throttles:
        return f"{seen.throttles} calls were throttled; deploy.max_throttles is {rules.max_throttles}"
    if seen.alarms:
        return f"the alarm {seen.alarms[0]} is in alarm"
    if seen.command:
        return f"{' '.join(rules.command)} exited with code {seen.command}"
    return ""


def _in_alarm(delivery: Delivery, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names`` that are in state ALARM; one that does not exist counts, since nothing is being watched."""
    found = rollout.described(delivery, names)
    return tuple(
        name if name in found else f"{name} (which does not exist)"
        for name in names
        if name not in found or found[name]["StateValue"] == "ALARM"
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
