"""The process that starts a cluster in namespaces of its own, passes its connections on, and ends with its parent.

``main`` is run as a process. Its only argument is the cluster's folder, whose ``options.json`` holds ``home``, that folder;
``hyperkube``, the program; ``port``, of the API; ``emulator``, the emulator's port; ``webhook``, the address that checks tokens;
``registries``, headers by a registry's host. It prints one line of JSON, ``{"ready": ...}`` or ``{"failed": ...}``, and ends on
SIGTERM, or when its standard input is closed, as the kernel does when the process that started it ends. Whatever ends it, even
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
    command = [
        "unshare",
        *NAMESPACES,
        "--fork",
        "--kill-child",
        "--mount-proc",
        sys.executable,
        "-I",
        str(here),
        "node",
    ]
    with (home / "node.txt").open("wb") as log:
        node = subprocess.Popen(
            [*command, str(home), str(theirs.fileno()), str(api.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=before,
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
        reported: asyncio.Future[dict[str, Any]] = loop.create_future()
        talk = asyncio.create_task(asyncio.to_thread(_talk, mine, home, options["emulator"], loop, reported))
        await asyncio.wait((reported, asyncio.create_task(stop.wait())), return_when=asyncio.FIRST_COMPLETED)
        if reported.done():
            answer = reported.result()
            if "ready" in answer:
                answer = {"ready": _describe(home, api)}
                process.write(home / "cluster.json", answer["ready"])
            print(json.dumps(answer), flush=True)
            if "ready" in answer:
                await asyncio.wait((asyncio.create_task(stop.wait()), talk), return_when=asyncio.FIRST_COMPLETED)
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


def _talk(
    channel: socket.socket,
    home: Path,
    emulator: int,
    loop: asyncio.AbstractEventLoop,
    reported: asyncio.Future[dict[str, Any]],
) -> None:
    """Serve what the node asks for, until it ends; what it reports first is the result of ``reported``."""
    _, handles, _, _ = socket.recv_fds(channel, 1, 1)
    if handles:
        inner = socket.socket(fileno=handles[0])
        asyncio.run_coroutine_threadsafe(forward.serve(inner, "127.0.0.1", emulator), loop).result()
    for line in channel.makefile():
        message = json.loads(line)
        if name := message.get("listen"):
            with _listener(home / "ports.json", name) as listener:
                socket.send_fds(channel, [str(listener.getsockname()[1]).encode()], [listener.fileno()])
        elif not reported.done():
            loop.call_soon_threadsafe(reported.set_result, message)
    if not reported.done():
        loop.call_soon_threadsafe(reported.set_result, {"failed": "the node ended"})


def _listener(kept: Path, name: str) -> socket.socket:
    """A listener of the port that ``name`` had last if it is free, else of any."""
    ports = json.loads(kept.read_text()) if kept.exists() else {}
    try:
        listener = socket.create_server(("127.0.0.1", ports.get(name, 0)))
    except OSError:
        listener = socket.create_server(("127.0.0.1", 0))
    process.write(kept, {**ports, name: listener.getsockname()[1]})
    return listener


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
