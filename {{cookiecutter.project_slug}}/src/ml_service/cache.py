"""Cached answers in Redis, of one release: code, model and configuration. A request waits a few milliseconds at most.

A client of its own, because importing redis-py takes a third of a second, more than the rest of a cold start; it needs two
commands of Redis's protocol, https://redis.io/docs/latest/develop/reference/protocol-spec/. A thread makes the connection, so
that no request waits for it. A command may take ``PATIENCE``, and after an error requests do without Redis for ``PAUSE``.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import SplitResult, unquote, urlsplit

from ml_service import release

__all__ = ["Cache", "from_environment"]

PATIENCE = 0.02  # seconds; a request sends at most two commands
PAUSE = 5.0  # seconds
CONNECTING = 2.0  # seconds, in the thread
LARGEST = 1_000_000  # bytes


def from_environment(warn: Callable[[str], None]) -> Cache | None:
    """The cache at ``REDIS_URL``, which keeps an answer for ``CACHE_SECONDS`` (default: 300); None without ``REDIS_URL``.

    Its keys begin with the function, the release's number and the digest of its content. So no answer of another version
    is found, neither during a canary nor after a rollback, and services can share a Redis.

    Raises:
        ValueError: a variable can't be used; the message names it, and shows no password.
    """
    if not (url := os.environ.get("REDIS_URL", "")):
        return None
    place, seconds = urlsplit(url), os.environ.get("CACHE_SECONDS", "300")
    try:
        place.port, int(place.path.strip("/") or 0)  # both raise ValueError when it is not a number
    except ValueError:
        place = urlsplit("")
    if place.scheme not in ("redis", "rediss") or not place.hostname:
        raise ValueError("REDIS_URL must be like redis://host:6379/0, or rediss:// for TLS")
    if not seconds.isdecimal() or int(seconds) < 1:
        raise ValueError(f"CACHE_SECONDS must be a whole number of seconds, not {seconds!r}")
    this = release.read()
    prefix = f"{os.environ.get('AWS_LAMBDA_FUNCTION_NAME', '')}/{this.number}/{this.content}/"
    return Cache(place, int(seconds), warn, prefix)


class Cache:
    """One connection to Redis, shared by a process's threads; every error counts as a miss."""

    def __init__(self, place: SplitResult, seconds: int, warn: Callable[[str], None], prefix: str = "") -> None:
        self._place, self._seconds, self._warn, self._prefix = place, seconds, warn, prefix
        self._using = threading.Lock()
        self._socket: socket.socket | None = None
        self._connecting = False
        self._not_before = 0.0
        self._begin()

    def get(self, key: str) -> bytes | None:
        """The value of ``key``; None when there is none, or Redis does not answer in time."""
        return self._command(b"GET", f"{self._prefix}{key}".encode())

    def put(self, key: str, value: bytes) -> None:
        """Store ``value`` under ``key``, if Redis takes it in time."""
        self._command(b"SET", f"{self._prefix}{key}".encode(), value, b"EX", str(self._seconds).encode())

    def _command(self, *words: bytes) -> bytes | None:
        deadline = time.monotonic() + PATIENCE
        if not self._using.acquire(timeout=PATIENCE):
            return None
        try:
            if self._socket is None:
                self._begin()
                return None
            return _ask(self._socket, deadline, *words)
        except (OSError, ValueError) as error:
            self._drop(error)
            return None
        finally:
            self._using.release()

    def _begin(self) -> None:
        """Start a thread that connects, unless one is running or the pause after an error is not over."""
        if not self._connecting and time.monotonic() >= self._not_before:
            self._connecting = True
            threading.Thread(target=self._connect, daemon=True).start()

    def _connect(self) -> None:
        place, deadline = self._place, time.monotonic() + CONNECTING
        try:
            made = socket.create_connection((place.hostname, place.port or 6379), timeout=CONNECTING)
            if place.scheme == "rediss":
                import ssl  # only here: importing it slows a cold start

                made = ssl.create_default_context().wrap_socket(made, server_hostname=place.hostname)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if place.password:
                names = [unquote(name).encode() for name in (place.username, place.password) if name]
                _ask(made, deadline, b"AUTH", *names)
            _ask(made, deadline, b"SELECT", place.path.strip("/").encode() or b"0")
            self._socket = made
        except (OSError, ValueError) as error:
            self._drop(error)
        finally:
            self._connecting = False

    def _drop(self, error: Exception) -> None:
        self._not_before = time.monotonic() + PAUSE
        if self._socket:
            self._socket.close()
            self._socket = None
        self._warn(f"requests do without the cache for {PAUSE:g} s: {type(error).__name__}: {error}")


def _ask(connection: socket.socket, deadline: float, *words: bytes) -> bytes | None:
    """Send a command and read its answer: a string, or None for no value.

    Raises:
        OSError: the connection broke, or ``deadline`` passed.
        ValueError: Redis answered with an error, or with what is not an answer to these commands.
    """
    connection.settimeout(max(deadline - time.monotonic(), 0.001))
    connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
    read = b""

    def until(enough: Callable[[], bool]) -> None:
        nonlocal read
        while not enough():
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            if not (more := connection.recv(65536)):
                raise ConnectionError("Redis closed the connection")
            read += more

    until(lambda: b"\r\n" in read)
    line, _, rest = read.partition(b"\r\n")
    match line[:1]:
        case b"+":
            return line[1:]
        case b"$" if (size := int(line[1:])) <= LARGEST:
            if size < 0:
                return None
            start = len(read) - len(rest)
            until(lambda: len(read) >= start + size + 2)
            return read[start : start + size]
    raise ValueError(line[:80].decode("ascii", "replace"))
