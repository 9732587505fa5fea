"""The embedded AWS: started on loopback when it is needed, found again by the next command, ended on request.

Everything of it lies under ``.src/ml_delivery/cloud``: ``process.json`` (what was started), ``ready`` (the number of the process
that answers), ``credentials.json``, ``log.txt``, the state.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_delivery.dependencies import envs
from ml_delivery.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Running", "Status", "down", "offer", "reset", "status", "up"]

ACCOUNT = "123456789012"
READY_SECONDS = 60
STOP_SECONDS = 20


@dataclass(frozen=True)
class Running:
    """An embedded AWS that answers; ``notice`` says what it lost, if it did."""

    endpoint: str
    pid: int
    account: str
    access_key: str
    secret_key: str = field(repr=False)
    notice: str = ""


@dataclass(frozen=True)
class Status:
    """Whether it runs; ``since`` is seconds since 1970; ``notice`` tells of an end without saving."""

    running: bool
    endpoint: str
    pid: int
    since: float
    notice: str

    def __str__(self) -> str:
        if not self.running:
            return f"the embedded AWS does not run{'; ' + self.notice if self.notice else ''}"
        return f"the embedded AWS answers at {self.endpoint} (pid {self.pid})"


def up(root: Path, port: int = 0) -> Running:
    """Start it, unless it runs already.

    Args:
        root: the service's folder.
        port: on loopback; 0 means the last one if it is free, else any free one.

    Raises:
        SetupError: the port is taken, or the server did not start; its own last words are in the message.
    """
    home = _home(root)
    with envs.exclusive(home / "start.lock"):
        if record := _alive(home):
            if port and record["port"] != port:
                raise SetupError(f"the embedded AWS runs on port {record['port']}", next="invoke cloud.down")
            _await(home, record)  # whoever started it may have been killed while waiting
            return _running(home, record)
        python = envs.ensure(root, "cloud", Path(__file__).parent / "requirements.txt", Path(sys.executable))
        notice = _lost(home)
        record = _start(home, python, port)
        try:
            _await(home, record)
        except BaseException:
            _end(record)
            if not notice:  # nobody has done anything with it
                (home / "unsaved").unlink(missing_ok=True)
            raise
        return _running(home, record, notice)


def down(root: Path) -> bool:
    """End it, saving its state; whether it ran."""
    home = _home(root)
    with envs.exclusive(home / "start.lock"):
        record = _alive(home)
        if record is None:
            return False
        _end(record)
        _clear(home / "tmp")
        return True


def offer(root: Path, project: str, url: str, variables: dict[str, str]) -> None:
    """Let the embedded CodeBuild clone from ``root`` when ``project``'s source is ``url``, with these ``variables`` set.

    The file is this user's own, as what it may hold (an index's address with a password in it) is.
    """
    file = _home(root) / "sources.json"
    with envs.exclusive(file.with_suffix(".lock")):
        offered = json.loads(file.read_text()) if file.exists() else {}
        offered[project] = {"url": url, "checkout": str(root.resolve()), "variables": variables}
        _write(file, offered)


def status(root: Path) -> Status:
    """What runs, if anything; starts nothing."""
    home = _home(root)
    if record := _alive(home):
        return Status(True, _endpoint(record), record["pid"], record["at"], "")
    return Status(False, "", 0, 0.0, _lost(home))


def reset(root: Path) -> None:
    """End it, and forget all that it holds."""
    home = _home(root)
    with envs.exclusive(home / "start.lock"):
        if record := _alive(home):
            _end(record)
        for name in ("state", "s3", "registry", "codebuild", "tmp"):
            _clear(home / name)
        for name in ("credentials.json", "process.json", "ready", "unsaved"):
            (home / name).unlink(missing_ok=True)


def _start(home: Path, python: Path, port: int) -> dict[str, Any]:
    if port and not _free(port):
        raise SetupError(f"port {port} is taken", next="invoke cloud.up --port with another one, or without")
    port = port or _last_port(home)
    _clear(home / "tmp")
    (home / "tmp").mkdir(parents=True)
    (home / "ready").unlink(missing_ok=True)
    # Explicit and small: the server takes nothing from the developer's shell but where interpreters are found.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", str(home)),
        "TMPDIR": str(home / "tmp"),
        "LANG": "C.UTF-8",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "DOCKER_HOST": f"unix://{home}/none",  # ministack would end containers of others that bear its name
        "EMBEDDED_DOCKER_HOST": os.environ.get("DOCKER_HOST", ""),  # for images of functions, which are the project's
        "EMBEDDED_HOME": str(home),
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "LAMBDA_WARM_TTL_SECONDS": "60",
    }
    launcher = Path(__file__).parent / "__main__.py"
    with (home / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [str(python), "-I", str(launcher)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=home,
            start_new_session=True,  # the caller's Ctrl-C is not meant for it
        )
    try:
        record: dict[str, Any] = {"pid": process.pid, "began": _began(process.pid), "port": port, "at": time.time()}
        _write(home / "process.json", record)
    except BaseException:  # Ctrl-C before anybody else could find and end it
        process.kill()
        raise
    return record


def _await(home: Path, record: dict[str, Any]) -> None:
    """Wait until the server answers, which its launcher says by writing its own number."""
    for _ in _pauses(READY_SECONDS):
        with suppress(FileNotFoundError):
            if (home / "ready").read_text() == str(record["pid"]):
                return
        if not _runs(record):
            break
    tail = "\n  ".join((home / "log.txt").read_text(errors="replace").splitlines()[-5:])
    raise SetupError(f"the embedded AWS did not start:\n  {tail}", next=f"read {home / 'log.txt'}")


def _end(record: dict[str, Any]) -> None:
    """SIGTERM saves; a server that ignores it is killed, with what it runs."""
    with suppress(ProcessLookupError):
        os.kill(record["pid"], signal.SIGTERM)
        for _ in _pauses(STOP_SECONDS):
            if not _runs(record):
                return
        os.killpg(record["pid"], signal.SIGKILL)


def _clear(folder: Path) -> None:
    """Remove ``folder``; the packages of functions in it are read-only, which stops all but root from removing them."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _alive(home: Path) -> dict[str, Any] | None:
    """The record of the server that runs; a process that merely has its old number is not it."""
    try:
        record: dict[str, Any] = json.loads((home / "process.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if _runs(record) else None


def _runs(record: dict[str, Any]) -> bool:
    return bool(record["began"]) and _began(record["pid"]) == record["began"]


def _began(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty when there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _lost(home: Path) -> str:
    """What an end without saving means; empty after a clean one. The launcher keeps ``unsaved`` while it runs."""
    mark = home / "unsaved"
    if not mark.exists():
        return ""
    saved = time.strftime("%H:%M:%S", time.localtime(mark.stat().st_mtime))
    return f"the embedded AWS ended without a word; what was done after {saved} may be lost"


def _running(home: Path, record: dict[str, Any], notice: str = "") -> Running:
    keys = json.loads((home / "credentials.json").read_text())
    return Running(_endpoint(record), record["pid"], ACCOUNT, keys["access_key"], keys["secret_key"], notice)


def _last_port(home: Path) -> int:
    try:
        port = int(json.loads((home / "process.json").read_text())["port"])
    except (FileNotFoundError, ValueError, KeyError):
        port = 0
    if port and _free(port):
        return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _pauses(seconds: float) -> Iterator[None]:
    """Short growing pauses, 10 ms to 50 ms, for ``seconds`` in all; the first turn is at once."""
    end, pause = time.monotonic() + seconds, 0.01
    while time.monotonic() < end:
        yield
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def _endpoint(record: dict[str, Any]) -> str:
    return f"http://127.0.0.1:{record['port']}"


def _home(root: Path) -> Path:
    home = root / ".pipeline" / "cloud"
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # its state holds keys, and who has those runs code as its owner
    return home.resolve()


def _write(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(document, out)
    temporary.replace(path)
