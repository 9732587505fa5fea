"""One request of the user to a release, without an address in between: its body and headers as typed, and what is answered."""

from __future__ import annotations

import json
import mimetypes
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery.errors import ConfigError, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml_delivery.release.delivery import Delivery

__all__ = ["METHODS", "Called", "Message", "call", "message"]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
# https://www.rfc-editor.org/rfc/rfc9110#name-tokens
HEADER = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*(.*?)\s*")


@dataclass(frozen=True)
class Message:
    """A request; the names of its headers are in lower case."""

    path: str
    method: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Called:
    """What a release answered.

    Attributes:
        deployed: the deployed version that was asked; empty for what is live.
        status: of HTTP; 0 when it did not answer with an HTTP response.
        body: as text.
        fault: why there is no HTTP response; usually empty.
        seconds: how long it took.
    """

    deployed: str
    status: int
    body: str
    fault: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the release answered, with a status below 400."""
        return not self.fault and self.status < 400


def message(path: str, method: str, body: str, headers: Iterable[str]) -> Message:
    """The request, from what was typed.

    Args:
        path: with its query; a slash at its start may be missing.
        method: empty for POST with a body, and GET without.
        body: a file, ``-`` for standard input, or a JSON document; empty for none.
        headers: each as ``Name: value``.

    Raises:
        ConfigError: the method or a header is wrong, or ``body`` is neither a file that can be read nor JSON.
    """
    content, kind = _content(body)
    method = method.upper() or ("POST" if content else "GET")
    if method not in METHODS:
        raise ConfigError("--method", [f"{method!r} is not one of {', '.join(METHODS)}"])
    named = {"content-type": kind} if content else {}
    for header in headers:
        if not (found := HEADER.fullmatch(header)):
            raise ConfigError("--header", [f"{header!r} is not a header; write 'Name: value'"])
        named[found[1].lower()] = found[2]
    return Message(path if path.startswith("/") else f"/{path}", method, content, named)


def call(delivery: Delivery, wanted: Message, release: int = 0) -> Called:
    """Send a request to what is live, or to the deployed version of ``release``.

    Raises:
        Refused: there is no such release, or no longer its deployed version.
        CloudError: the cloud does not answer.
    """
    deployed = delivery.ledger.read(release).deployed if release else ""
    answer = delivery.deployer.call(
        wanted.path, deployed, method=wanted.method, body=wanted.body, headers=wanted.headers
    )
    if release and answer.gone:
        raise Refused(
            f"release {release} was pruned; its deployed version no longer exists",
            next=f"invoke releases --branch {delivery.environment.branch}{delivery.where}",
        )
    return Called(deployed, answer.status, answer.body, answer.fault, answer.seconds)


def _content(body: str) -> tuple[bytes, str]:
    """The bytes to send, and their media type."""
    if not body:
        return b"", ""
    try:
        data = sys.stdin.buffer.read() if body == "-" else Path(body).read_bytes()
    except OSError as error:
        try:
            json.loads(body)
        except ValueError:
            raise ConfigError("--body", [f"{body!r} is neither JSON nor a file that can be read: {error}"]) from error
        data = body.encode()
    try:
        json.loads(data)
    except ValueError:
        return data, mimetypes.guess_type(body)[0] or "application/octet-stream"
    return data, "application/json"
