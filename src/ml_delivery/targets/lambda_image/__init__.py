"""A function on AWS Lambda, from a container image in the environment's repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_delivery.targets.lambda_function.target import LambdaTarget

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml_delivery.config import Config
    from ml_delivery.packing.ingredients import Ingredients
    from ml_delivery.records import Context, Manifest, Packed, Pushed
    from ml_delivery.target import Deployer

__all__ = ["TARGET"]


class LambdaImage(LambdaTarget):
    """The target ``lambda-image``."""

    # The registry has the digest of the image's manifest, which differs with the engine; the layers' contents don't.
    same_bytes = False

    def pack(self, config: Config, made: Ingredients, scratch: Path) -> Packed:
        from ml_delivery.targets.lambda_image import packer

        return packer.pack(config, made, scratch)

    def push(self, context: Context, manifest: Manifest) -> Pushed:
        from ml_delivery.containers import registry

        repository = context.foundation.outputs["Repository"]
        # Named in SSM as the last one, for other systems.
        parameter = f"/{context.config.service.name}/{context.environment.name}/image"
        return registry.push(context.cloud, context.foundation.bucket, repository, manifest, parameter)

    def open(self, context: Context) -> Deployer:
        from ml_delivery.targets.lambda_image.deployer import ImageDeployer

        return ImageDeployer(context)

    def checks(self, config: Config) -> dict[str, Callable[[], str]]:
        def engine() -> str:
            from ml_delivery.containers import engines

            return f"{engines.find().name} answers"

        return {"engine": engine}


TARGET = LambdaImage()
