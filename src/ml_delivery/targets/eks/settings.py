"""The keys of ``[function]`` on a cluster of EKS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.keys import Function, key

if TYPE_CHECKING:
    from ml_delivery.keys import Environment

__all__ = ["EksSettings", "of"]


@dataclass(frozen=True)
class EksSettings(Function):
    """Where the pods run, how large and how many they are, and how long they may take, beside the variables and secrets.

    The environment's namespace, and with it the group of its deploy role, is named ``<service>-<environment>``.
    """

    cluster: str = key(
        'an EKS cluster of the account: "services"', default="services", pattern=r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}"
    )
    gateway_class: str = key(
        'a GatewayClass of the cluster: "alb"', default="alb", pattern=r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
    )
    cpu: int = key("thousandths of a processor for each pod: 500", default=500, within=(50, 192_000))
    memory: int = key("megabytes for each pod: 512", default=512, within=(32, 786_432))
    replicas: int = key("a number of pods: 2", default=2, within=(1, 1000))
    max_replicas: int = key("a number of pods, or 0 for no autoscaling: 10", default=0, within=(0, 1000))
    start: int = key("seconds within which a pod must be ready: 60", default=60, within=(1, 300))
    drain: int = key("seconds that a stopped pod still serves: 25", default=25, within=(0, 900))


def of(environment: Environment) -> EksSettings:
    """The settings in ``environment``, whose target must be this one."""
    assert isinstance(environment.function, EksSettings)
    return environment.function
