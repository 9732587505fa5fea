"""A registry on loopback that holds base images, for everyone or for those with its token, and harms what is asked for."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from made_images import PYTHON, digest, interpreter, layer
from tiny import Tiny

OCI, DOCKER = "application/vnd.oci.image", "application/vnd.docker"
# What is sent instead, by method and path: (status, headers, body); None lets the request through.
Harm = Callable[[str, str], tuple[int, dict[str, str], bytes] | None]
TOKEN = "of-everyone"
RUNTIME = "/opt/runtime/main.py"
# AWS's runtime interface in short: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
CLIENT = """\
import importlib, json, os, sys, traceback, urllib.request

BASE = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime"
sys.path.insert(0, os.getcwd())


def post(path, document):
    urllib.request.urlopen(urllib.request.Request(f"{BASE}/{path}", data=json.dumps(document).encode())).close()


def fault(error):
    return {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": traceback.format_exc().splitlines()}


module, _, name = sys.argv[1].rpartition(".")
try:
    handler = getattr(importlib.import_module(module), name)
except Exception as error:
    post("init/error", fault(error))
    sys.exit(1)
while True:
    with urllib.request.urlopen(f"{BASE}/invocation/next") as answer:
        event, request = json.load(answer), answer.headers["Lambda-Runtime-Aws-Request-Id"]
    try:
        post(f"invocation/{request}/response", handler(event, None))
    except Exception as error:
        post(f"invocation/{request}/error", fault(error))
"""


def without_engines(folder: Path) -> Path:
    """A folder for PATH whose engines don't answer."""
    (folder / "bin").mkdir()
    for name in ("docker", "podman", "buildah"):
        program = folder / "bin" / name
        program.write_text("#!/bin/sh\necho 'no engine here' >&2\nexit 1\n")
        program.chmod(0o755)
    return folder / "bin"


def based(service: Tiny, base: str) -> None:
    """Set ``build.base``, and commit."""
    text = (service.root / "pipeline.toml").read_text().partition("\n[build]\n")[0]
    service.write("pipeline.toml", f'{text}\n[build]\nbase = "{base}"\n')
    service.commit(f"Base {base}")


class BaseRegistry:
    """A registry with images that were made by hand.

    Attributes:
        host: where it listens.
        harm: what it does to requests.
        asked: method and path of each request.
    """

    def __init__(self, *, token: bool = False) -> None:
        self.blobs: dict[str, tuple[str, bytes]] = {}
        self.tags: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.harm: Harm = lambda method, path: None
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def answer(self) -> None:
                registry.asked.append((self.command, self.path))
                url = urlsplit(self.path)
                if url.path == "/token":
                    query = parse_qs(url.query)
                    assert query["scope"] == ["repository:base:pull"]
                    return self.send(200, {}, json.dumps({"token": TOKEN}).encode())
                if harmed := registry.harm(self.command, url.path):
                    return self.send(*harmed)
                if token and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    asks = f'Bearer realm="http://{registry.host}/token",service="all",scope="repository:base:pull"'
                    return self.send(401, {"WWW-Authenticate": asks}, b"")
                name = url.path.rpartition("/")[2]
                media, content = registry.blobs.get(registry.tags.get(name, name), ("", b""))
                if not media:
                    return self.send(404, {}, b"")
                first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
                headers = {"Content-Type": media, "Docker-Content-Digest": digest(content)}
                self.send(206 if first else 200, headers, content[first:])

            def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)
                self.close_connection = True

            do_GET = do_HEAD = answer  # noqa: N815 - the base class's names

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def layer_requests(self) -> list[str]:
        """The blobs that are layers, and were asked for."""
        return [path for _, path in self.asked if self.blobs.get(path.rpartition("/")[2], ("",))[0].endswith("gzip")]

    def put(self, tag: str, layers: list[bytes], *architectures: str, docker: bool = False, **config: Any) -> str:
        """Add an image of these layers; an index for several architectures. Its digest."""
        entries = [self._image(layers, one, config, docker=docker) for one in architectures or ("amd64",)]
        found = entries[0]["digest"]
        if len(entries) > 1:
            index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": entries}
            found = self._keep(f"{OCI}.index.v1+json", json.dumps(index).encode())
        self.tags[tag] = found
        return f"{self.host}/base@{found}"

    def put_saved(self, tag: str, image: str) -> str:
        """Add an image that docker has."""
        saved = subprocess.run(["docker", "save", image], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
            content = {one.name: archive.extractfile(one).read() for one in archive if one.isfile()}  # type: ignore[union-attr]
        (listed,) = json.loads(content["manifest.json"])
        settings = json.loads(content[listed["Config"]])["config"]
        return self.put(tag, [content[name] for name in listed["Layers"]], docker=True, **settings)

    def put_lambda(self, tag: str) -> str:
        """Add a base image that runs a handler as Lambda's does, with this Python."""
        layers = [interpreter(), layer({RUNTIME: CLIENT.encode()})]
        settings = {"Entrypoint": [PYTHON, "-u", RUNTIME], "Env": ["PATH=/usr/bin:/bin"], "WorkingDir": "/var/task"}
        return self.put(tag, layers, docker=True, **settings)

    def _image(self, layers: list[bytes], architecture: str, config: dict[str, Any], *, docker: bool) -> dict[str, Any]:
        media = f"{DOCKER}.image.rootfs.diff.tar.gzip" if docker else f"{OCI}.layer.v1.tar+gzip"
        kind = f"{DOCKER}.distribution.manifest.v2+json" if docker else f"{OCI}.manifest.v1+json"
        document = {"architecture": architecture, "os": "linux", "config": config}
        document["rootfs"] = {"type": "layers", "diff_ids": [digest(one) for one in layers]}
        described = json.dumps(document).encode()
        named = []
        for content in (gzip.compress(one, 1, mtime=0) for one in layers):
            named.append({"mediaType": media, "digest": self._keep(media, content), "size": len(content)})
        its = {"mediaType": f"{OCI}.config.v1+json", "digest": self._keep("config", described), "size": len(described)}
        body = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": its, "layers": named}).encode()
        platform = {"os": "linux", "architecture": architecture}
        return {"mediaType": kind, "digest": self._keep(kind, body), "size": len(body), "platform": platform}

    def _keep(self, media: str, content: bytes) -> str:
        self.blobs[digest(content)] = (media, content)
        return digest(content)
