"""An image for pods that needs no base image: this machine's Python, and a server that answers with its version."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
from pathlib import Path

from emulated import client

from ml_delivery import emulator

# Answers each path with the pod's VERSION, what it was sent, and the status of ASK; /slow after a second, /broken not at all.
SERVER = """
import http.server, os, signal, threading, time, urllib.request

ANSWERED = b""
if "ASK" in os.environ:
    try:
        ANSWERED = b" %d" % urllib.request.urlopen(os.environ["ASK"], timeout=5).status
    except OSError:
        ANSWERED = b" refused"

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        got = self.rfile.read(length)
        if self.path.startswith("/slow"):
            time.sleep(1)
        if self.path == "/broken":
            return self.connection.close()
        body = os.environ.get("VERSION", "?").encode() + (b" " + got if got else b"") + ANSWERED
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("", 8080), Answer)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("serving", flush=True)
server.serve_forever()
server.server_close()
"""
LEFT_OUT = {
    "test",
    "tests",
    "site-packages",
    "dist-packages",
    "idlelib",
    "lib2to3",
    "ensurepip",
    "__pycache__",
    "tkinter",
}


def push(running: emulator.Running, name: str) -> str:
    """Make the image and push it; its name with its digest."""
    return push_layer(running, name, layer(), [str(Path(sys.executable).resolve()), "-I", "/server.py"])


def push_layer(running: emulator.Running, name: str, content: bytes, entrypoint: list[str]) -> str:
    """Push an image of one layer; its name with its digest."""
    uri = str(client(running, "ecr").create_repository(repositoryName=name)["repository"]["repositoryUri"])
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": entrypoint},
            "rootfs": {"type": "layers", "diff_ids": [_digest(content)]},
        }
    ).encode()
    kind = "application/vnd.docker"
    document = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.distribution.manifest.v2+json",
        "config": _entry(f"{kind}.container.image.v1+json", config),
        "layers": [_entry(f"{kind}.image.rootfs.diff.tar", content)],
    }
    manifest = json.dumps(document).encode()
    token = client(running, "ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    for path, method, body in (
        *((f"blobs/uploads/?digest={_digest(blob)}", "POST", blob) for blob in (config, content)),
        ("manifests/1", "PUT", manifest),
    ):
        request = urllib.request.Request(f"{running.endpoint}/v2/{name}/{path}", data=body, method=method)
        request.add_header("Authorization", f"Basic {token}")
        request.add_header("Content-Type", document["mediaType"] if method == "PUT" else "application/octet-stream")
        urllib.request.urlopen(request, timeout=60).close()
    return f"{uri}@{_digest(manifest)}"


def layer() -> bytes:
    """Python's program, the libraries that it loads and its own modules, where they are on this machine."""
    python = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", dereference=True) as archive:
        member = tarfile.TarInfo("server.py")
        member.size = len(SERVER)
        archive.addfile(member, io.BytesIO(SERVER.encode()))
        archive.add(python, str(python).lstrip("/"))
        for path in sorted(libraries(python, *library.glob("lib-dynload/*.so"))):
            archive.add(path, path.lstrip("/"))
        archive.add(library, str(library).lstrip("/"), filter=lambda m: None if Path(m.name).name in LEFT_OUT else m)
    return out.getvalue()


def libraries(*programs: Path) -> set[str]:
    words = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=True).stdout.split()
    return {word for word in words if word.startswith("/") and not word.endswith(":")}


def _entry(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
