"""Starts the emulator when it is needed, finds it again, and stops it.

Everything that it keeps is in one folder, ``home``, which only its owner can read: ``process.json`` (which process was
started), ``ready`` (the process number of the server that answers), ``credentials.json``, ``sources.json``, ``log.txt``, the
state.
"""

from __future__ import annotations

import fcntl
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from embedded_aws import disk, process
from embedded_aws.errors import OtherPort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["REQUIREMENTS", "Running", "Status", "down", "offer", "reset", "status", "up"]

REQUIREMENTS = Path(__file__).parent / "requirements.txt"  # what the server's environment holds, with hashes


@dataclass(frozen=True)
class Running:
    """An emulator that answers; ``notice`` says which changes may be lost, and is empty after a clean stop."""

    endpoint: str
    pid: int
    account: str
    access_key: str
    secret_key: str = field(repr=False)
    notice: str = ""


@dataclass(frozen=True)
class Status:
    """Whether it runs; ``since`` is in seconds since 1970; ``notice`` says which changes may be lost."""

    running: bool
    endpoint: str
    pid: int
    since: float
    notice: str

    def __str__(self) -> str:
        if not self.running:
            return f"the embedded AWS does not run{'; ' + self.notice if self.notice else ''}"
        return f"the embedded AWS answers at {self.endpoint} (pid {self.pid})"


def up(
    home: Path, *, environment: Callable[[], Path], find_python: Sequence[str], port: int = 0, cluster: str = ""
) -> Running:
    """Start it, unless it runs already.

    Args:
        home: its folder, which is made if it is missing.
        environment: makes an environment from ``REQUIREMENTS``, and returns its interpreter; called only for a start.
        find_python: a command that, given a version such as "3.12", prints the path of an interpreter for functions; it
            exits with another code than 0, and the reason on standard error, when there is none.
        port: on loopback; 0 means the last one if it is free, else any free one.
        cluster: what EKS's clusters are started with, as ``kubernetes.machine.choose`` takes it; empty means what it was last time.
            An emulator that runs with something else is started again, and so is one whose container engine is gone.

    Raises:
        OtherPort: it runs on another port than ``port``.
        PortTaken: another program listens on ``port``.
        Unreadable: a file of the state that it keeps can't be read.
        NotStarted: the server failed to start; the last lines of its log are in the message.
    """
    home = _private(home)
    with _exclusive(home / "start.lock"):
        record = process.alive(home)
        kubernetes = cluster or process.last_kubernetes(home)
        # An upgrade replaced what it runs, and loads in part later; or another engine took the place of its own.
        other = record and (record.get("code"), record.get("kubernetes")) != (process.code(), kubernetes)
        if record and (other or process.lost_engine(record)):
            process.end(record)
            record = None
        if record:
            if port and record["port"] != port:
                raise OtherPort(f"the embedded AWS runs on port {record['port']}")
            process.wait_until_ready(home, record)  # the command that started it may have been killed meanwhile
            return _running(home, record)
        python = environment()
        notice = _lost(home)
        disk.check(home)
        disk.repair(home)
        record = process.start(home, python, find_python, port, kubernetes)
        try:
            process.wait_until_ready(home, record)
        except BaseException:
            process.end(record)
            if not notice:  # it has not been used, so nothing can be lost
                (home / "unsaved").unlink(missing_ok=True)
            raise
        return _running(home, record, notice)


def down(home: Path) -> bool:
    """Stop it, which saves its state; returns whether it was running."""
    home = _private(home)
    with _exclusive(home / "start.lock"):
        record = process.alive(home)
        if record is None:
            return False
        process.end(record)
        process.clear(home / "tmp")
        return True


def status(home: Path) -> Status:
    """What runs, if anything; starts nothing."""
    home = _private(home)
    if record := process.alive(home):
        return Status(True, process.endpoint(record), record["pid"], record["at"], "")
    return Status(False, "", 0, 0.0, _lost(home))


def reset(home: Path) -> None:
    """Stop it, and delete all that it holds."""
    from embedded_aws.kubernetes import k3s  # loads a lot, which the other functions do not need

    home = _private(home)
    with _exclusive(home / "start.lock"):
        if record := process.alive(home):
            process.end(record)
        k3s.remove(home / "kubernetes")
        for name in ("state", "s3", "registry", "codebuild", "kubernetes", "tmp"):
            process.clear(home / name)
        for name in ("credentials.json", "process.json", "ready", "unsaved"):
            (home / name).unlink(missing_ok=True)


def offer(
    home: Path, checkout: Path, project: str, url: str, variables: dict[str, str], *, endpoint_variable: str
) -> None:
    """Let CodeBuild clone from ``checkout`` when the source of ``project`` is ``url``.

    Its builds get these ``variables``, and the emulator's address in the variable that ``endpoint_variable`` names.

    Only the owner can read the file, as the variables may hold a password, such as that of a package index.
    """
    file = _private(home) / "sources.json"
    with _exclusive(file.with_suffix(".lock")):
        offered = json.loads(file.read_text()) if file.exists() else {}
        offered[project] = {
            "url": url,
            "checkout": str(checkout.resolve()),
            "variables": variables,
            "endpoint_variable": endpoint_variable,
        }
        process.write(file, offered)


def _private(home: Path) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # its state holds keys, and with those one can run code as its owner
    return home.resolve()


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; other processes on this machine wait. The kernel releases it when its holder ends."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _lost(home: Path) -> str:
    """Which changes may be lost; empty after a clean stop. The server keeps the file ``unsaved`` while it runs."""
    mark = home / "unsaved"
    if not mark.exists():
        return ""
    saved = time.strftime("%H:%M:%S", time.localtime(mark.stat().st_mtime))
    return f"the embedded AWS ended without saving; changes after {saved} may be lost"


def _running(home: Path, record: process.Record, notice: str = "") -> Running:
    keys = json.loads((home / "credentials.json").read_text())
    endpoint = process.endpoint(record)
    return Running(endpoint, record["pid"], process.ACCOUNT, keys["access_key"], keys["secret_key"], notice)
