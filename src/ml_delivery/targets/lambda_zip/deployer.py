"""A ZIP on Lambda, from the environment's bucket."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from ml_delivery.artifact import store
from ml_delivery.targets.lambda_function.deployer import LambdaDeployer

if TYPE_CHECKING:
    from ml_delivery.records import Artifact, Settings

__all__ = ["HANDLER", "ZipDeployer"]

HANDLER = "service.handler.handler"


class ZipDeployer(LambdaDeployer):
    """The function of one environment, from a ZIP."""

    package = "Zip"

    def package_settings(self) -> Settings:
        return {"runtime": f"python{self.context.config.service.python}", "handler": HANDLER}

    def package_options(self, settings: Settings) -> dict[str, Any]:
        return {"Runtime": settings["runtime"], "Handler": settings["handler"]}

    def read_package(self, found: dict[str, Any]) -> Settings:
        return {"runtime": found.get("Runtime", ""), "handler": found.get("Handler", "")}

    def code(self, artifact: Artifact) -> dict[str, Any]:
        return {"S3Bucket": self.context.foundation.bucket, "S3Key": artifact.location}

    def digest(self, code_sha256: str) -> str:
        return "sha256:" + base64.b64decode(code_sha256).hex()

    def stored(self, artifact: Artifact) -> str:
        """S3's checksum of the object, which S3 verified when it was written."""
        return store.stored(self.context.cloud, self.context.foundation.bucket, artifact.location)
