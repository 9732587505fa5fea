"""Records as text, for errors and for tasks: the only place where these records become text."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_delivery.records import Live, Look
    from ml_delivery.release.head import Holder, Previous, Work

__all__ = ["holder", "look", "previous", "serving", "split", "work"]


def holder(one: Holder) -> str:
    """The holder of a lock."""
    since = time.strftime("%H:%M:%S", time.localtime(one.at))
    return f"{one.who} on {one.host} (pid {one.pid}, {one.reason}) since {since}"


def previous(one: Previous) -> str:
    """What served before."""
    return f"release {one.release}" if one.release else f"deployed version {one.deployed}"


def work(one: Work) -> str:
    """What is under way."""
    how = f"{one.verb} of release {one.release.number}, at {one.step or 'its start'}"
    return f"{how}, {one.weight} % of the traffic" if one.weight else how


def look(seen: Look) -> str:
    """What was measured."""
    return f"{seen.errors} of {seen.requests} requests failed, p95 {seen.p95:.0f} ms"


def serving(release: int, deployed: str) -> str:
    """What serves, as just read from the target."""
    if not deployed:
        return "nothing serves"
    return f"release {release} serves" if release else f"deployed version {deployed} serves"


def split(live: Live) -> str:
    """How traffic is split."""
    others = [f"version {deployed} {percent} %" for deployed, percent in live.traffic.weights.items()]
    return ", ".join([f"version {live.deployed} (release {live.release or 'unknown'})", *others])
