"""A container image on Lambda, by digest, from the environment's repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_delivery.containers import images
from ml_delivery.targets.lambda_function.deployer import LambdaDeployer

if TYPE_CHECKING:
    from ml_delivery.records import Artifact, Removed, Settings

__all__ = ["ImageDeployer"]


class ImageDeployer(LambdaDeployer):
    """The function of one environment, from an image; handler and runtime are in the image."""

    package = "Image"

    def package_settings(self) -> Settings:
        return {"package": self.package}

    def package_options(self, settings: Settings) -> dict[str, Any]:
        return {}

    def read_package(self, found: dict[str, Any]) -> Settings:
        return {"package": found.get("PackageType", "Zip")}

    def create_options(self) -> dict[str, Any]:
        return {"PackageType": self.package}

    def code(self, artifact: Artifact) -> dict[str, Any]:
        return {"ImageUri": artifact.location}

    def digest(self, code_sha256: str) -> str:
        return f"sha256:{code_sha256}"

    def stored(self, artifact: Artifact) -> str:
        return images.stored(self.context.cloud, artifact)

    def discard(self, keep: set[str], before: float) -> list[Removed]:
        return images.discard(self.context.cloud, self.context.output("Repository"), keep, before)
