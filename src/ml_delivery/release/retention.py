"""What old releases need is removed by count and age, never what a rollback could need."""

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
# The head must stay small: of those kept for their age alone, no more than this.
MOST = 100


def retained(kept: tuple[Kept, ...], live: int, rules: Deploy, now: float) -> tuple[Kept, ...]:
    """Those of ``kept`` (newest first) that stay.

    They are the live one, the last ``keep`` verified ones beside it, and whatever is younger than ``keep_days``.
    """
    others = [one.number for one in kept if one.state == VERIFIED and one.number != live]
    needed = {live, *others[: rules.keep]}
    young = [one.number for one in kept if now - one.at < rules.keep_days * DAY][:MOST]
    return tuple(one for one in kept if one.number in needed or one.number in young)


def prune(delivery: Delivery, lease: Lease) -> tuple[Removed, ...]:
    """Remove deployed versions and artifacts that no retained release needs. Marks the lease as swept when all are gone.

    The head first records that no rollback can go to them. Deployed versions of releases that are newer than the head knows
    belong to whoever took the lock over; artifacts younger than a day may wait for their deploy.

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
    before = now - max(rules.keep_days, 1) * DAY
    sources = {one.source for one in kept}
    removed += store.prune(delivery.cloud, delivery.foundation.bucket, sources, before)
    removed += delivery.deployer.discard(sources, before)
    if serving <= needed:  # else one was spared that may only seem to serve: what is read can be old
        lease.swept()
    return tuple(removed)
