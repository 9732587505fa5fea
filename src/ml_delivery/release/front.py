"""The address at which what is live answers HTTP requests: found, and on the emulator made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.account import change_sets, stacks
from ml_delivery.account.stacks import Stack

if TYPE_CHECKING:
    from ml_delivery.account.change_sets import InfraPlan
    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment
    from ml_delivery.release.delivery import Delivery

__all__ = ["Front", "find", "unwanted", "wanted"]


@dataclass(frozen=True)
class Front:
    """The address.

    Attributes:
        address: a URL; empty for none.
        access: who may call it, as in ``[http]``: ``iam`` or ``open``; empty for an address that is not of ``[http]``: the target's
            own, or one that it has no more.
        current: whether it is as ``[http]`` says; if not, ``invoke bootstrap`` makes it so.
    """

    address: str
    access: str
    current: bool


def find(delivery: Delivery, *, prepare: bool = False) -> Front:
    """The address of what is live.

    Args:
        delivery: the environment.
        prepare: as a deploy does, look for one that ``[http]`` has no more; and on the embedded cloud create, update or
            remove its stack if necessary, as that of the foundation.
    """
    config, environment, cloud = delivery.config, delivery.environment, delivery.cloud
    stack, access = stacks.front(config, environment), environment.http.access
    making = prepare and cloud.name == "embedded"
    if stack is None:
        if prepare and stacks.may_have_front(config, environment):
            name = stacks.names(config, environment)["front"]
            if making:
                change_sets.delete(name, cloud)
            elif left := change_sets.outputs(Stack(name, "", {}, ""), cloud):
                return Front(delivery.deployer.address(left[0]), "", False)
        return Front(delivery.deployer.address({}), "", True)
    found = change_sets.outputs(stack, cloud)
    if making and not (found and found[1]) and delivery.deployer.traffic():
        change_sets.ensure(stack, cloud)
        found = change_sets.outputs(stack, cloud)
    outputs, current = found or ({}, False)
    return Front(delivery.deployer.address(outputs), access, current)


def wanted(config: Config, environment: Environment, cloud: Cloud) -> Stack | None:
    """The stack to create or update now; None for none, or while nothing is live, so that there is nothing to call."""
    from ml_delivery.release.delivery import Delivery

    stack, foundation = stacks.front(config, environment), change_sets.foundation(config, environment, cloud)
    if stack is None or foundation is None:
        return None
    return stack if Delivery(config, environment, cloud, foundation).deployer.traffic() else None


def unwanted(config: Config, environment: Environment, cloud: Cloud) -> InfraPlan | None:
    """The removal of an address that ``[http]`` no longer has; None where there is nothing to remove."""
    name = stacks.names(config, environment)["front"]
    if stacks.front(config, environment) or not change_sets.stands(name, cloud):
        return None
    removed = change_sets.Change("Remove", name, "AWS::CloudFormation::Stack", replacement=False)
    return change_sets.InfraPlan(name, "", False, (removed,), "pipeline.toml ([http])")
