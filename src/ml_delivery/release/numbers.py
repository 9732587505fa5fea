"""A release's number, from what a user types: the number itself, or the semantic version of its commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_delivery.errors import ConfigError, Refused
from ml_delivery.source import SEMANTIC

if TYPE_CHECKING:
    from ml_delivery.release.delivery import Delivery

__all__ = ["numbered", "require"]


def require(to: str) -> None:
    """Check that ``to`` can name a release, which needs no cloud.

    Raises:
        ConfigError: it is neither a number nor a version.
    """
    if to and not to.isdecimal() and not SEMANTIC.fullmatch(to):
        raise ConfigError("--to", [f"{to!r} is neither a release's number nor a version such as v1.4.2"])


def numbered(delivery: Delivery, to: str) -> int:
    """The number of the release that ``to`` names; 0 if it is empty. Of several with one version, the newest that is kept.

    Raises:
        ConfigError: it is neither a number nor a version.
        Refused: no kept release has this version.
    """
    require(to)
    if not to or to.isdecimal():
        return int(to or 0)
    for kept in delivery.ledger.head().kept:  # newest first
        if delivery.ledger.read(kept.number).artifact.tag == to:
            return kept.number
    where = f"--branch {delivery.environment.branch}{delivery.where}"
    raise Refused(f"no release that can be rolled back to is {to}", next=f"invoke releases {where}")
