"""Retires an environment: what serves and costs while idle is removed; ledger and artifacts stay, so a deploy brings it back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ml_delivery import source
from ml_delivery.errors import Refused
from ml_delivery.records import RETIRED, VERIFIED
from ml_delivery.release import words
from ml_delivery.release.head import Kept

if TYPE_CHECKING:
    from ml_delivery.records import Idle
    from ml_delivery.release.delivery import Delivery

__all__ = ["find", "retire"]


def find(delivery: Delivery) -> Idle:
    """What would be removed, and what it costs.

    Raises:
        Refused: there is nothing, or nothing of this target costs while idle.
    """
    where = _where(delivery)
    idle = delivery.deployer.idle()
    if idle is None:
        raise Refused(
            f"{delivery.environment.target} costs nothing while it is not called, so there is nothing to retire",
            next=f"invoke status {where}",
        )
    if not idle.names:
        raise Refused("nothing is live, so there is nothing to retire", next=f"invoke status {where}")
    return idle


def retire(delivery: Delivery, *, wait: float = 0.0) -> int:
    """Record that the release that was verified last is retired, then remove what serves; returns the release's number.

    The record comes first, and what is removed can be removed again, so an interrupted command is run again. No release can be
    rolled back to afterwards, since their deployed versions are removed, too.

    Args:
        delivery: the environment.
        wait: seconds to wait for a deploy that is under way.

    Raises:
        Refused: a deploy, a rollback or an A/B is under way; or as ``find``.
        LockHeld: another command holds the lock.
        CloudError: something could not be removed.
    """
    who, where = source.author(delivery.config.root), _where(delivery)
    with delivery.ledger.locked(who, "retire", wait) as lease:
        if work := lease.head.work:
            raise Refused(
                f"a {words.work(work)} is under way", next=f"invoke deploy --resume {where}, or invoke rollback {where}"
            )
        if (compared := lease.head.experiment) and compared.open:
            raise Refused(words.experiment(compared), next=f"invoke ab --stop {where}")
        find(delivery)
        kept = lease.head.kept
        number = lease.head.live or next((one.number for one in kept if one.state == VERIFIED), 0)
        if number:
            release = replace(delivery.ledger.read(number), state=RETIRED, cause=f"retired by {who}")
            lease.write(release, live=0, kept=(Kept.of(release),), swept=False)
        delivery.deployer.retire()
        return number or lease.head.retired


def _where(delivery: Delivery) -> str:
    return f"--branch {delivery.environment.branch}{delivery.where}"
