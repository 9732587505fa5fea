"""The server's process: started, recorded in ``process.json``, recognized later, ended."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from embedded_aws.errors import NotStarted, PortTaken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "ACCOUNT",
    "Record",
    "alive",
    "clear",
    "code",
    "end",
    "endpoint",
    "last_kubernetes",
    "lost_engine",
    "start",
    "wait_until_ready",
    "write",
]

ACCOUNT = "123456789012"
READY_SECONDS = 180  # the start of its cluster, which is 10 s on two idle cores, included
STOP_SECONDS = 20


class Record(TypedDict):
    """A process that was started.

    ``began`` is its start in the kernel's ticks, by which another process that later gets the same number is recognized;
    ``at`` is in seconds since 1970; ``code`` changes when what it runs is replaced; ``kubernetes`` is what clusters are started
    with, and ``engine`` is ``DOCKER_HOST``: where the container engine answers.
    """

    pid: int
    began: str
    port: int
    at: float
    code: str
    kubernetes: str
    engine: str


def start(home: Path, python: Path, find_python: Sequence[str], port: int, kubernetes: str = "") -> Record:
    """Start the server with the interpreter ``python``; it does not answer yet.

    Raises:
        PortTaken: another program listens on ``port``.
    """
    if port and not _free(port):
        raise PortTaken(f"port {port} is taken")
    port = port or _last_port(home)
    clear(home / "tmp")
    (home / "tmp").mkdir(parents=True)
    (home / "ready").unlink(missing_ok=True)
    # Explicit and small: the server takes nothing from the developer's shell but where programs are found.
    engine = os.environ.get("DOCKER_HOST", "")
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", str(home)),
        "TMPDIR": str(home / "tmp"),
        "LANG": "C.UTF-8",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "DOCKER_HOST": f"unix://{home}/none",  # ministack would end other programs' containers that have its name
        "EMBEDDED_DOCKER_HOST": engine,  # for functions from images
        "EMBEDDED_FIND_PYTHON": json.dumps(list(find_python)),
        "EMBEDDED_HOME": str(home),
        "EMBEDDED_KUBERNETES": kubernetes,
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "LAMBDA_WARM_TTL_SECONDS": "60",
    }
    server = Path(__file__).parent / "__main__.py"
    process = None
    try:
        with (home / "log.txt").open("ab") as log, _held():
            process = subprocess.Popen(
                [str(python), "-I", str(server)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=home,
                start_new_session=True,  # Ctrl-C is for the command that starts it, not for the server
            )
        record = Record(
            pid=process.pid,
            began=_began(process.pid),
            port=port,
            at=time.time(),
            code=code(),
            kubernetes=kubernetes,
            engine=engine,
        )
        write(home / "process.json", record)
    except BaseException:  # Ctrl-C before another command could find and end it
        if process:
            process.kill()
        raise
    return record


@contextmanager
def _held() -> Iterator[None]:
    """Hold a cancel back until the block has ended: before ``Popen`` has returned, the process that it started can't be ended."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    came: list[int] = []
    cancels = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.signal(number, lambda number, _: came.append(number)) for number in cancels}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def wait_until_ready(home: Path, record: Record) -> None:
    """Wait until the server answers, which it reports by writing its own process number into ``ready``.

    Raises:
        NotStarted: it ended, or did not answer within ``READY_SECONDS``.
    """
    for _ in _pauses(READY_SECONDS):
        with suppress(FileNotFoundError):
            if (home / "ready").read_text() == str(record["pid"]):
                return
        if not _runs(record):
            break
    log = home / "log.txt"
    tail = "\n  ".join(log.read_text(errors="replace").splitlines()[-5:])
    raise NotStarted(f"the embedded AWS did not start:\n  {tail}", log)


def end(record: Record) -> None:
    """Have the server save its state and exit (SIGTERM); one that does not is killed, with the processes it started."""
    with suppress(ProcessLookupError):
        os.kill(record["pid"], signal.SIGTERM)
        for _ in _pauses(STOP_SECONDS):
            if not _runs(record):
                return
        os.killpg(record["pid"], signal.SIGKILL)


def alive(home: Path) -> Record | None:
    """The record of the server that runs; None if there is none, even if another process has its number now."""
    try:
        record: Record = json.loads((home / "process.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if _runs(record) else None


def code() -> str:
    """A digest that changes when a file of this package is replaced, as an upgrade does: by path, number, size and time."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        found = path.stat()
        digest.update(f"{path} {found.st_ino} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def endpoint(record: Record) -> str:
    """Where the server answers, such as ``http://127.0.0.1:4566``."""
    return f"http://127.0.0.1:{record['port']}"


def clear(folder: Path) -> None:
    """Remove ``folder``; the unpacked functions in it are read-only, which would stop every user but root."""
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def write(path: Path, document: Mapping[str, object]) -> None:
    """Replace ``path`` by ``document`` as JSON, atomically; only the owner can read it."""
    temporary = path.with_suffix(".tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(document, out)
    temporary.replace(path)


def _runs(record: Record) -> bool:
    return bool(record["began"]) and _began(record["pid"]) == record["began"]


def _began(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty when there is none, or when it has ended (a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def lost_engine(record: Record) -> bool:
    """Whether the socket of its container engine is gone, and this process has another engine."""
    host = record.get("engine", "")
    gone = host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists()
    return gone and host != os.environ.get("DOCKER_HOST", "")


def last_kubernetes(home: Path) -> str:
    """What clusters were started with by the last server; empty if it had none."""
    try:
        return str(json.loads((home / "process.json").read_text()).get("kubernetes", ""))
    except (FileNotFoundError, ValueError):
        return ""


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
    """Pauses that grow from 10 ms to 50 ms, until ``seconds`` have passed; the first turn comes without a pause."""
    end, pause = time.monotonic() + seconds, 0.01
    while time.monotonic() < end:
        yield
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
