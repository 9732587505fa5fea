"""A SageMaker endpoint, from a container image in the environment's repository: a release is one of its production variants.

The image is built as for a cluster: three archives on Python's slim image, the service's WSGI application behind gunicorn.
SageMaker asks it GET /ping, and passes each request on as POST /invocations. So a middleware of the image makes of that the
request that ``CustomAttributes`` names, ``GET /version`` or ``POST /v1/answer?key=value``, with the same body; a request
without them reaches the application's own ``/invocations``. GET /ping is answered as the first path of ``[probe]``.

deployer          stages releases, wakes and removes them, shifts traffic
calls             requests to a variant
variants          which variants the endpoint has
endpoint          the endpoint: its variants and their weights
models            the models of its releases
reasons           why a variant does not start
observing         panels
variant_metrics   the metrics of a variant
costs             estimates costs
settings          the keys of ``[function]``
names             names
probe             sends an application requests as SageMaker passes them on, for ``invoke doctor --contract``
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ml_delivery.errors import CloudError, ConfigError
from ml_delivery.target import Parity
from ml_delivery.targets.container_image.target import SLIM, ServedTarget
from ml_delivery.targets.sagemaker import settings
from ml_delivery.targets.sagemaker.settings import SagemakerSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.cloudformation import Infrastructure
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment, Function
    from ml_delivery.observed import Observed, Place
    from ml_delivery.packing.ingredients import Ingredients
    from ml_delivery.records import Context, Packed
    from ml_delivery.target import Deployer

__all__ = ["TARGET"]


class Sagemaker(ServedTarget):
    """The target ``sagemaker``."""

    function: ClassVar[type[Function]] = SagemakerSettings
    recipe = ("Dockerfile.sagemaker", *SLIM, "sagemaker")
    probe = Path(__file__).with_name("probe.py")
    application = "ml_service.invocations:application()"
    parity = (
        Parity("an update of an endpoint", "seconds", "some minutes: instances are started first"),
        Parity("a lone variant of weight 0", "gets no request", "gets all requests, as far as is known"),
        Parity("a variant of weight 0, named by TargetVariant", "answers", "not documented"),
        Parity("a container that exits at its start", "fails its variant at once", "after function.start seconds"),
        Parity("an instance's processors and memory", "this machine's", "those of function.instance_type"),
        Parity("an endpoint's metrics", "within a second", "by the minute, some minutes late"),
        Parity("the image's registry", "the emulator's, in its memory and on disk", "ECR"),
    )

    def pack(self, config: Config, made: Ingredients, scratch: Path) -> Packed:
        """Build the image.

        Raises:
            ConfigError: an environment's instances have other processors than the image is built for.
        """
        wanted = config.service.architecture
        problems = [
            f"environments.{one.name}: function.instance_type: {one.function.instance_type} has {found} processors, "
            f"service.architecture is {wanted}"
            for one in config.environments.values()
            if isinstance(one.function, SagemakerSettings)
            and (found := settings.architecture(one.function.instance_type)) != wanted
        ]
        if problems:
            raise ConfigError("pipeline.toml", problems)
        return super().pack(config, made, scratch)

    def open(self, context: Context) -> Deployer:
        from ml_delivery.targets.sagemaker.deployer import SagemakerDeployer

        return SagemakerDeployer(context)

    def account_checks(
        self, config: Config, environment: Environment, cloud: Cloud
    ) -> dict[str, Callable[[], dict[str, str]]]:
        def endpoint() -> dict[str, str]:
            from ml_delivery.targets.sagemaker.endpoint import FAILED, IN_SERVICE, Endpoint
            from ml_delivery.targets.sagemaker.names import Names

            name = config.name_of(environment)
            with cloud.faults():
                state = Endpoint(cloud.client("sagemaker"), Names(name), config.service.name).read()
            if state is None:
                return {"status": "there is none before the first deploy"}
            if state.settled and state.status != IN_SERVICE:
                where = f"--branch {environment.branch}{'' if cloud.name == 'embedded' else f' --cloud {cloud.name}'}"
                again = "" if state.status == FAILED else f"invoke retire {where}, then "  # else a deploy deletes it
                raise CloudError(
                    f"the endpoint {name} is {state.status}: {state.reason}", next=f"{again}invoke deploy {where}"
                )
            counts = ", ".join(f"{one.name}: {one.instances}" for one in state.variants.values())
            return {"status": state.status, "instances that are paid for": counts}

        return {"endpoint": endpoint}

    def infrastructure(self, config: Config, environment: Environment) -> Infrastructure:
        from ml_delivery import cloudformation

        secrets = ",".join(cloudformation.secret_arns(config, environment)) or "none"
        own = cloudformation.part(Path(__file__).parent, {"Secrets": secrets})
        return super().infrastructure(config, environment) + own

    def observe(self, at: Place) -> Observed:
        from ml_delivery.targets.sagemaker import observing

        return observing.observe(at)

    def removals(self, config: Config, environment: Environment, cloud: Cloud) -> dict[str, Callable[[], object]]:
        from ml_delivery.targets.sagemaker.endpoint import Endpoint
        from ml_delivery.targets.sagemaker.models import Models
        from ml_delivery.targets.sagemaker.names import Names

        name = config.name_of(environment)
        client, names, service = cloud.client("sagemaker"), Names(name), config.service.name
        endpoint, models = Endpoint(client, names, service), Models(client, names, service, "")

        def rest() -> bool:
            found = models.clear()
            endpoint.sweep()
            return found

        return {
            f"the endpoint {name}": endpoint.delete,
            f"the models and endpoint configurations of {name}": rest,
            **super().removals(config, environment, cloud),
        }


TARGET = Sagemaker()
