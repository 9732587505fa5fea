"""A Deployment on Kubernetes, in a cluster of Amazon EKS, from a container image in the environment's repository.

deployer        stages releases, wakes and removes them, shifts traffic
access          what an administrator creates once: namespace, rights, Gateway
route           how traffic is split
pods            whether a release's pods are ready or why not, their metrics and logs
reasons         why a pod does not run
prometheus      reads metrics in Prometheus's text format
forward         requests to pods, by the API's proxy or by port forwarding
manifests       the objects of a release
client          the cluster's API
names           names and paths
costs           estimates costs
settings        the keys of ``[function]``
probe           loads a service and sends requests, for ``invoke doctor --contract``
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ml_delivery.target import Parity, Target
from ml_delivery.targets.eks.settings import EksSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.cloudformation import Infrastructure
    from ml_delivery.config import Config
    from ml_delivery.containers.packer import Recipe
    from ml_delivery.keys import Environment, Function
    from ml_delivery.packing.ingredients import Ingredients
    from ml_delivery.records import Context, Manifest, Packed, Pushed
    from ml_delivery.target import Deployer

__all__ = ["TARGET"]


class Eks(Target):
    """The target ``eks``."""

    function: ClassVar[type[Function]] = EksSettings
    # The digest in the registry is that of the image's manifest, which depends on the engine, if one builds it, and on what the
    # base's tag names; the layers' contents don't.
    same_bytes = False
    probe = Path(__file__).with_name("probe.py")
    entry = ("src/service/app.py", "create_app()")
    parity = (
        Parity("the cluster's version", "1.20, with Debian's sources", "one in support"),
        Parity(
            "the Gateway",
            "a proxy of the emulator that reads the HTTPRoute",
            "the controller of function.gateway_class",
        ),
        Parity("a Gateway's port", "a port on loopback", "80 of a load balancer"),
        Parity("nodes", "this machine", "added when a pod needs one"),
        Parity("a pod's AWS credentials", "none", "those of Pod Identity"),
        Parity("a pod's name service", "none", "the cluster's"),
        Parity("the image's registry", "the emulator's, in its memory and on disk", "ECR"),
    )

    def glibc(self, python: str) -> int:
        """Debian 12, on which the slim images of Python are based or later: https://hub.docker.com/_/python."""
        return 36

    def pack(self, config: Config, made: Ingredients, scratch: Path) -> Packed:
        from ml_delivery.containers import packer

        return packer.pack(config, made, scratch, _recipe())

    def push(self, context: Context, manifest: Manifest) -> Pushed:
        from ml_delivery.containers import registry

        return registry.push(context, manifest, _parameter(context.config, context.environment))

    def open(self, context: Context) -> Deployer:
        from ml_delivery.targets.eks.deployer import EksDeployer

        return EksDeployer(context)

    def checks(self, config: Config) -> dict[str, Callable[[], dict[str, str]]]:
        def engine() -> dict[str, str]:
            from ml_delivery.containers import packer

            return packer.check(config, _recipe())

        return {"engine": engine}

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
        return cloudformation.part(Path(__file__).parent, parameters) + access.statements(cluster)

    def establish(self, context: Context) -> list[str]:
        from ml_delivery.targets.eks import access

        return access.establish(context)

    def removals(self, config: Config, environment: Environment, cloud: Cloud) -> dict[str, Callable[[], object]]:
        from ml_delivery.targets.eks import access

        name, parameter = config.name_of(environment), _parameter(config, environment)
        return {
            **access.removals(config, environment, cloud),
            f"the images {name}": lambda: cloud.client("ecr").delete_repository(repositoryName=name, force=True),
            f"the parameter {parameter}": lambda: cloud.client("ssm").delete_parameter(Name=parameter),
        }


def _recipe() -> Recipe:
    from ml_delivery.containers import packer

    return packer.Recipe("Dockerfile", "public.ecr.aws/docker/library/python:{}-slim", "srv/service")


def _parameter(config: Config, environment: Environment) -> str:
    """The SSM parameter that names the last pushed image, for other systems."""
    return f"/{config.service.name}/{environment.name}/image"


TARGET = Eks()
