"""A container image on Lambda, by digest, from the environment's repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_delivery.cloud import code_of
from ml_delivery.records import Removed
from ml_delivery.targets.lambda_function.deployer import LambdaDeployer

if TYPE_CHECKING:
    from ml_delivery.records import Artifact, Settings

__all__ = ["ImageDeployer"]

MOST = 100  # https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html


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
        """The digest of the image that the registry has under the artifact's version; empty for none."""
        repository = _name(artifact.location.partition("@")[0])
        with self.context.cloud.faults():
            try:
                found = self.context.cloud.client("ecr").describe_images(
                    repositoryName=repository, imageIds=[{"imageTag": artifact.version}]
                )
            except Exception as error:
                if code_of(error) not in ("ImageNotFoundException", "RepositoryNotFoundException"):
                    raise
                return ""
        return next((str(image["imageDigest"]) for image in found["imageDetails"]), "")

    def discard(self, keep: set[str], before: float) -> list[Removed]:
        # By tag, since two commits with the same content share an image, which is removed with its last tag.
        repository, ecr = _name(self.context.output("Repository")), self.context.cloud.client("ecr")
        with self.context.cloud.faults():
            pages = ecr.get_paginator("describe_images").paginate(repositoryName=repository)
            old = [
                tag
                for page in pages
                for image in page["imageDetails"]
                for tag in image.get("imageTags", [])
                if tag not in keep and image["imagePushedAt"].timestamp() < before
            ]
            for first in range(0, len(old), MOST):
                tags = [{"imageTag": tag} for tag in old[first : first + MOST]]
                ecr.batch_delete_image(repositoryName=repository, imageIds=tags)
        return [Removed("image", tag) for tag in sorted(old)]


def _name(uri: str) -> str:
    """The repository's name within its registry."""
    return uri.partition("/")[2]
