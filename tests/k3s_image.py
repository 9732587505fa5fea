"""An image that stands in for k3s, which no machine of the tests can pull: its contract, and the cluster of the other tests.

The contract is from k3s' documentation and source: the program is ``/bin/k3s``, ``server`` its first word; the API is served
on port 6443, its kubeconfig is ``/etc/rancher/k3s/k3s.yaml`` with a client certificate and the server ``https://127.0.0.1:6443``;
``/etc/rancher/k3s/registries.yaml`` names mirrors and, by an endpoint's host and port, credentials; what is kept is in the
volume ``/var/lib/rancher/k3s``; an unknown flag ends it. https://docs.k3s.io/cli/server
It is made of this machine's own files, and it needs ``--privileged``, as k3s does.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pods
from tiny import ROOT

from ml_delivery.containers import engines

PROGRAMS = ("etcd", "containerd", "containerd-shim-runc-v2", "ctr", "runc", "unshare", "mount", "ip", "openssl", "cat")
PLUGINS = ("bridge", "host-local", "loopback")
DATA = "/var/lib/rancher/k3s"
ENTRY = """#!{python} -I
import argparse, asyncio, base64, json, os, pathlib, signal, socket, subprocess, sys

def flags():
    known = argparse.ArgumentParser(prog="k3s", allow_abbrev=False)
    known.add_argument("command", choices=["server"])
    known.add_argument("--node-name")
    known.add_argument("--disable")
    known.add_argument("--disable-default-registry-endpoint", action="store_true")
    return known.parse_args()

flags()
data = pathlib.Path("/cluster")  # the cluster covers /var/lib with mounts of its own
subprocess.run(["mount", "--bind", "{data}", str(data)], check=True)
file = pathlib.Path("/etc/rancher/k3s/registries.yaml")
read = json.loads(file.read_text()) if file.exists() else {{"mirrors": {{}}, "configs": {{}}}}
endpoints = {{host: mirror["endpoint"][0] for host, mirror in read["mirrors"].items()}}
place = next(iter(endpoints.values()), "http://127.0.0.1:1").partition("://")[2]
auth = read["configs"].get(place, {{}}).get("auth", {{"username": "", "password": ""}})
header = "Basic " + base64.b64encode(f"{{auth['username']}}:{{auth['password']}}".encode()).decode()
host, _, port = place.partition(":")
options = {{"home": str(data), "hyperkube": "/bin/hyperkube", "port": 6444, "emulator": int(port), "webhook": "",
           "registries": {{name: header for name in endpoints}}}}
(data / "options.json").write_text(json.dumps(options))
sys.path.insert(0, "/opt")
from embedded_aws.kubernetes import forward
from embedded_aws.kubernetes.api import Api
from embedded_aws.kubernetes.gateway import definitions
cluster = subprocess.Popen([sys.executable, "-I", "/opt/embedded_aws/__main__.py", "cluster", str(data)],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)

def end(*_):
    cluster.terminate()
    os._exit(cluster.wait())

signal.signal(signal.SIGTERM, end)

async def serve():
    await forward.serve(socket.create_server(("0.0.0.0", 6443)), "127.0.0.1", 6444)
    await forward.serve(socket.create_server(("127.0.0.1", int(port))), host, int(port))
    report = json.loads(await asyncio.to_thread(cluster.stdout.readline) or "{{}}")
    if "ready" not in report:
        print("level=fatal msg=", report, flush=True)
        os._exit(1)
    ready = report["ready"]
    api = Api(ready["endpoint"], base64.b64decode(ready["authority"]).decode(), ready["token"])
    for plural in definitions.PLURALS.values():  # k3s has no Gateway API, unless its Traefik brings it
        kind = f"customresourcedefinitions/{{plural}}.{{definitions.GROUP}}"
        await asyncio.to_thread(api.delete, "/apis/apiextensions.k8s.io/v1/" + kind)
    keys = data / "files/keys"
    def text(name):
        return base64.b64encode((keys / name).read_bytes()).decode()
    about = {{"server": "https://127.0.0.1:6443", "certificate-authority-data": text("ca.crt")}}
    user = {{"client-certificate-data": text("api-client.crt"), "client-key-data": text("api-client.key")}}
    document = {{"apiVersion": "v1", "kind": "Config", "current-context": "default",
                "clusters": [{{"name": "default", "cluster": about}}], "users": [{{"name": "default", "user": user}}],
                "contexts": [{{"name": "default", "context": {{"cluster": "default", "user": "default"}}}}]}}
    pathlib.Path("/etc/rancher/k3s/k3s.yaml").write_text(json.dumps(document))
    await asyncio.to_thread(cluster.wait)

asyncio.run(serve())
"""


def build(engine: engines.Engine, hyperkube: Path, tag: str) -> None:
    """Make the image and name it ``tag``."""
    out = io.BytesIO(pods.layer())
    python = Path(sys.executable).resolve()
    with tarfile.open(fileobj=out, mode="a", dereference=True) as archive:

        def add(path: Path | str, name: str = "") -> None:
            archive.add(path, (name or str(path)).lstrip("/"), filter=lambda m: None if "__pycache__" in m.name else m)

        there = set(archive.getnames())

        found = [Path(path) for name in PROGRAMS if (path := shutil.which(name))]
        for path in found:
            add(path, f"/bin/{path.name}")
        for library in sorted(pods.libraries(*found)):
            if library.lstrip("/") not in there:
                add(library)
        for plugin in PLUGINS:
            add(f"/usr/lib/cni/{plugin}")
        add("/bin/sh")
        add("/etc/ssl/openssl.cnf", "/usr/lib/ssl/openssl.cnf")
        add(hyperkube, "/bin/hyperkube")
        add(ROOT / "src/embedded_aws", "/opt/embedded_aws")
        entry = tarfile.TarInfo("bin/k3s")
        content = ENTRY.format(python=python, data=DATA).encode()
        entry.size, entry.mode = len(content), 0o755
        archive.addfile(entry, io.BytesIO(content))
        for folder in (
            "tmp",
            "proc",
            "sys",
            "dev",
            "run",
            "var/lib",
            "var/log",
            "var/tmp",
            "etc/rancher/k3s",
            "cluster",
        ):
            made = tarfile.TarInfo(folder)
            made.type, made.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(made)
    changes = ['ENTRYPOINT ["/bin/k3s"]', f"VOLUME {DATA}", f"ENV PATH=/bin:{python.parent}"]
    words = [engine.name, "import", *(word for change in changes for word in ("--change", change)), "-", tag]
    subprocess.run(words, input=out.getvalue(), env=engine.environment, check=True, capture_output=True)
