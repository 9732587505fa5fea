"""A function on AWS Lambda, from a ZIP in the environment's bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_delivery.records import Limit
from ml_delivery.target import Parity
from ml_delivery.targets.lambda_function.target import LambdaTarget

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.config import Config
    from ml_delivery.packing.bundle import Bundle
    from ml_delivery.packing.ingredients import Ingredients
    from ml_delivery.records import Context, Manifest, Packed, Pushed
    from ml_delivery.target import Deployer

__all__ = ["DIRECT_LIMIT", "TARGET", "UNZIPPED_LIMIT"]

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 250 MB unzipped, whether uploaded directly or by S3.
UNZIPPED_LIMIT = 250 * 1024 * 1024
DIRECT_LIMIT = 50 * 1024 * 1024  # zipped, in a request; a larger one goes through S3


class LambdaZip(LambdaTarget):
    """The target ``lambda-zip``."""

    parity = (
        *LambdaTarget.parity,
        Parity("the interpreter", "this machine's Python of the service's version", "AWS's Python of that version"),
    )

    def limits(self, config: Config) -> list[Limit]:
        return [Limit(UNZIPPED_LIMIT, "Lambda allows 250 MB", "build an image: invoke upgrade --target lambda-image")]

    def begin(self, bundle: Bundle, scratch: Path) -> object:
        from ml_delivery.targets.lambda_zip import packer

        return packer.Begun(bundle, scratch)

    def pack(self, config: Config, made: Ingredients, scratch: Path) -> Packed:
        from ml_delivery.targets.lambda_zip import packer

        return packer.pack(config, made)

    def push(self, context: Context, manifest: Manifest) -> Pushed:
        from ml_delivery.artifact import store

        archive = context.config.root / "build/artifact.zip"
        return store.push(context.cloud, context.foundation.bucket, archive, manifest)

    def open(self, context: Context) -> Deployer:
        from ml_delivery.targets.lambda_zip.deployer import ZipDeployer

        return ZipDeployer(context)

    def advice(self, config: Config, manifest: Manifest) -> list[str]:
        if manifest.size <= DIRECT_LIMIT:
            return []
        heaviest = ", ".join(f"{c.package} {c.zipped / 1e6:.1f} MB" for c in manifest.contents[:5])
        return [
            f"over 50 MB zipped: Lambda accepts it only from S3, which push uses; the largest packages are {heaviest}"
        ]


TARGET = LambdaZip()
