"""A network of its own for a container that is run without an engine, so that each serves on port 8080, as on SageMaker.

A Linux network namespace belongs to a thread, and to the processes and sockets that the thread makes:
https://man7.org/linux/man-pages/man7/network_namespaces.7.html
So one thread enters a new one, starts the container, and makes the sockets that reach it. The container reaches nothing
outside but this emulator, at its usual address, by a relay.
"""

from __future__ import annotations

import contextvars
import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
T = TypeVar("T")


class Network:
    """One network; ``close`` ends it, once what was started in it has ended."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "network")
        self._relay = self.run(_enter)
        # Started here: a thread belongs to the network of the one that starts it, and this one relays to the outside.
        threading.Thread(target=_accept, args=(self._relay,), daemon=True).start()

    def run(self, act: Callable[[], T]) -> T:
        """Call ``act`` in the network: what it starts and opens is there.

        Raises:
            ConnectionError: the network was closed.
        """
        try:
            call = self._thread.submit(contextvars.copy_context().run, act)
        except RuntimeError as error:
            raise ConnectionError("the container has ended") from error
        return call.result()

    def close(self) -> None:
        with suppress(OSError):  # wakes up the thread that accepts
            self._relay.shutdown(socket.SHUT_RDWR)
        self._relay.close()
        self._thread.shutdown(wait=False)


def _enter() -> socket.socket:
    """Put this thread into a new network; returns a socket there that listens at the emulator's address."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    return socket.create_server(("127.0.0.1", int(os.environ["GATEWAY_PORT"])))


def _accept(listener: socket.socket) -> None:
    """Connect each client in the network with the emulator."""
    while True:
        try:
            inner, _ = listener.accept()
        except OSError:  # closed
            return
        try:
            outer = socket.create_connection(("127.0.0.1", int(os.environ["GATEWAY_PORT"])))
        except OSError:
            inner.close()
            continue
        for source, sink in ((inner, outer), (outer, inner)):
            threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
