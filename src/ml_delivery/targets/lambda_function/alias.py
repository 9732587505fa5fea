"""The alias ``live``: what users call, and how it moves from one version to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_delivery import records
from ml_delivery.cloud import code_of
from ml_delivery.errors import Moved

if TYPE_CHECKING:
    from ml_delivery.records import Traffic

__all__ = ["ALIAS", "CHANGED", "GONE", "shift", "traffic"]

ALIAS = "live"
GONE = "ResourceNotFoundException"
CHANGED = ("PreconditionFailedException", "ResourceConflictException")


def traffic(client: Any, function: str) -> Traffic | None:
    """How the alias splits traffic, as ``Deployer.traffic`` returns it."""
    try:
        alias = client.get_alias(FunctionName=function, Name=ALIAS)
    except Exception as error:
        if code_of(error) == GONE:
            return None
        raise
    weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    percents = {version: round(weight * 100) for version, weight in weights.items()}
    return records.Traffic(alias["FunctionVersion"], percents, alias["RevisionId"])


def shift(client: Any, function: str, wanted: Traffic | None, seen: Traffic | None, note: str) -> None:
    """Split the alias's traffic as ``wanted``, as ``Deployer.shift`` does; None removes the alias.

    Raises:
        Moved: it is no longer split as ``seen``.
    """
    name: dict[str, Any] = {"FunctionName": function, "Name": ALIAS}
    try:
        if wanted is None:
            client.delete_alias(**name)
        elif seen is None:
            client.create_alias(**name, FunctionVersion=wanted.deployed, Description=note)
        else:
            weights = {version: percent / 100 for version, percent in wanted.weights.items()}
            client.update_alias(
                **name,
                FunctionVersion=wanted.deployed,
                RoutingConfig={"AdditionalVersionWeights": weights},
                Description=note,
                RevisionId=seen.revision,
            )
    except Exception as error:
        if code_of(error) not in CHANGED:
            raise
        raise Moved("the traffic split was changed in the meantime, not by this deploy") from error
