"""Secrets, read when they are needed: a variable holds where one lies, never the secret itself.

``[function.secrets]`` in ``pipeline.toml`` names them. Lambda's Python brings botocore along, so nothing is added to the
artifact for this.
"""

from __future__ import annotations

import os
import time
from typing import Any

__all__ = ["secret"]

SECONDS = 300.0  # a changed secret is seen after so long
_known: dict[str, tuple[float, str]] = {}


def secret(name: str) -> str:
    """The secret that the variable ``name`` refers to, as ``ssm:/path`` or ``secretsmanager:name``.

    Raises:
        KeyError: there is no such variable.
        ValueError: it holds something else than a reference.
        botocore.exceptions.ClientError: the function may not read it, or it is not there.
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
    from botocore.session import Session  # only here: most services have no secret, and it takes long to load

    return Session().create_client(service)
