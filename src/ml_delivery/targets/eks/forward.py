"""Requests to a pod: through the API server's proxy, or, where that reaches no pods, through port forwarding over a WebSocket.

The security groups of some clusters let the API server reach kubelets alone. A kubelet forwards a port inside of its node.
https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go
"""

from __future__ import annotations

import http.client
import io
import secrets
from typing import TYPE_CHECKING, Any, BinaryIO

from ml_delivery.errors import CloudError
from ml_delivery.targets.eks.client import MANAGER, Client, Reply, lowered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["UNREACHED", "send"]

UNREACHED = b"error trying to reach service"  # of the API server's proxy
REFUSED = b"connection refused"  # by the pod's own network: it was reached, and nothing listens
PROTOCOL = "v4.channel.k8s.io"
PIECE = 1 << 14
BINARY, CLOSE, CONTROL = 0x82, 0x8, 0x8  # https://www.rfc-editor.org/rfc/rfc6455#section-5.2


def send(
    client: Client,
    proxied: str,
    pod: Callable[[], str],
    port: int,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float,
    patience: float,
) -> Reply:
    """The response of a pod to one request.

    Args:
        client: the cluster's. Once forwarding was needed, it is used for all further requests.
        proxied: the path of the API's proxy, to which ``path`` is added.
        pod: returns the API's path of a pod that is ready; empty for none.
        port: the pod's port.
        path, method, body, headers: of the request.
        seconds, patience: as of ``Client.send``.

    Raises:
        CloudError: the API server does not answer, or neither way reaches the pod.
    """
    if not client.forwards:
        reply = client.send(method, f"{proxied}{path}", body, seconds=seconds, patience=patience, headers=headers)
        if UNREACHED not in reply.body.lower() or REFUSED in reply.body or reply.status < 500:
            return reply
    if not (name := pod()):
        return client.send(method, f"{proxied}{path}", body, seconds=seconds, patience=patience, headers=headers)
    connection, answer = client.upgrade(f"{name}/portforward?ports={port}", PROTOCOL, seconds)
    try:
        own = {"host": f"localhost:{port}", "connection": "close", "user-agent": MANAGER}
        own |= {"content-length": str(len(body))} if body is not None else {}
        usual = {"accept": "*/*"} | ({"content-type": "application/json"} if body is not None else {})
        sent = usual | lowered(headers) | own
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        request = "\r\n".join(lines).encode("latin-1") + (body or b"")
        for start in range(0, len(request), PIECE):
            connection.sock.sendall(_frame(b"\0" + request[start : start + PIECE]))
        response = http.client.HTTPResponse(_Pod(answer.fp), method=method)  # type: ignore[arg-type]
        response.begin()
        client.forwards = True
        return Reply(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise CloudError(
            f"port {port} of {name.rpartition('/')[2]} can't be reached, neither by the API server nor by its kubelet: {error}",
            next=f"check that the pod listens on port {port}, and the cluster's security groups; then invoke status {client.where}",
        ) from error
    finally:
        connection.close()


def _frame(message: bytes) -> bytes:
    """One masked binary frame: https://www.rfc-editor.org/rfc/rfc6455#section-5.3."""
    mask, size = secrets.token_bytes(4), len(message)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2)
    return bytes([BINARY]) + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(message))


class _Pod(io.RawIOBase):
    """What the pod sends, as a file; looks enough like a socket to be read by ``http.client``.

    A message starts with its channel, 0 for data and 1 for an error; the first one of each channel holds the port.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file: BinaryIO = file
        self._kept, self._begun = b"", set[int]()

    def makefile(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._kept:
            message = self._message()
            if not message:
                return 0
            channel, data = message[0], message[1:]
            if channel not in self._begun:
                self._begun.add(channel)
            elif channel:
                raise ConnectionError(data.decode("utf-8", "replace"))
            else:
                self._kept = data
        size = min(len(buffer), len(self._kept))
        buffer[:size], self._kept = self._kept[:size], self._kept[size:]
        return size

    def _message(self) -> bytes:
        """The next message; empty at the end."""
        whole = b""
        while head := self._file.read(2):
            size = head[1] & 0x7F
            if size >= 126:
                size = int.from_bytes(self._file.read(2 if size == 126 else 8))
            data, kind = self._file.read(size), head[0] & 0x0F
            if kind == CLOSE:
                return b""
            if kind < CONTROL:
                whole += data
                if head[0] & 0x80:
                    return whole
        return b""
