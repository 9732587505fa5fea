"""The emulator: how it starts, stops and is found again."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from emulated import client, code_of, environment_of
from tiny import ROOT

from embedded_aws import control, process
from ml_delivery import emulator
from ml_delivery.dependencies import envs
from ml_delivery.errors import SetupError
from ml_delivery.waiting import wait


def test_starts_once_and_ends(alone: Path) -> None:
    """Starting twice gives one server; it is found again; it stops, and stopping twice is no error."""
    first = emulator.up(alone)
    assert emulator.up(alone) == first
    assert emulator.status(alone).endpoint == first.endpoint
    assert emulator.down(alone)
    assert not emulator.down(alone)
    assert not emulator.status(alone).running
    assert not Path(f"/proc/{first.pid}").exists() or "Z" in Path(f"/proc/{first.pid}/stat").read_text()


def test_two_starts_at_once_share_one_server(alone: Path) -> None:
    """Two commands that need it at the same moment get the same server."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pids = {found.pid for found in pool.map(lambda _: emulator.up(alone), range(4))}
    assert len(pids) == 1


def test_two_projects_do_not_collide(alone: Path, running: emulator.Running) -> None:
    """Each project has its own server, port and keys; the key of one is unknown to the other."""
    other = emulator.up(alone)
    assert (other.endpoint, other.access_key) != (running.endpoint, running.access_key)
    stranger = client(other, "s3", running.access_key, running.secret_key)
    assert code_of(stranger.list_buckets) in (
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
    )


def test_taken_port_is_refused_and_named(alone: Path) -> None:
    """A requested port that is taken is a clear error; without a request, another one is found."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=f"port {port} is taken") as fault:
            emulator.up(alone, port=port)
        assert fault.value.next.startswith("invoke cloud.up")
        assert emulator.up(alone).endpoint != f"http://127.0.0.1:{port}"


def test_listens_on_loopback_only(running: emulator.Running) -> None:
    """No socket of the server is reachable from another machine."""
    inodes = set()
    for link in Path(f"/proc/{running.pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                listening.append(words[1].split(":")[0])
    assert listening == ["0100007F"]


def test_credentials_are_private(alone: Path) -> None:
    """Only the owner may read the keys."""
    emulator.up(alone)
    mode = (alone / ".pipeline/cloud/credentials.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_reused_process_number_is_not_taken_for_it(alone: Path) -> None:
    """A record whose process number now belongs to something else means that nothing runs."""
    emulator.up(alone)
    emulator.down(alone)
    record = alone / ".pipeline/cloud/process.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "pid": os.getpid()}))
    assert not emulator.status(alone).running


def test_server_that_does_not_start_says_why(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server ends at once, the last lines of its log are in the error."""
    monkeypatch.setattr(envs, "shared", lambda *words: Path("/bin/false"))
    with pytest.raises(SetupError, match="the embedded AWS did not start") as fault:
        emulator.up(alone)
    assert fault.value.next == f"read {(alone / '.pipeline/cloud').resolve() / 'log.txt'}"


def test_start_whose_starter_was_killed_is_found(alone: Path) -> None:
    """A server that was started and not yet waited for is the one that the next command uses."""
    home = alone / ".pipeline/cloud"
    home.mkdir()
    python = envs.shared(alone, "cloud", control.REQUIREMENTS, Path(sys.executable))
    record = process.start(home.resolve(), python, [], 0)
    running = emulator.up(alone)
    assert running.pid == record["pid"]
    assert client(running, "sts").get_caller_identity()["Account"] == "123456789012"


def test_server_of_a_removed_folder_ends(alone: Path) -> None:
    """When its folder is gone no command can find the server, so it ends, and does not bring the folder back."""
    running = emulator.up(alone)
    home = alone / ".pipeline/cloud"
    shutil.rmtree(home)
    wait(lambda: None if process._began(running.pid) else True, what="the end")
    assert not home.exists()


def test_ordinary_users_can_clear_packages(tmp_path: Path) -> None:
    """The read-only packages of functions go away for users who are not root, too."""
    inner = tmp_path / "packages/digest/service"
    inner.mkdir(parents=True)
    (inner / "main.py").touch(0o444)
    for folder in (inner, inner.parent):
        folder.chmod(0o555)
    for folder in (tmp_path, *tmp_path.rglob("*")):
        os.chown(folder, 65534, 65534) if os.getuid() == 0 else None
    for parent in tmp_path.parents[: len(tmp_path.relative_to(tempfile.gettempdir()).parts) - 1]:
        parent.chmod(0o755)  # pytest made them for their owner only
    child = os.fork()
    if child == 0:
        left = True
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            process.clear(tmp_path / "packages")
            left = (tmp_path / "packages").exists()
        finally:  # whatever came, this process is not to go on with the tests
            os._exit(left)
    assert os.waitpid(child, 0)[1] == 0


def test_port_is_kept(alone: Path) -> None:
    """The next start answers where the last one did."""
    first = emulator.up(alone).endpoint
    emulator.down(alone)
    assert emulator.up(alone).endpoint == first


STARTER = """
import sys, time; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from ml_delivery import emulator
print("starting", flush=True)
emulator.up(Path(sys.argv[2]))
print("started", flush=True)
time.sleep(60)
"""


def _starter(root: Path) -> subprocess.Popen[str]:
    """A command, in a process group of its own, that starts the embedded AWS and stays."""
    command = [sys.executable, "-c", STARTER, str(ROOT / "src"), str(root)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **streams, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    return process


def test_ctrl_c_during_the_start_leaves_nothing_running(alone: Path) -> None:
    """An interrupted start ends the server that it has begun to start, and nothing is reported as lost."""
    process = _starter(alone)
    home = str((alone / ".pipeline").resolve())

    def servers() -> list[str]:
        return [
            p.name
            for p in Path("/proc").iterdir()
            if p.name.isdigit() and home.encode() in environment_of(p) and int(p.name) != process.pid
        ]

    wait(lambda: servers() or None, what="the server")
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert servers() == []
    assert str(emulator.status(alone)) == "the embedded AWS does not run"


def test_ctrl_c_while_the_process_is_made_ends_it(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel that comes before ``Popen`` has returned its process is held until it has, so that the process can be ended."""
    made: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def interrupted(*words: Any, **options: Any) -> Any:
        made.append(real(*words, **options))
        signal.raise_signal(signal.SIGINT)
        return made[0]

    monkeypatch.setattr(process, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": interrupted}))
    with pytest.raises(KeyboardInterrupt):
        emulator.up(alone)
    assert made[0].wait(30) == -signal.SIGKILL
    assert str(emulator.status(alone)) == "the embedded AWS does not run"


def test_ctrl_c_after_the_start_is_not_meant_for_the_server(alone: Path) -> None:
    """What interrupts the command and all that it runs leaves the embedded AWS running."""
    process = _starter(alone)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    os.killpg(process.pid, signal.SIGINT)
    process.wait(30)
    assert client(emulator.up(alone), "sts").get_caller_identity()["Account"] == "123456789012"
    assert emulator.status(alone).notice == ""
