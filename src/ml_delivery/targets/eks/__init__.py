"""A Deployment on Kubernetes, in a cluster of Amazon EKS, from a container image in the environment's repository.

deployer        stages releases, wakes and removes them, shifts traffic
access          what an administrator creates once: namespace, rights, Gateway
cluster         the emulator's cluster, created where there is none
route           how traffic is split
pods            whether a release's pods are ready or why not, their metrics and logs
reasons         why a pod does not run
prometheus      reads metrics in Prometheus's text format
forward         requests to pods, by the API's proxy or by port forwarding
manifests       the objects of a release
versions        which versions of Kubernetes are supported
client          the cluster's API
names           names and paths
observing       panels and alarms
costs           estimates costs
settings        the keys of ``[function]``
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ml_delivery.target import Parity
from ml_delivery.targets.container_image.target import SLIM, ServedTarget
from ml_delivery.targets.eks.settings import EksSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.cloudformation import Infrastructure
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment, Function
    from ml_delivery.observed import Observed, Place
    from ml_delivery.records import Context
    from ml_delivery.target import Deployer

__all__ = ["TARGET"]


class Eks(ServedTarget):
    """The target ``eks``."""

    function: ClassVar[type[Function]] = EksSettings
    recipe = ("Dockerfile", *SLIM, "eks")
    parity = (
        Parity("the cluster's version", "1.20, with Debian's sources, or k3s' 1.34", "one in support"),
        Parity(
            "the Gateway",
            "a proxy of the emulator that reads the HTTPRoute; none with k3s",
            "the controller of function.gateway_class",
        ),
        Parity("a Gateway's port", "a port on loopback", "80 of a load balancer"),
        Parity("nodes", "this machine", "added when a pod needs one"),
        Parity("a pod's AWS credentials", "none", "those of Pod Identity"),
        Parity("a pod's name service", "none, or k3s' own", "the cluster's"),
        Parity(
            "the agents that send logs and metrics",
            "the emulator itself",
            "Fluent Bit and CloudWatch's agent, once installed",
        ),
        Parity("the use of processors and memory as metrics", "none", "those of Container Insights"),
        Parity("the image's registry", "the emulator's, in its memory and on disk", "ECR"),
    )

    def open(self, context: Context) -> Deployer:
        from ml_delivery.targets.eks.deployer import EksDeployer

        return EksDeployer(context)

    def account_checks(
        self, config: Config, environment: Environment, cloud: Cloud
    ) -> dict[str, Callable[[], dict[str, str]]]:
        from ml_delivery.targets.eks import access

        return access.checks(config, environment, cloud)

    def infrastructure(self, config: Config, environment: Environment) -> Infrastructure:
        from ml_delivery import cloudformation
        from ml_delivery.targets.eks import access, settings

        cluster = settings.of(environment).cluster
        parameters = {
            "Cluster": cluster,
            "Secrets": ",".join(cloudformation.secret_arns(config, environment)) or "none",
        }
        own = cloudformation.part(Path(__file__).parent, parameters) + access.statements(cluster)
        return super().infrastructure(config, environment) + own

    def establish(self, context: Context) -> list[str]:
        from ml_delivery.targets.eks import access

        return access.establish(context)

    def observe(self, at: Place) -> Observed:
        from ml_delivery.targets.eks import observing

        return observing.observe(at)

    def removals(self, config: Config, environment: Environment, cloud: Cloud) -> dict[str, Callable[[], object]]:
        from ml_delivery.targets.eks import access

        return {**access.removals(config, environment, cloud), **super().removals(config, environment, cloud)}


TARGET = Eks()
