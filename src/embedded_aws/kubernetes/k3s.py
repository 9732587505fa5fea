"""A cluster in a container of k3s, which a container engine runs: its API becomes one that a kubeconfig names.

https://docs.k3s.io/advanced#running-k3s-in-docker
``main`` is run as a process. Its only argument is the cluster's folder, whose ``options.json`` holds ``image``; ``port``, of
EKS's endpoint; ``emulator``, the emulator's port; ``webhook``, the address that checks tokens; ``registries``, headers by a
registry's host. It starts the container, or the one that it started before, whose objects are kept, answers at the endpoint
as ``existing`` does, and stops the container when it ends. Containers are found again by their label; the one whose cluster
was ready is recorded in the folder, and others are removed.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import fcntl
import io
import json
import select
import signal
import socket
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedded_aws.engine import client, engine
from embedded_aws.kubernetes import existing, forward
from embedded_aws.kubernetes.api import ApiError

IMAGE = "docker.io/rancher/k3s:v1.34.9-k3s1@sha256:9c162556657a38e394d1f944081388ae7c0b85ec29134c509583083e287f804e"
LABEL = "embedded-aws.cluster"
NODE = "embedded-node"
HOST = "emulator.localhost"  # this machine, as the container knows it: the emulator answers to names of a loopback only
KUBECONFIG = "/etc/rancher/k3s/k3s.yaml"  # https://docs.k3s.io/cluster-access
REGISTRIES = "etc/rancher/k3s/registries.yaml"  # https://docs.k3s.io/installation/private-registry
RUN = ("--privileged", "--hostname", NODE, "--publish", "127.0.0.1::6443", "--add-host", f"{HOST}:host-gateway")
TMPFS = ("--tmpfs", "/run", "--tmpfs", "/var/run")
# A load balancer and a gateway are what AWS has; the account's registry is the emulator's alone.
SERVER = (
    "server",
    f"--node-name={NODE}",
    "--disable=traefik,servicelb,metrics-server,local-storage",
    "--disable-default-registry-endpoint",
)
READY_SECONDS, STOP_SECONDS, PAUSE = 120, 5, 0.3
LINES = 5  # of a container's log, in a refusal


class Failed(Exception):
    """The container can't be had, or its cluster did not start; the message says why."""


def main() -> None:
    """Start, answer, and stop the container, until standard input is closed or SIGTERM comes."""
    home = Path(sys.argv[1])
    options = json.loads((home / "options.json").read_text())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with (home / "container.lock").open("w") as lock, suppress(BrokenPipeError):
        fcntl.flock(lock, fcntl.LOCK_EX)  # the process of an emulator that was killed may be stopping it
        try:
            _start(home, options)
            asyncio.run(_serve(home, options))
        except (Failed, OSError) as error:
            print(json.dumps({"failed": str(error)}), flush=True)
        finally:
            _end(home)


def remove(home: Path) -> None:
    """Remove the containers of the cluster in ``home``, with what they hold; nothing is run where there never was one."""
    if (home / "container").exists():
        with suppress(Failed):  # where the engine does not answer, the next cluster of this folder removes them
            _remove(_labelled(home))


def _start(home: Path, options: dict[str, Any]) -> None:
    """Start the container, wait until its node is ready, and write its kubeconfig."""
    try:
        socket.create_server(("127.0.0.1", options["port"])).close()
    except OSError as error:
        raise Failed(f"port {options['port']} of 127.0.0.1, where the cluster was reached, is taken") from error
    container = _recorded(home)
    labelled = _labelled(home)
    _remove([other for other in labelled if other != container])
    if container not in labelled:
        container = _create(home, options["image"])
    _run("stop it", "stop", "-t", str(STOP_SECONDS), container)
    _run("configure it", "cp", "-", f"{container}:/", input=_registries(options["registries"], options["emulator"]))
    _run("start it", "start", container)
    end = time.monotonic() + READY_SECONDS
    while not _ready(home, container):
        state = _run("inspect it", "inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", container).split()
        if state[0] != "true":
            raise Failed(f"the container of k3s exited with code {state[1]}: {_log(home, container)}")
        if time.monotonic() > end:
            raise Failed(f"k3s was not ready within {READY_SECONDS} s: {_log(home, container)}")
        if select.select([sys.stdin], [], [], PAUSE)[0]:  # the emulator ended
            sys.exit()
    (home / "container").write_text(container)


