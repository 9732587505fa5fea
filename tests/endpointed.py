"""A tiny service whose target is a SageMaker endpoint: a WSGI application behind gunicorn, easy to break in one way."""

from __future__ import annotations

import io
import json
import platform
import re
import subprocess
import sysconfig
import tarfile
from functools import partial
from pathlib import Path

import podded
from made_images import PYTHON, digest, interpreter, layer
from podded import APP, CREATED
from tiny import Tiny

from ml_delivery.containers.engines import Engine

BASE = "localhost/endpointed:1"
SERVED = APP.replace(
    '    if path == "/broken":\n',
    '    if path == "/echo":\n'
    '        length = int(environ.get("CONTENT_LENGTH") or 0)\n'
    '        names = ("REQUEST_METHOD", "QUERY_STRING", "CONTENT_TYPE")\n'
    '        body = {name: environ.get(name, "") for name in names}\n'
    '        body["body"] = environ["wsgi.input"].read(length).decode()\n'
    '    if path == "/broken":\n',
)
# How a service breaks: the text to replace in SERVED, what to put there, and what the refusal says.
FAULTS = {
    "exits": (CREATED, CREATED + "    raise ValueError('no such luck')\n", "ValueError: no such luck"),
    "is another release": ("**RELEASE", '**RELEASE, "content": "sha256:0"', "is another release: /version has content"),
    "is never healthy": ("= environ", '= environ["PATH_INFO"], "503 Not Yet" #', "ping health check"),
}
SETTINGS = 'instance_type = "ml.t2.medium"\nstart = 60\n'


def base(engine: Engine, folder: Path) -> None:
    """Let the engine have an image with this Python's interpreter under the name ``BASE``."""
    saved = folder / "base.tar"
    saved.write_bytes(_archive())
    words = ["pull", "--quiet", f"docker-archive:{saved}"] if engine.name == "buildah" else ["load", "--input", saved]
    subprocess.run([engine.name, *words], env=engine.environment, check=True, capture_output=True)
    saved.unlink()


def _archive() -> bytes:
    """The image in the format of ``docker load``: the interpreter, and what gunicorn needs beside it."""
    linked = io.BytesIO()
    with tarfile.open(fileobj=linked, mode="w") as archive:
        entry = tarfile.TarInfo("usr/local/bin/python3")
        entry.type, entry.linkname = tarfile.SYMTYPE, PYTHON
        archive.addfile(entry)
    layers = [interpreter(), layer(_ssl()), linked.getvalue()]
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        "history": [{"created": "1980-01-01T00:00:00Z", "created_by": "tests"} for _ in layers],
        "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
    }
    names = [f"{number}.tar" for number in range(len(layers))]
    members = dict(zip(names, layers, strict=True)) | {"config.json": json.dumps(config).encode()}
    listed = [{"Config": "config.json", "RepoTags": [BASE], "Layers": names}]
    members["manifest.json"] = json.dumps(listed).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _ssl() -> dict[str, bytes | Path]:
    """The extension module ``_ssl``, which gunicorn imports, and what it is linked with."""
    folder = Path(subprocess.check_output([PYTHON, "-c", "import _ssl; print(_ssl.__file__)"], text=True).strip())
    assert folder.suffix == sysconfig.get_config_var("EXT_SUFFIX")[-3:]
    found = re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", str(folder)], text=True))
    return {str(folder): folder, **{name: Path(name) for name in found}}


def endpoint(service: Tiny) -> None:
    """Make the target of ``service`` a SageMaker endpoint, and commit."""
    podded.served(service, "sagemaker", SERVED, "invocations.py", "Dockerfile.sagemaker", SETTINGS)
    service.replace("pipeline.toml", "[promote]", f'[build]\nbase = "{BASE}"\n\n[promote]')
    service.commit("Endpoint")


fault = partial(podded.fault, faults=FAULTS)
repair = partial(podded.repair, app=SERVED)
