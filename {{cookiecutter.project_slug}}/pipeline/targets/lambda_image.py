"""A container image on Lambda, by digest, from the environment's repository."""

from __future__ import annotations

from typing import Any

from pipeline.cloud import code_of
from pipeline.errors import Refused
from pipeline.targets.lambda_function import LambdaFunction

__all__ = ["LambdaImage"]


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
        repository = artifact["key"].partition("@")[0].partition("/")[2]
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
