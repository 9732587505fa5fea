"""A function on AWS Lambda, from a container image in the environment's repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery.records import Limit
from ml_delivery.target import Parity
from ml_delivery.targets.container_image.target import ImageTarget
from ml_delivery.targets.lambda_function.target import LambdaTarget

if TYPE_CHECKING:
    from ml_delivery.cloudformation import Infrastructure
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment
    from ml_delivery.records import Context
    from ml_delivery.target import Deployer

__all__ = ["TARGET", "UNCOMPRESSED_LIMIT"]

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 10 GB, uncompressed, with the base image's layers.
UNCOMPRESSED_LIMIT = 10 * 1024**3


class LambdaImage(ImageTarget, LambdaTarget):
    """The target ``lambda-image``."""

    # https://docs.aws.amazon.com/lambda/latest/dg/python-image.html (Lambda's folder in its images)
    recipe = ("Dockerfile.lambda", "public.ecr.aws/lambda/python:{}", "var/task", "lambda-image")
    parity = (
        *LambdaTarget.parity,
        Parity("the image's registry", "the emulator's, in its memory and on disk", "ECR"),
        Parity("the image's file system", "a chroot of its layers where no engine runs it", "read-only, of its layers"),
    )

    def limits(self, config: Config) -> list[Limit]:
        return [Limit(UNCOMPRESSED_LIMIT, "Lambda allows images of 10 GB")]

    def open(self, context: Context) -> Deployer:
        from ml_delivery.targets.lambda_image.deployer import ImageDeployer

        return ImageDeployer(context)

    def infrastructure(self, config: Config, environment: Environment) -> Infrastructure:
        from ml_delivery import cloudformation

        return super().infrastructure(config, environment) + cloudformation.part(Path(__file__).parent)


TARGET = LambdaImage()
