"""What old releases need is removed by count and age, never what a rollback could need."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ml_delivery.artifact import store
from ml_delivery.release.head import VERIFIED

if TYPE_CHECKING:
    from ml_delivery.keys import Deploy
    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.head import Kept
    from ml_delivery.release.ledger import Lease

__all__ = ["prune", "retained"]

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


def prune(delivery: Delivery, lease: Lease) -> list[str]:
    """Remove versions and artifacts that no retained release needs; what was removed, in words. Tells the lease when done.

    The head says first that they can't be gone back to. Versions of releases that are newer than the head knows belong
    to whoever took the lock over; artifacts younger than a day may wait for their deploy.
    """
    now, rules = time.time(), delivery.config.deploy
    kept = retained(lease.head.kept, lease.head.live, rules, now)
    if kept != lease.head.kept:
        lease.write(kept=kept)
    traffic = delivery.target.traffic()
    needed, serving = {one.version for one in kept}, traffic.versions if traffic else set()
    removed = []
    for version, number in delivery.target.versions().items():
        if version not in needed | serving and number <= lease.head.newest:
            delivery.target.remove(version)
            removed.append(f"version {version}")
    before = now - max(rules.keep_days, 1) * DAY
    sources = {one.source for one in kept}
    artifacts = store.prune(delivery.cloud, delivery.foundation.bucket, sources, before)
    artifacts += delivery.target.discard(sources, before)
    if serving <= needed:  # else a version was spared that may only seem to serve: what is read can be old
        lease.swept()
    return removed + artifacts
