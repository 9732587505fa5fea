"""The process that starts a cluster in namespaces of its own, passes its connections on, and ends with its parent.

``main`` is run as a process: its only argument is the cluster's folder, whose ``options.json`` holds (``home``; ``hyperkube``; ``port``, of the API; ``emulator``, the emulator's port;
``webhook``, the address that checks tokens; ``registries``, headers by the registry's host). It prints one line of JSON, ``{"ready": ...}`` or ``{"failed": ...}``, and ends when its
standard input is closed, as the kernel does when the process that started it ends, or on SIGTERM. Whatever ends it, even
SIGKILL, ends every process of the cluster, and with them its mounts and networks.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ctypes
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from embedded_aws import process
from embedded_aws.kubernetes import forward
from embedded_aws.kubernetes.node import mounts

PR_SET_PDEATHSIG = 1  # https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
NAMESPACES = ("--mount", "--propagation", "private", "--pid", "--net", "--cgroup", "--uts", "--ipc")


def main() -> None:
    """Start, report, serve, and clean up."""
    options = json.loads(Path(sys.argv[1], "options.json").read_text())
    home = Path(options["home"])
    group = f"embedded-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"
    _remove_groups(group)
    try:
        asyncio.run(_run(options, home, group))
    finally:
        (home / "cluster.json").unlink(missing_ok=True)
        _remove_groups(group)


async def _run(options: dict[str, Any], home: Path, group: str) -> None:
    api = socket.create_server(("127.0.0.1", options["port"]))
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    folders = _make_groups(group)
    libc = ctypes.CDLL(None)

    def before() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for folder in folders:
            (folder / "cgroup.procs").write_text("0")

    here = Path(__file__).parent.parent / "__main__.py"
    command = ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", sys.executable, "-I", str(here), "node"]
    with (home / "node.txt").open("wb") as log:
        node = subprocess.Popen(
            [*command, str(home), str(theirs.fileno()), str(api.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=before,  # noqa: PLW1509 - no other thread runs yet
            pass_fds=(theirs.fileno(), api.fileno()),
            start_new_session=True,
        )
    theirs.close()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin.fileno(), stop.set)  # closed, as nothing is ever written to it
    try:
        report = asyncio.create_task(_report(mine, options["emulator"]))
        stopped = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(asyncio.to_thread(node.wait))
        await asyncio.wait((report, stopped), return_when=asyncio.FIRST_COMPLETED)
        if report.done():
            answer = report.result()
            if "ready" in answer:
                answer = {"ready": _describe(home, api)}
                process.write(home / "cluster.json", answer["ready"])
            print(json.dumps(answer), flush=True)
            if "ready" in answer:
                await asyncio.wait((stopped, ended), return_when=asyncio.FIRST_COMPLETED)
    finally:
        with contextlib.suppress(ProcessLookupError):
            node.kill()
        node.wait()


def _describe(home: Path, api: socket.socket) -> dict[str, object]:
    keys = home / "files" / "keys"
    return {
        "endpoint": f"https://127.0.0.1:{api.getsockname()[1]}",
        "authority": base64.b64encode((keys / "ca.crt").read_bytes()).decode(),
        "token": (keys / "admin.token").read_text(),
        "pid": os.getpid(),
    }


async def _report(channel: socket.socket, emulator: int) -> dict[str, Any]:
    """Serve the listener that the node sends; return what it reports."""
    channel.settimeout(None)
    _, handles, _, _ = await asyncio.to_thread(socket.recv_fds, channel, 1, 1)
    if handles:
        await forward.serve(socket.socket(fileno=handles[0]), "127.0.0.1", emulator)
    line = await asyncio.to_thread(channel.makefile().readline)
    found: dict[str, Any] = json.loads(line or '{"failed": "the node ended"}')
    return found


def _groups(group: str) -> list[Path]:
    hierarchies = mounts.cgroup_hierarchies()
    return [mounts.CGROUPS / name / group for name in hierarchies] or [mounts.CGROUPS / group]


def _make_groups(group: str) -> list[Path]:
    folders = _groups(group)
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if folder.parent.name == "cpuset":  # empty at first, and then no process may join
                (folder / name).write_text((folder.parent / name).read_text())
    return folders


def _remove_groups(group: str) -> None:
    """Remove the control groups that a run has left, once the kernel has ended the last process in them."""
    end = time.monotonic() + 10
    for folder in _groups(group):
        while folder.exists() and time.monotonic() < end:
            for path, _, _ in os.walk(folder, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
            if folder.exists():
                time.sleep(0.05)
