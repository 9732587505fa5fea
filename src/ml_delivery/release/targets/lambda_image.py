"""A container image on Lambda, by digest, from the environment's repository."""

from __future__ import annotations

from typing import Any

from ml_delivery.cloud import code_of
from ml_delivery.errors import Refused
from ml_delivery.release.targets.lambda_function import LambdaFunction

__all__ = ["LambdaImage"]

MOST = 100  # https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html


class LambdaImage(LambdaFunction):
    """The function of one environment, from an image; its handler and runtime are the image's own."""

    package = "Image"

    def package_settings(self) -> dict[str, Any]:
        return {"package": self.package}

    def package_options(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {}

    def read_package(self, found: dict[str, Any]) -> dict[str, Any]:
        return {"package": found.get("PackageType", "Zip")}

    def create_options(self) -> dict[str, Any]:
        return {"PackageType": self.package}

    def code(self, artifact: dict[str, Any]) -> dict[str, Any]:
        """The image by its digest, which the registry must still have under the artifact's version.

        Raises:
            Refused: it has not, or has another one; the ledger and the registry do not agree.
        """
        if (digest := self.stored(artifact)) != artifact["digest"]:
            raise Refused(
                f"the registry has {digest or 'nothing'} under {artifact['version']}, the artifact that was pushed is "
                f"{artifact['digest']}",
                next="invoke build && invoke push, which push what is missing, then invoke deploy",
            )
        return {"ImageUri": artifact["key"]}

    def stored(self, artifact: dict[str, Any]) -> str:
        """What the registry has under the artifact's version."""
        repository = _name(artifact["key"].partition("@")[0])
        with self._cloud.faults():
            try:
                found = self._cloud.client("ecr").describe_images(
                    repositoryName=repository, imageIds=[{"imageTag": artifact["version"]}]
                )
            except Exception as error:
                if code_of(error) not in ("ImageNotFoundException", "RepositoryNotFoundException"):
                    raise
                return ""
        return next((str(image["imageDigest"]) for image in found["imageDetails"]), "")

    def discard(self, keep: set[str], before: float) -> list[str]:
        # By tag: an image goes with its last one, and two commits with the same content share an image.
        repository, ecr = _name(self._foundation.repository), self._cloud.client("ecr")
        with self._cloud.faults():
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
        return [f"image {tag[:12]}" for tag in sorted(old)]


def _name(uri: str) -> str:
    """The repository's name within its registry."""
    return uri.partition("/")[2]
