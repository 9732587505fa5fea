"""Divides the parts of a training among hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_delivery.errors import ConfigError

if TYPE_CHECKING:
    from ml_delivery.keys import Jobs

__all__ = ["divide"]


def divide(jobs: Jobs, hosts: int) -> tuple[tuple[str, ...], ...]:
    """The parts that each host trains: longest first, each to the host that is done first (Graham's LPT rule).

    https://doi.org/10.1137/0117039: it takes at most a third longer than the best division. Empty for one host, which
    trains everything. Parts that hosts train together are the first of each.

    Raises:
        ConfigError: there are no parts to divide, or fewer parts than hosts.
    """
    if hosts < 1:
        raise ConfigError("--instances", [f"{hosts} is not a number of hosts; write 1 or more"])
    if hosts == 1:
        return ()
    if not jobs.parts:
        raise ConfigError(
            "--instances", ["[jobs] parts is empty, so that there is nothing to divide; write --instances 1"]
        )
    if hosts > len(jobs.parts) and not jobs.together:
        problem = f"{hosts} hosts for {len(jobs.parts)} parts: a host would have nothing to train"
        raise ConfigError("--instances", [f"{problem}; write --instances {len(jobs.parts)} or fewer"])
    loads, found = [0.0] * hosts, [list(jobs.together) for _ in range(hosts)]  # type: tuple[list[float], list[list[str]]]
    own = {name: weight for name, weight in jobs.parts.items() if name not in jobs.together}
    for name, weight in sorted(own.items(), key=lambda item: (-item[1], item[0])):
        host = loads.index(min(loads))
        loads[host] += weight
        found[host].append(name)
    return tuple(map(tuple, found))
