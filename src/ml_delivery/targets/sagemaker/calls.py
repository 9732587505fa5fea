"""Requests to a variant. SageMaker has one path, ``/invocations``, and POST: method and path are in ``CustomAttributes``.

The container's middleware (``ml_service.invocations``) makes the request of it again. A status other than 2xx comes back as
the error ModelError: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
"""

from __future__ import annotations

import string
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ml_delivery.cloud import code_of
from ml_delivery.errors import ConfigError
from ml_delivery.records import Answer

__all__ = ["SECONDS", "call"]

SECONDS = 75  # a container answers within 60
MOST, MOST_BYTES = 1024, 6 * 1024 * 1024  # characters of CustomAttributes, and bytes of a body
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")  # as ml_service.invocations knows them
HEADERS = {"accept", "content-type"}
WAKING = ("ModelNotReadyException", "ServiceUnavailable")


def call(
    runtime: Any, endpoint: str, variant: str, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> Answer:
    """The answer of ``variant``, or of one by weight if that is empty; it is gone if there is no such variant or endpoint.

    Raises:
        ConfigError: the path or the body is larger than SageMaker passes on, or it passes the method or a header on to no one.
    """
    began, asked = time.perf_counter(), f"{method} {quote(path, safe=string.punctuation)}"
    if len(asked) > MOST:
        raise ConfigError("PATH", [f"{len(asked)} characters with its method; SageMaker passes {MOST} on"])
    if method not in METHODS:
        raise ConfigError("--method", [f"{method}: the container is asked for {', '.join(METHODS)} only"])
    if others := sorted({name.lower() for name in headers} - HEADERS):
        raise ConfigError(
            "--header", [f"{', '.join(others)}: SageMaker passes {' and '.join(sorted(HEADERS))} on, and no other"]
        )
    if len(body) > MOST_BYTES:
        raise ConfigError("--body", [f"{len(body)} bytes; SageMaker passes {MOST_BYTES} on"])
    options = {"TargetVariant": variant} if variant else {}
    if accept := headers.get("accept"):
        options["Accept"] = accept
    try:
        answer = runtime.invoke_endpoint(
            EndpointName=endpoint,
            Body=body or b"{}",  # there must be one; of a GET it is dropped
            ContentType=headers.get("content-type", "application/json"),
            CustomAttributes=asked,
            **options,
        )
    except Exception as error:
        passed, code = time.perf_counter() - began, code_of(error)
        if code == "ValidationError":
            return Answer(0, "", str(error), passed, gone=True)
        if code in WAKING:
            return Answer(0, "", str(error), passed, waking=True)
        if code != "ModelError":
            raise
        return _failed(getattr(error, "response", {}), passed)
    return Answer(200, answer["Body"].read().decode("utf-8", "replace"), "", time.perf_counter() - began)


def _failed(response: Mapping[str, Any], passed: float) -> Answer:
    status, text = int(response.get("OriginalStatusCode", 0)), str(response.get("OriginalMessage", ""))
    return Answer(status, text, "", passed) if status else Answer(0, text, text or "no answer", passed)
