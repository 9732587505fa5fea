"""Relays that harm what goes through them: a registry that drops a layer or refuses, an engine that goes away."""

from __future__ import annotations

import http.client
import os
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# What the relay answers by itself, (status, headers); None lets the request through.
Harm = Callable[[str, str], tuple[int, dict[str, str]] | None]


class RegistryRelay:
    """A registry between the engine and the real one at ``host``; ``harm`` is asked about each method and path."""

    def __init__(self, host: str, harm: Harm) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def relay(self) -> None:
                body = self.body()
                if answer := harm(self.command, self.path):
                    status, headers, content = answer[0], answer[1], b""
                else:
                    onward = http.client.HTTPConnection(host)
                    passed = {k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "host")}
                    onward.request(self.command, self.path, body, {**passed, "Content-Length": str(len(body))})
                    response = onward.getresponse()
                    headers = {name.lower(): value for name, value in response.getheaders()}
                    status, content = response.status, response.read()
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                length = headers.get("content-length", "0") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = relay  # noqa: N815 - the base class's names

            def body(self) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                found = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    found.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(found)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def drops_layers(method: str, path: str) -> tuple[int, dict[str, str]] | None:
    """Says thanks for each layer, and keeps none."""
    if method == "PUT" and "/blobs/uploads/" in path:
        match = re.search(r"digest=(sha256(?::|%3A)\w+)", path)
        assert match
        return 201, {"Docker-Content-Digest": match[1].replace("%3A", ":"), "Location": path.split("?")[0]}
    return None


def refuses(method: str, path: str) -> tuple[int, dict[str, str]] | None:
    """Takes no manifest."""
    return (403, {}) if method == "PUT" and "/manifests/" in path else None


class EngineRelay:
    """The engine's socket, which goes away for good once a build has begun."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "engine.sock"
        self.engine = os.environ["DOCKER_HOST"].removeprefix("unix://")
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(self.path))
        self.server.listen()
        self.gone = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while not self.gone:
            client, _ = self.server.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        onward = socket.socket(socket.AF_UNIX)
        onward.connect(self.engine)
        threading.Thread(target=self.copy, args=(onward, client), daemon=True).start()
        while data := client.recv(65536):
            if b"POST " in data and b"/build?" in data:
                self.gone = True
                self.path.unlink()
                self.server.close()
                for end in (client, onward):
                    end.close()
                return
            onward.sendall(data)
        onward.close()

    @staticmethod
    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