def _end(home: Path) -> None:
    """Stop the container; one whose cluster was never ready is removed."""
    with suppress(Failed):
        for container in _labelled(home):
            how = ("stop", "-t", str(STOP_SECONDS)) if container == _recorded(home) else ("rm", "--force", "--volumes")
            _run("end it", *how, container)


async def _serve(home: Path, options: dict[str, Any]) -> None:
    """Answer at the endpoint, and let the container, and nothing else, reach the emulator, which listens on loopback only."""
    lines = _run("read its addresses", "exec", _recorded(home), "cat", "/etc/hosts").splitlines()
    known = {name: words[0] for line in lines if (words := line.split()) for name in words[1:]}
    if not known.keys() >= {HOST, NODE}:
        raise Failed(f"the container has no address for {HOST} or {NODE}: {'; '.join(lines)}")
    try:
        listener = socket.create_server((known[HOST], options["emulator"]))
        await forward.serve(listener, "127.0.0.1", options["emulator"], peer=known[NODE])
    except OSError as error:
        # An engine in a machine of its own, as on macOS, passes what is sent to its address on to this machine's loopback.
        if error.errno != errno.EADDRNOTAVAIL:
            raise
    await existing.serve(home, {**options, "source": str(home / "kubeconfig")})


def _create(home: Path, image: str) -> str:
    """Make the container; its id."""
    if client(engine(), "image", "inspect", image).returncode != 0:
        _run(f"pull {image}", "pull", image)
    return _run("make it", "create", "--label", f"{LABEL}={home}", *RUN, *TMPFS, image, *SERVER).split()[-1]


def _ready(home: Path, container: str) -> bool:
    """Whether the cluster has a node that is ready; its kubeconfig is then in the folder."""
    import yaml

    read = client(engine(), "exec", container, "cat", KUBECONFIG)
    published = client(engine(), "port", container, "6443/tcp").stdout.decode().split()
    if read.returncode != 0 or not published:
        return False
    try:
        document = yaml.safe_load(read.stdout)
        for entry in document["clusters"]:
            entry["cluster"]["server"] = f"https://{published[0]}"
        (home / "kubeconfig").touch(0o600)
        (home / "kubeconfig").write_text(json.dumps(document))
        nodes = existing.read(home / "kubeconfig", home).get("/api/v1/nodes")["items"]
    except (yaml.YAMLError, KeyError, TypeError, existing.Unusable, ApiError):
        return False  # it is being written, or the API server starts
    conditions = [one for node in nodes for one in node.get("status", {}).get("conditions", [])]
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _registries(registries: dict[str, str], emulator: int) -> bytes:
    """An archive with the file by which k3s pulls what is in these registries from the emulator."""
    place = f"{HOST}:{emulator}"
    tokens = [base64.b64decode(header.removeprefix("Basic ")).decode() for header in registries.values()]
    user, _, password = tokens[0].partition(":")
    document = {
        "mirrors": {host: {"endpoint": [f"http://{place}"]} for host in registries},
        "configs": {place: {"auth": {"username": user, "password": password}}},
    }
    content, out = json.dumps(document).encode(), io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo(REGISTRIES)
        entry.size, entry.mode = len(content), 0o600
        archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _recorded(home: Path) -> str:
    return (home / "container").read_text() if (home / "container").exists() else ""


def _labelled(home: Path) -> list[str]:
    return _run("list containers", "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL}={home}").split()


def _remove(containers: list[str]) -> None:
    for container in containers:
        _run("remove it", "rm", "--force", "--volumes", container)


def _log(home: Path, container: str) -> str:
    """The last lines that it printed; all of them are written into the cluster's log."""
    done = client(engine(), "logs", container)
    text = (done.stdout + done.stderr).decode(errors="replace")
    (home / "log").mkdir(exist_ok=True)
    (home / "log" / "k3s.txt").write_text(text)
    return " / ".join(text.strip().splitlines()[-LINES:]) or "it printed nothing"


def _run(what: str, *words: str, **options: Any) -> str:
    """Run the engine's client; what it printed.

    Raises:
        Failed: no engine answers, or it refused that, with its reason.
    """
    program = engine()
    if not program:
        raise Failed("neither docker nor podman answers")
    done = client(program, *words, **options)
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise Failed(f"{program} could not {what}: {reason[-1] if reason else f'exit code {done.returncode}'}")
    return done.stdout.decode()
