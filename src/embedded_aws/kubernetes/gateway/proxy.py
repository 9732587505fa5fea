"""Passes HTTP requests on: one request per connection, to a pod that is ready, with what a load balancer adds.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html
A pod that does not accept the connection has seen nothing of the request, which then goes to another one. Once it has been
sent it is never repeated. A request in flight keeps its pod, whatever becomes of the route.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from embedded_aws.kubernetes.gateway.routing import NoBackend

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from embedded_aws.kubernetes.gateway.routing import Address

CHUNK = 1 << 16
HEAD_BYTES = 1 << 16
IDLE_SECONDS = 60  # the default of AWS's load balancer
CONNECT_SECONDS = 2
REASONS = {400: "Bad Request", 404: "Not Found", 500: "Internal Server Error", 502: "Bad Gateway"}
REASONS |= {503: "Service Unavailable", 504: "Gateway Timeout"}
# https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
HOP = ("connection", "keep-alive", "proxy-connection", "upgrade", "te")

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
log = logging.getLogger("gateway")


async def serve(listener: socket.socket, backend: Callable[[str, str], list[Address]]) -> asyncio.Server:
    """Serve ``listener``; ``backend`` returns the addresses to try, by a request's host and path."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            try:
                await _pass_on(reader, writer, backend)
            except NoBackend as refusal:
                await _refuse(writer, refusal.status, str(refusal))
            except TimeoutError:
                await _refuse(writer, 504, "the pod did not answer in time")
            except (ValueError, EOFError, asyncio.LimitOverrunError):
                await _refuse(writer, 400, "not a request")

    return await asyncio.start_server(answer, sock=listener, limit=HEAD_BYTES)


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, backend: Callable[[str, str], list[Address]]
) -> None:
    try:
        head = await read_head(reader)
    except TimeoutError:
        head = None
    if head is None:
        return  # a client that connected and sent nothing
    line, headers = head
    _, target, _ = line.split(" ")
    fields = {name.lower(): value for name, value in headers}
    source = writer.get_extra_info("peername")[0]
    there_reader, there_writer = await _connect(backend(fields.get("host", ""), target.partition("?")[0]))
    with contextlib.closing(there_writer):
        added = [("X-Forwarded-For", source), ("X-Forwarded-Proto", "http"), ("Connection", "close")]
        there_writer.write(head_of(line, [*_kept(headers), *added]))
        sending = asyncio.create_task(copy(reader, there_writer))
        try:
            await _answer(there_reader, writer)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass the answer on until the pod closes the connection."""
    try:
        while True:
            head = await asyncio.wait_for(read_head(reader), IDLE_SECONDS)
            if head is None:
                raise NoBackend(502, "the pod closed the connection without an answer")
            line, headers = head
            interim = line.split(" ")[1].startswith("1")  # such as 100 Continue: the answer follows
            writer.write(head_of(line, headers if interim else [*_kept(headers), ("Connection", "close")]))
            if not interim:
                break
    except (ConnectionError, EOFError, ValueError) as error:
        raise NoBackend(502, f"the pod did not answer: {error}") from error
    try:
        await copy(reader, writer)
    except OSError:
        writer.transport.abort()  # the client sees that the answer is incomplete


async def _connect(addresses: list[Address]) -> Stream:
    """A connection to the first of these pods that accepts one.

    Raises:
        NoBackend: none does.
    """
    for host, port in addresses:
        try:
            return await asyncio.wait_for(asyncio.open_connection(host, port, limit=HEAD_BYTES), CONNECT_SECONDS)
        except (OSError, TimeoutError) as error:
            log.warning("%s:%s: %s", host, port, error)
    raise NoBackend(502, "no ready pod accepts connections")


async def read_head(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]]] | None:
    """The first line and the headers; None at the end of the stream."""
    try:
        text = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE_SECONDS)).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    line, *rest = text.rstrip("\r\n").split("\r\n")
    named = [header.partition(":") for header in rest]
    return line, [(name, value.strip()) for name, _, value in named]


def _kept(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in HOP]


def head_of(line: str, headers: list[tuple[str, str]]) -> bytes:
    """The bytes of a first line and its headers."""
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin-1")


async def copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float | None = IDLE_SECONDS
) -> None:
    """Pass on what comes, until the sender ends.

    Raises:
        TimeoutError: nothing came for ``seconds``.
    """
    while chunk := await asyncio.wait_for(reader.read(CHUNK), seconds):
        writer.write(chunk)
        await writer.drain()


async def _refuse(writer: asyncio.StreamWriter, status: int, message: str) -> None:
    body = f"{message}\n".encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Connection", "close")]
    writer.write(head_of(f"HTTP/1.1 {status} {REASONS[status]}", headers) + body)
    await writer.drain()
