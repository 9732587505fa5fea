"""Removes what old releases need, by count and age, but never what a rollback could need."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ml_delivery.artifact import store
from ml_delivery.records import VERIFIED, Removed

if TYPE_CHECKING:
    from ml_delivery.keys import Deploy
    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.head import Kept
    from ml_delivery.release.ledger import Lease

__all__ = ["DAY", "prune", "retained"]

DAY = 86_400.0
# The head must stay small: at most this many releases are kept only because of their age.
MOST = 100


def retained(kept: tuple[Kept, ...], live: int, rules: Deploy, now: float) -> tuple[Kept, ...]:
    """The releases of ``kept`` (newest first) that stay.

    They are the live one, the last ``keep`` other verified ones, and those that are younger than ``keep_days``.
    """
    others = [one.number for one in kept if one.state == VERIFIED and one.number != live]
    needed = {live, *others[: rules.keep]}
    young = [one.number for one in kept if now - one.at < rules.keep_days * DAY][:MOST]
    return tuple(one for one in kept if one.number in needed or one.number in young)


def prune(delivery: Delivery, lease: Lease) -> tuple[Removed, ...]:
    """Remove deployed versions and artifacts that no retained release needs; returns them. Marks the lease as swept when done.

    The other deployed versions that don't serve rest.

    First the head records that they can no longer be rolled back to. Deployed versions of releases that are newer than the
    head belong to the command that took over the lock; artifacts younger than a day may be deployed yet.

    Raises:
        CloudError: something could not be removed.
    """
    now, rules = time.time(), delivery.environment.deploy
    kept = retained(lease.head.kept, lease.head.live, rules, now)
    if kept != lease.head.kept:
        lease.write(kept=kept)
    traffic = delivery.deployer.traffic()
    needed, serving = {one.deployed for one in kept}, traffic.all if traffic else set()
    removed = []
    for deployed, number in delivery.deployer.deployed().items():
        if deployed not in needed | serving and number <= lease.head.newest:
            delivery.deployer.remove(deployed)
            removed.append(Removed("version", deployed))
        elif deployed not in serving and number <= lease.head.newest:
            delivery.deployer.rest(deployed)
    before = now - max(rules.keep_days, 1) * DAY
    sources = {one.source for one in kept}
    removed += store.prune(delivery.cloud, delivery.foundation.bucket, sources, before)
    removed += delivery.deployer.discard(sources, before)
    if serving <= needed:  # else one was kept that may no longer serve, since the read can be stale
        lease.swept()
    return tuple(removed)
