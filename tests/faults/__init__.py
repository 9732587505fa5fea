"""What can go wrong between a deploy and its cloud; a fault is one line::

    with faults(lost("UpdateAlias")):
        tiny.deploy()

Faults are injected where botocore, and the client of a cluster, hand a request to the network, below their retries, so nothing
in the pipeline knows. An operation of a cluster is its method and path, such as ``PATCH /apis/apps/v1/…``.
``at`` and ``times`` count the calls of the operations that match ``on``, tries of botocore's own included.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore import exceptions
from botocore.awsrequest import AWSResponse
from botocore.endpoint import Endpoint

from ml_delivery.targets.eks.client import Client

__all__ = [
    "Call",
    "Fault",
    "altered",
    "conflict",
    "cut",
    "error500",
    "expired",
    "faults",
    "kill",
    "lag",
    "lost",
    "refused",
    "throttle",
    "timeout",
]

READS = re.compile(r"GET |Get|List|Describe|Head|Invoke")


@dataclass(frozen=True)
class Call:
    """One request on its way: ``send`` sends it and gives the raw response."""

    operation: str
    protocol: str
    url: str
    send: Callable[[], Any]

    @property
    def reads(self) -> bool:
        return bool(READS.match(self.operation))


@dataclass
class Fault:
    """``act`` stands in for the calls ``at`` … ``at + times - 1`` of the operations whose name ``on`` matches."""

    name: str
    act: Callable[[Call], Any]
    on: str = ""
    at: int = 1
    times: int = 1
    writes_only: bool = False
    seen: int = field(default=0, init=False)
    struck: list[str] = field(default_factory=list, init=False)

    def strikes(self, call: Call) -> bool:
        if not re.search(self.on, call.operation) or (self.writes_only and call.reads):
            return False
        self.seen += 1
        if self.at <= self.seen < self.at + self.times:
            self.struck.append(call.operation)
            return True
        return False


@contextmanager
def faults(*planned: Fault) -> Iterator[list[str]]:
    """Let faults happen to the calls of this process; gives the operations that were called, in order."""
    called: list[str] = []
    current: list[Any] = []
    respond, send = Endpoint._do_get_response, Endpoint._send

    def responding(self: Any, request: Any, operation: Any, context: Any) -> Any:
        current[:] = [operation]
        return respond(self, request, operation, context)

    def sending(self: Any, request: Any) -> Any:
        operation = current[0]
        protocol = operation.service_model.resolved_protocol
        call = Call(operation.name, protocol, request.url, lambda: send(self, request))
        called.append(call.operation)
        for fault in planned:
            if fault.strikes(call):
                return fault.act(call)
        return call.send()

    once = Client._once

    def asking(self: Client, method: str, path: str, *rest: Any) -> Any:
        call = Call(f"{method} {path}", "kubernetes", path, lambda: once(self, method, path, *rest))
        called.append(call.operation)
        for fault in planned:
            if fault.strikes(call):
                try:
                    return fault.act(call)
                except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
                    self._connection = None
                    raise ConnectionResetError(str(error)) from error
        return call.send()

    Endpoint._do_get_response, Endpoint._send, Client._once = responding, sending, asking  # type: ignore[assignment, method-assign]
    try:
        yield called
    finally:
        Endpoint._do_get_response, Endpoint._send, Client._once = respond, send, once  # type: ignore[method-assign]


# -- the faults


def cut(on: str = "", at: int = 1, times: int = 1) -> Fault:
    """The network is down."""

    def act(call: Call) -> Any:
        raise exceptions.EndpointConnectionError(endpoint_url=call.url)

    return Fault("cut", act, on, at, times)


def timeout(on: str = "", at: int = 1, times: int = 1) -> Fault:
    """Nobody answers, and the call took no effect."""

    def act(call: Call) -> Any:
        raise exceptions.ReadTimeoutError(endpoint_url=call.url)

    return Fault("timeout", act, on, at, times)


def lost(on: str = "", at: int = 1, times: int = 1) -> Fault:
    """The call takes effect, and its answer never comes."""

    def act(call: Call) -> Any:
        call.send()
        raise exceptions.ConnectionClosedError(endpoint_url=call.url)

    return Fault("lost answer", act, on, at, times)


def throttle(on: str = "", at: int = 1, times: int = 1) -> Fault:
    """AWS has had too many requests."""
    codes = {"rest-xml": (503, "SlowDown"), "query": (400, "Throttling")}
    return Fault(
        "throttle",
        lambda call: _error(call, *codes.get(call.protocol, (429, "TooManyRequestsException"))),
        on,
        at,
        times,
    )


def error500(on: str = "", at: int = 1, times: int = 1) -> Fault:
    """AWS fails."""
    return Fault("error 500", lambda call: _error(call, 500, "InternalError"), on, at, times)


def refused(code: str, on: str, status: int = 409, times: int = 1) -> Fault:
    """AWS says no, with that code."""
    return Fault(code, lambda call: _error(call, status, code), on, times=times)


def altered(on: str, times: int = 1, **members: str) -> Fault:
    """The answer, a JSON document, has other members."""

    def act(call: Call) -> Any:
        answer = call.send()
        body = json.dumps({**json.loads(answer.content), **members})
        headers = {**answer.headers, "content-length": str(len(body))}
        return AWSResponse(call.url, 200, headers, _Body(body.encode()))

    return Fault("another answer", act, on, times=times)


def expired(on: str = "", at: int = 1) -> Fault:
    """The credentials are good no more, from that call on, for whatever comes."""

    def act(call: Call) -> Any:
        fault.on = ""
        return _error(call, 403, "ExpiredTokenException")

    fault = Fault("expired credentials", act, on, at, times=10**6)
    return fault


def lag(seconds: float = 0.5, on: str = "GetAlias|GetFunctionConfiguration") -> Fault:
    """Reads show for a while what was there before the last write; S3's never do."""
    answers: dict[str, list[tuple[float, Any]]] = {}

    def act(call: Call) -> Any:
        response = call.send()
        response.content  # noqa: B018 - read it, so that it can be given again
        history = answers.setdefault(call.url, [])
        history.append((time.monotonic(), response))
        return next((old for at, old in reversed(history) if at < time.monotonic() - seconds), history[0][1])

    return Fault("lagging reads", act, on, times=10**6)


def conflict(change: Callable[[], None], on: str, at: int = 1) -> Fault:
    """Somebody else makes ``change`` just before that call."""

    def act(call: Call) -> Any:
        change()
        return call.send()

    return Fault("conflict", act, on, at)


def kill(at: int, *, after: bool = True) -> Fault:
    """``kill -9`` at that write: after it took effect, or before."""

    def act(call: Call) -> Any:
        if after:
            call.send()
        os.kill(os.getpid(), signal.SIGKILL)

    return Fault("kill -9", act, at=at, writes_only=True)


def _error(call: Call, status: int, code: str) -> AWSResponse:
    if call.protocol in ("rest-xml", "query"):
        body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>"
        if call.protocol == "query":
            body = f"<ErrorResponse>{body}</ErrorResponse>"
    else:
        body = f'{{"__type": "{code}", "message": "injected"}}'
    headers = {"x-amzn-errortype": code, "content-length": str(len(body))}
    return AWSResponse(call.url, status, headers, _Body(body.encode()))


class _Body:
    """A body that botocore can read once it asks for the content, or streams."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        body, self._body = self._body, b""
        if body:
            yield body

    def read(self, *_: Any, **__: Any) -> bytes:
        return b"".join(self.stream())
