"""The base classes of the targets whose artifact is a container image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ml_delivery.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.cloudformation import Infrastructure
    from ml_delivery.config import Config
    from ml_delivery.containers.packer import Recipe
    from ml_delivery.keys import Environment
    from ml_delivery.packing.ingredients import Ingredients
    from ml_delivery.records import Context, Manifest, Packed, Pushed

__all__ = ["SLIM", "ImageTarget", "ServedTarget"]

# Of a recipe: Python's slim image, and the folder of the service in it.
SLIM = ("public.ecr.aws/docker/library/python:{}-slim", "srv/service")


class ImageTarget(Target):
    """Builds an image, and pushes it to the environment's repository.

    Attributes:
        recipe: the Dockerfile, its base image, the folder of the service in the image, and the name of the template's target,
            as in ``packer.Recipe``.
    """

    # The digest in the registry is that of the image's manifest, which depends on the engine, if one builds it, and on what the
    # base's tag names; the layers' contents don't.
    same_bytes = False
    recipe: ClassVar[tuple[str, str, str] | tuple[str, str, str, str]]

    def needs(self) -> tuple[str, ...]:
        return (self.recipe[0],)

    def pack(self, config: Config, made: Ingredients, scratch: Path) -> Packed:
        from ml_delivery.containers import packer

        return packer.pack(config, made, scratch, self._recipe())

    def advice(self, config: Config, manifest: Manifest) -> list[str]:
        from ml_delivery.containers import locked, packer

        if name := packer.by_tag(config, self._recipe()):
            return [
                f"the base image {name} is looked up by its tag; {locked.UPDATE} records its digest in {locked.FILE}"
            ]
        return []

    def pin(self, config: Config) -> str:
        from ml_delivery.containers import packer

        return packer.pin(config, self._recipe())

    def push(self, context: Context, manifest: Manifest) -> Pushed:
        from ml_delivery.containers import registry

        return registry.push(context, manifest, _parameter(context.config, context.environment))

    def checks(self, config: Config) -> dict[str, Callable[[], dict[str, str]]]:
        def engine() -> dict[str, str]:
            from ml_delivery.containers import packer

            return packer.check(config, self._recipe())

        return {**super().checks(config), "engine": engine}

    def infrastructure(self, config: Config, environment: Environment) -> Infrastructure:
        from ml_delivery import cloudformation

        return super().infrastructure(config, environment) + cloudformation.part(Path(__file__).parent)

    def removals(self, config: Config, environment: Environment, cloud: Cloud) -> dict[str, Callable[[], object]]:
        name, parameter = config.name_of(environment), _parameter(config, environment)
        return {
            **super().removals(config, environment, cloud),
            f"the images {name}": lambda: cloud.client("ecr").delete_repository(repositoryName=name, force=True),
            f"the parameter {parameter}": lambda: cloud.client("ssm").delete_parameter(Name=parameter),
        }

    def _recipe(self) -> Recipe:
        from ml_delivery.containers import packer

        return packer.Recipe(*self.recipe)


class ServedTarget(ImageTarget):
    """Its image is Python's slim one, in which gunicorn serves the service's WSGI application.

    Attributes:
        application: that application, as gunicorn takes it.
    """

    probe = Path(__file__).with_name("probe.py")
    entry = ("src/service/app.py", "create_app()")
    application: ClassVar[str] = "service.app:create_app()"

    def serving(self, environment: Environment) -> tuple[str, ...]:
        return (
            "-P",
            str(Path(__file__).with_name("serve.py")),
            self.application,
            next(iter(environment.probe.paths), ""),
        )

    def glibc(self, python: str) -> int:
        """Debian 12, on which the slim images of Python are based or later: https://hub.docker.com/_/python."""
        return 36


def _parameter(config: Config, environment: Environment) -> str:
    """The SSM parameter that names the last pushed image, for other systems."""
    return f"/{config.service.name}/{environment.name}/image"
