"""Secrets, read when they are needed: an environment variable holds a reference to the secret, never the secret itself.

``[function.secrets]`` in ``pipeline.toml`` sets the references. Lambda's Python includes botocore, so this adds nothing to the
artifact.
"""

from __future__ import annotations

import os
import time
from typing import Any

__all__ = ["secret"]

SECONDS = 300.0  # that a secret is cached: after them, a changed one is read
_known: dict[str, tuple[float, str]] = {}


def secret(name: str) -> str:
    """The secret that the variable ``name`` refers to, as ``ssm:/path`` or ``secretsmanager:name``.

    Raises:
        KeyError: there is no such variable.
        ValueError: it does not hold a reference.
        botocore.exceptions.ClientError: the function may not read the secret, or it does not exist.
    """
    reference = os.environ[name]
    read, value = _known.get(reference, (0.0, ""))
    if not read or time.monotonic() - read > SECONDS:
        value = _read(name, reference)
        _known[reference] = (time.monotonic(), value)
    return value


def _read(name: str, reference: str) -> str:
    kind, _, place = reference.partition(":")
    if kind == "ssm":
        answer = _client("ssm").get_parameter(Name=place, WithDecryption=True)
        return str(answer["Parameter"]["Value"])
    if kind == "secretsmanager":
        return str(_client("secretsmanager").get_secret_value(SecretId=place)["SecretString"])
    raise ValueError(f"{name} does not refer to a secret; write ssm:/path or secretsmanager:name")


def _client(service: str) -> Any:
    from botocore.session import Session  # only here: it takes long to import, and most services have no secret

    return Session().create_client(service)
