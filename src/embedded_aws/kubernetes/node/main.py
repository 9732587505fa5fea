"""The first process of the cluster's namespaces: ``main`` is run by ``unshare``, as process 1.

It is given one open socket, by which it sends a listener of its own network (for connections to the emulator) and then lines
of JSON: ``{"ready": true}`` or ``{"failed": "..."}``, and ``{"listen": "..."}``, which is answered with a listener of the
machine's loopback.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedded_aws.kubernetes import forward
from embedded_aws.kubernetes.api import Api, ApiError
from embedded_aws.kubernetes.gateway import controller
from embedded_aws.kubernetes.node import certificates, mounts, network, pause, servers

if TYPE_CHECKING:
    from collections.abc import Callable

API_SECONDS, NODE_SECONDS = 120, 120  # 5 and 6 on two idle cores
PAUSE = 0.5  # before a server that ended is started again


def main() -> None:
    """Prepare the namespaces, then run as two processes: the first one collects what has ended, the other one works."""
    options = json.loads(Path(sys.argv[1], "options.json").read_text())
    options |= {"channel": int(sys.argv[2]), "api": int(sys.argv[3])}
    child = os.fork()
    if child == 0:
        _work(options)
        os._exit(0)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        ended, status = os.wait()
        if ended == child:
            os._exit(os.waitstatus_to_exitcode(status) and 1)


def _work(options: dict[str, Any]) -> None:
    channel = socket.socket(fileno=options["channel"])
    try:
        _start(options, channel)
    except Exception as error:
        channel.sendall(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode() + b"\n")
        raise


def _start(options: dict[str, Any], channel: socket.socket) -> None:
    home, hyperkube = Path(options["home"]), Path(options["hyperkube"])
    hyperkube_handle = os.open(hyperkube, os.O_PATH)  # wherever it is, /run is about to be covered
    mounts.make(home)
    network.up()
    emulator = socket.create_server(("0.0.0.0", options["emulator"]))  # noqa: S104 - a network of its own
    socket.send_fds(channel, [b"L"], [emulator.fileno()])

    files, data = mounts.HOME / "files", mounts.HOME / "data"
    data.mkdir(exist_ok=True)
    certificates.ensure(files / "keys", servers.NODE_NAME, ["127.0.0.1", network.API, network.NODE])
    servers.write(files, data, options["webhook"])
    servers.write_registries(files, options["registries"], f"http://127.0.0.1:{options['emulator']}")
    program = Path(f"/proc/{os.getpid()}/fd/{hyperkube_handle}")
    _run(servers.all_servers(program, files, data, bool(options["webhook"])), mounts.HOME / "log")
    token = (files / "keys" / "admin.token").read_text()
    api = Api(servers.SERVER, (files / "keys" / "ca.crt").read_text(), token)
    _wait("the API server", lambda: _answers(api), API_SECONDS)
    _wait("containerd", lambda: Path(servers.CONTAINERD).exists(), API_SECONDS)
    _import_pause(files / "pause.tar")
    asyncio.run(_serve(options, channel, api))


async def _serve(options: dict[str, Any], channel: socket.socket, api: Api) -> None:
    await forward.serve(socket.socket(fileno=options["api"]), network.API, 443)
    await asyncio.to_thread(controller.install, api)
    await asyncio.to_thread(_wait, "the node", lambda: _node_ready(api), NODE_SECONDS)
    channel.sendall(b'{"ready": true}\n')
    await controller.Controller(api, lambda name: _listen(channel, name)).run()


def _listen(channel: socket.socket, name: str) -> tuple[socket.socket, int]:
    """A listener of the machine's loopback, from the supervisor, and its port."""
    channel.sendall(json.dumps({"listen": name}).encode() + b"\n")
    port, handles, _, _ = socket.recv_fds(channel, 16, 1)
    return socket.socket(fileno=handles[0]), int(port)


def _run(wanted: tuple[servers.Server, ...], logs: Path) -> None:
    """Start the servers, each of which is started again when it ends."""
    logs.mkdir(exist_ok=True)
    for server in wanted:
        threading.Thread(
            target=_keep, args=(server, logs / f"{server.name}.txt"), daemon=True, name=server.name
        ).start()


def _keep(server: servers.Server, file: Path) -> None:
    with file.open("wb") as log:
        while True:
            subprocess.run(
                server.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                check=False,
            )
            time.sleep(PAUSE)


def _import_pause(archive: Path) -> None:
    ctr = ["ctr", "--address", servers.CONTAINERD, "--namespace", "k8s.io", "images"]
    _wait("containerd", lambda: subprocess.run([*ctr, "ls"], capture_output=True, check=False).returncode == 0, 30)
    subprocess.run([*ctr, "import", str(archive)], check=True, capture_output=True)
    subprocess.run([*ctr, "label", pause.NAME, "io.cri-containerd.pinned=pinned"], check=False, capture_output=True)


def _answers(api: Api) -> bool:
    try:
        return bool(api.get("/readyz"))
    except ApiError:
        return False


def _node_ready(api: Api) -> bool:
    try:
        conditions = api.get(f"/api/v1/nodes/{servers.NODE_NAME}").get("status", {}).get("conditions", [])
    except ApiError:
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _wait(what: str, holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} was not ready within {seconds:.0f} s")
        time.sleep(0.05)
