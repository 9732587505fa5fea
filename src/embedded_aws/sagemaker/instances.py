"""One instance of a production variant: a serving container, its health, and requests to it.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html: a container serves on port 8080, answers
GET /ping with 200 within 2 seconds, the first time within 4 minutes, and POST /invocations within 60; it is ended by SIGTERM,
and by SIGKILL 30 seconds later. One that ends or stops answering is started again.
Not as there: a container that ends before its first healthy answer fails its variant at once, not after 4 minutes.
"""

from __future__ import annotations

import contextvars
import http.client
import queue
import secrets
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from embedded_aws.sagemaker.containers import Container, NotRunnable, Run
from embedded_aws.sagemaker.logs import Stream

PING_SECONDS = 2.0
INVOKE_SECONDS = 60.0
STOP_SECONDS = 30.0
WATCH_SECONDS = 5.0  # between two health checks of an instance that is in service
UNHEALTHY = 3  # failed health checks in a row after which it is started again


@dataclass(frozen=True)
class Answer:
    """What a container answered; ``milliseconds`` is how long it took."""

    status: int
    headers: dict[str, str]
    body: bytes
    milliseconds: float


class Unhealthy(Exception):
    """An instance did not become healthy; the message says why."""


class Instance:
    """An instance; its container is started by ``start``."""

    def __init__(self, run: Run, log: Stream) -> None:
        self.name = f"i-{secrets.token_hex(8)}"
        self._run, self._log = run, log
        self._container: Container | None = None
        self._idle: queue.SimpleQueue[http.client.HTTPConnection] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._requests, self._free = 0, threading.Condition()

    def start(self, seconds: float) -> None:
        """Start the container, and wait until it is healthy.

        Raises:
            Unhealthy: it ended, or was not healthy within ``seconds``.
        """
        try:
            self._container = Container(self._run, self._log.write)
        except (NotRunnable, OSError) as error:
            raise Unhealthy(str(error)) from error
        end = time.monotonic() + seconds
        while not self.ping():
            if (code := self._container.wait(0.05)) is not None:
                raise Unhealthy(f"the container ended with exit code {code}")
            if self._ended.is_set() or time.monotonic() > end:
                raise Unhealthy(f"no healthy answer to /ping within {seconds:.0f} seconds")

    def watch(self) -> None:
        """From now on, start the container again when it ends or stops answering."""
        threading.Thread(target=contextvars.copy_context().run, args=(self._watch,), daemon=True).start()

    def ping(self) -> bool:
        """Whether it answers GET /ping with 200 within 2 seconds."""
        try:
            return self._ask("GET", "/ping", b"", {}, PING_SECONDS, fresh=True).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def invoke(self, body: bytes, headers: dict[str, str]) -> Answer:
        """Its answer to POST /invocations.

        Raises:
            TimeoutError: there was none within 60 seconds.
            OSError, HTTPException: there was none, or no HTTP.
        """
        return self._ask("POST", "/invocations", body, headers, INVOKE_SECONDS)

    def acquire(self) -> None:
        """Announce a request, which ``stop`` waits for."""
        with self._free:
            self._requests += 1

    def release(self) -> None:
        """The request has ended."""
        with self._free:
            self._requests -= 1
            self._free.notify_all()

    def stop(self) -> None:
        """End the container, once it has answered what it was asked."""
        with self._free:
            self._free.wait_for(lambda: not self._requests, INVOKE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the container, with time to finish what it does."""
        self._ended.set()
        self._forget()
        if self._container:
            self._container.stop(STOP_SECONDS)

    def _ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str], seconds: float, *, fresh: bool = False
    ) -> Answer:
        began = time.perf_counter()
        reused: http.client.HTTPConnection | None = None
        if not fresh:
            with suppress(queue.Empty):
                reused = self._idle.get_nowait()
        try:
            found = self._send(reused or self._connect(seconds), method, path, body, headers, seconds, keep=not fresh)
        except (ConnectionError, http.client.RemoteDisconnected, http.client.CannotSendRequest):
            if reused is None:
                raise
            # The container had closed the connection, which it may, before it read the request.
            found = self._send(self._connect(seconds), method, path, body, headers, seconds, keep=not fresh)
        status, given, content = found
        return Answer(status, given, content, (time.perf_counter() - began) * 1000)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
        seconds: float,
        *,
        keep: bool,
    ) -> tuple[int, dict[str, str], bytes]:
        kept = False
        try:
            assert connection.sock is not None
            connection.sock.settimeout(seconds)
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            content = response.read()
            kept = keep and connection.sock is not None
            return response.status, {k.lower(): v for k, v in response.getheaders()}, content
        finally:
            if kept:
                self._idle.put(connection)
            else:
                connection.close()

    def _connect(self, seconds: float) -> http.client.HTTPConnection:
        container = self._container
        if container is None:
            raise ConnectionRefusedError("the container isn't started")
        connection = http.client.HTTPConnection("127.0.0.1", 8080)
        connection.sock = container.connect(seconds)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _forget(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _watch(self) -> None:
        failures = 0
        while not self._ended.wait(WATCH_SECONDS if failures == 0 else 1.0):
            container = self._container
            if container is not None and container.wait(0) is None:
                failures = 0 if self.ping() else failures + 1
                if failures < UNHEALTHY:
                    continue
            if self._ended.is_set():
                return
            self._forget()
            if container is not None:
                container.stop(STOP_SECONDS)
            with suppress(NotRunnable, OSError):
                self._container = Container(self._run, self._log.write)
            if self._ended.is_set() and self._container:
                self._container.stop(STOP_SECONDS)
            failures = 1
