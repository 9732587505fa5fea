"""A function on AWS Lambda, from a container image in the environment's repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery.records import Limit
from ml_delivery.target import Parity
from ml_delivery.targets.lambda_function.target import LambdaTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.cloudformation import Infrastructure
    from ml_delivery.config import Config
    from ml_delivery.containers.packer import Recipe
    from ml_delivery.keys import Environment
    from ml_delivery.packing.ingredients import Ingredients
    from ml_delivery.records import Context, Manifest, Packed, Pushed
    from ml_delivery.target import Deployer

__all__ = ["TARGET", "UNCOMPRESSED_LIMIT"]

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 10 GB, uncompressed, with the base image's layers.
UNCOMPRESSED_LIMIT = 10 * 1024**3


class LambdaImage(LambdaTarget):
    """The target ``lambda-image``."""

    # The digest in the registry is that of the image's manifest, which depends on the engine, if one builds it, and on what the
    # base's tag names; the layers' contents don't.
    same_bytes = False
    parity = (
        *LambdaTarget.parity,
        Parity("the image's registry", "the emulator's, in its memory and on disk", "ECR"),
        Parity("the image's file system", "a chroot of its layers where no engine runs it", "read-only, of its layers"),
    )

    def limits(self, config: Config) -> list[Limit]:
        return [Limit(UNCOMPRESSED_LIMIT, "Lambda allows images of 10 GB")]

    def pack(self, config: Config, made: Ingredients, scratch: Path) -> Packed:
        from ml_delivery.containers import packer

        return packer.pack(config, made, scratch, _recipe())

    def push(self, context: Context, manifest: Manifest) -> Pushed:
        from ml_delivery.containers import registry

        return registry.push(context, manifest, _parameter(context.config, context.environment))

    def open(self, context: Context) -> Deployer:
        from ml_delivery.targets.lambda_image.deployer import ImageDeployer

        return ImageDeployer(context)

    def checks(self, config: Config) -> dict[str, Callable[[], dict[str, str]]]:
        def engine() -> dict[str, str]:
            from ml_delivery.containers import packer

            return packer.check(config, _recipe())

        return {"engine": engine}

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


def _recipe() -> Recipe:
    from ml_delivery.containers import packer

    # https://docs.aws.amazon.com/lambda/latest/dg/python-image.html (Lambda's folder in its images)
    return packer.Recipe("Dockerfile.lambda", "public.ecr.aws/lambda/python:{}", "var/task")


def _parameter(config: Config, environment: Environment) -> str:
    """The SSM parameter that names the last pushed image, for other systems."""
    return f"/{config.service.name}/{environment.name}/image"


TARGET = LambdaImage()
