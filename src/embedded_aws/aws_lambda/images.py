"""Functions from images: the image must be in ECR, and a function refers to it by digest.

What Lambda does: https://docs.aws.amazon.com/lambda/latest/dg/images-create.html; a function never changes between image and
ZIP. ministack accepts any URI, reports no digest, and runs images with Docker's SDK, which is not installed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc as lambda_

from embedded_aws.aws_lambda.containers import Container
from embedded_aws.aws_lambda.execution import Fault
from embedded_aws.aws_lambda.image_files import Image

MOST = 10 * 1024**3  # bytes; on AWS uncompressed, here of the layers as they were pushed


def patch(tmp: Path) -> None:
    """Resolve images to digests, and run them in ``Container``s."""
    Container.roots = tmp / "images"
    create, update = lambda_._create_function, lambda_._update_code
    run, classes = lambda_._execute_function_docker, lambda_runtime._worker_class_for

    def refusal(message: str) -> Any:
        return lambda_.error_response_json("InvalidParameterValueException", message, 400)

    def by_digest(change: Callable[[], Any], name: str, uri: str) -> Any:
        """Call ``change``, then record the image by its digest, and report it as Lambda does."""
        try:
            image = Image(uri)
        except Fault as fault:
            return refusal(str(fault))
        if image.size > MOST:
            return refusal(f"Image size {image.size} bytes exceeds limit {MOST} bytes.")
        answer = change()
        if answer[0] >= 300:
            return answer
        own = {"CodeSha256": image.digest.partition(":")[2], "CodeSize": image.size}
        pinned = f"{uri.rpartition('@' if '@' in uri else ':')[0]}@{image.digest}"
        lambda_._functions[name]["config"] |= {**own, "ImageUri": pinned}
        return answer[0], answer[1], json.dumps(json.loads(answer[2]) | own).encode()

    def created(data: dict[str, Any]) -> Any:
        uri = (data.get("Code") or {}).get("ImageUri")
        if not uri:
            return create(data)
        if data.get("Runtime") or data.get("Handler"):
            return refusal(
                "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image"
            )
        return by_digest(lambda: create(data), data.get("FunctionName", ""), uri)

    def updated(name: str, data: dict[str, Any]) -> Any:
        function = lambda_._functions.get(name)
        kind = function["config"].get("PackageType", "Zip") if function else ""
        if function and (kind == "Image") != ("ImageUri" in data):
            words = "Please provide ImageUri" if kind == "Image" else "Please do not provide ImageUri"
            return refusal(f"{words} when updating a function with packageType {kind}.")
        if not function or "ImageUri" not in data:
            return update(name, data)
        return by_digest(lambda: update(name, data), name, data["ImageUri"])

    def execute(function: dict[str, Any], event: Any, request_id: str) -> Any:
        if (function.get("config") or function).get("PackageType") != "Image":
            return run(function, event, request_id)
        # ministack's pool requires a ZIP file, which an image does not have.
        return lambda_._execute_function_warm({**function, "code_zip": b"image"}, event, request_id)

    lambda_._create_function, lambda_._update_code = created, updated
    lambda_._execute_function_docker = execute
    lambda_runtime._worker_class_for = lambda config: (
        Container if config.get("PackageType") == "Image" else classes(config)
    )
