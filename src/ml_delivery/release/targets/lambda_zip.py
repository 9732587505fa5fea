"""A ZIP on Lambda, taken from the environment's bucket."""

from __future__ import annotations

import base64
from typing import Any

from ml_delivery.release.targets.lambda_function import LambdaFunction

__all__ = ["LambdaZip"]

HANDLER = "service.handler.handler"


class LambdaZip(LambdaFunction):
    """The function of one environment, from a ZIP."""

    package = "Zip"

    def package_settings(self) -> dict[str, Any]:
        return {"runtime": f"python{self._config.service.python}", "handler": HANDLER}

    def package_options(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {"Runtime": settings["runtime"], "Handler": settings["handler"]}

    def read_package(self, found: dict[str, Any]) -> dict[str, Any]:
        return {"runtime": found.get("Runtime", ""), "handler": found.get("Handler", "")}

    def code(self, artifact: dict[str, Any]) -> dict[str, Any]:
        return {"S3Bucket": self._foundation.bucket, "S3Key": artifact["key"]}

    def stored(self, artifact: dict[str, Any]) -> str:
        """S3's own digest of the object, which it checked when it was written."""
        with self._cloud.faults():
            found = self._cloud.client("s3").head_object(
                Bucket=self._foundation.bucket, Key=artifact["key"], ChecksumMode="ENABLED"
            )
        return "sha256:" + base64.b64decode(found.get("ChecksumSHA256", "")).hex()

    def discard(self, keep: set[str], before: float) -> list[str]:
        return []  # all lies in the bucket
