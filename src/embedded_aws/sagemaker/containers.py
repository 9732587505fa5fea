"""One container of a job or an endpoint, run as SageMaker runs it: the image's own program, with folders mounted into it.

With docker or podman where one answers; where neither does, root runs the image's files in namespaces of its own, with
changes to them in a layer of its own. What SageMaker promises a container:
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
Not as there: the containers of a job share this machine's network, and no GPU, memory or disk limit is set.
"""

from __future__ import annotations

import contextvars
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from embedded_aws.aws_lambda.execution import Fault
from embedded_aws.aws_lambda.image_files import Image, unpacked
from embedded_aws.engine import client, engine, outside
from embedded_aws.sagemaker.network import Network

START_SECONDS = 20.0  # that it takes at most to set up a container
PORT = 8080  # what a serving container listens on
# Run by root in new mount and process namespaces: LOWER CHANGES ROOT FOLDER WORDS... with mounts as SOURCE=TARGET lines.
ENTER = """
set -e
PATH=/usr/sbin:/usr/bin:/sbin:/bin
lower=$1 changes=$2 root=$3 folder=$4 mounts=$5; shift 5
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$changes/upper,workdir=$changes/work" "$root"
mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root/etc" "$root$folder"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while IFS='=' read -r source target; do
  if [ -d "$source" ]; then mkdir -p "$root$target"; else
    mkdir -p "$root${target%/*}"
    [ -e "$root$target" ] || : > "$root$target"
  fi
  mount --bind "$source" "$root$target"
done < "$mounts"
PATH=$CONTAINER_PATH
unset CONTAINER_PATH
exec /usr/bin/unshare --root="$root" --wd="$folder" "$@"
"""
# Run beside an engine, whose containers outlive what started them: ENGINE NAME WORDS... runs the words, and removes the container
# when the server ends, however it ends: that closes the pipe which is standard input here.
WATCH = """
engine=$1 name=$2; shift 2
exec 3<&0
"$@" < /dev/null 3<&- &
runs=$!
{ read -r _ <&3; "$engine" rm --force "$name"; } > /dev/null 2>&1 &
watches=$!
wait "$runs"
code=$?
kill "$watches" 2> /dev/null
exit "$code"
"""


class NotRunnable(Exception):
    """This machine can't run the image; the message says why."""


@dataclass(frozen=True)
class Run:
    """What to run: ``mounts`` are folders and files by where they appear; ``scratch`` is a folder of the run's own."""

    image: Image
    words: list[str]
    variables: Mapping[str, str]
    mounts: Mapping[str, Path]
    scratch: Path
    roots: Path = field(repr=False)
    serves: bool = False


class Container:
    """A container that was started; its output goes line by line to ``write``."""

    def __init__(self, run: Run, write: Callable[[str], None]) -> None:
        self._run, self._write = run, write
        self._name = f"sagemaker-{secrets.token_hex(8)}"
        self._engine = engine()
        self._network: Network | None = None
        self._address = 0
        if self._engine:
            self._process = self._start_engine()
        elif os.geteuid() != 0:
            raise NotRunnable("neither docker nor podman answers, and only root runs an image without them")
        elif run.serves:
            self._network = Network()
            self._process = self._network.run(self._start)
        else:
            self._process = self._start()
        self._reader = threading.Thread(target=contextvars.copy_context().run, args=(self._read,), daemon=True)
        self._reader.start()

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit code, 128 and the signal's number if one ended it; None when it still runs after ``seconds``."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(5)
        return code if code >= 0 else 128 - code

    def stop(self, seconds: float) -> int:
        """Send SIGTERM, and SIGKILL ``seconds`` later if it still runs; returns its exit code."""
        self._signal(signal.SIGTERM)
        code = self.wait(seconds)
        if code is None:
            self._signal(signal.SIGKILL)
            code = self.wait(20)
        if self._network:
            self._network.close()
        if code is None:
            self._process.kill()
            code = self.wait() or 137
        with suppress(OSError):
            self._discard()
        return code

    def connect(self, seconds: float) -> socket.socket:
        """A connection to the port that it serves on.

        Raises:
            OSError: it doesn't listen.
        """
        if self._network:
            made = self._network.run(socket.socket)
            made.settimeout(seconds)
            made.connect(("127.0.0.1", PORT))
            return made
        if not self._address:
            answer = client(self._engine, "port", self._name, str(PORT)).stdout.decode().split()
            if not answer:
                raise ConnectionRefusedError("the container isn't started yet")
            self._address = int(answer[0].rpartition(":")[2])
        return socket.create_connection(("127.0.0.1", self._address), seconds)

    # -- without an engine

    def _start(self) -> subprocess.Popen[str]:
        run, scratch = self._run, self._run.scratch
        try:
            lower = unpacked(run.image, run.roots)
        except Fault as fault:
            raise NotRunnable(str(fault)) from fault
        for name in ("upper", "work", "root"):
            shutil.rmtree(scratch / name, ignore_errors=True)
            (scratch / name).mkdir(parents=True)
        (scratch / "upper").chmod(0o755)
        resolver = {path: Path(path) for path in ("/etc/resolv.conf", "/etc/hosts") if Path(path).exists()}
        mounts = {**resolver, **run.mounts}
        (scratch / "mounts").write_text("".join(f"{source}={target}\n" for target, source in mounts.items()))
        config = run.image.settings["config"]
        # The thread that starts it lives as long as it does: with that thread the kernel ends the whole container.
        words = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "/usr/bin/unshare", "--mount", "--pid", "--fork"]
        words += ["--kill-child", "/bin/sh", "-c", ENTER, "enter", str(lower), str(scratch), str(scratch / "root")]
        words += [config.get("WorkingDir") or "/", str(scratch / "mounts"), *_user(config.get("User", ""), lower), "--"]
        variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **run.variables}
        variables["CONTAINER_PATH"] = variables["PATH"]
        return self._popen([*words, *run.words], variables)

    # -- with an engine

    def _start_engine(self) -> subprocess.Popen[str]:
        run, number = self._run, self._run.image.config_digest.partition(":")[2]
        if client(self._engine, "image", "inspect", number).returncode != 0:
            loaded = client(self._engine, "load", input=run.image.archive())
            if loaded.returncode != 0:
                raise NotRunnable(loaded.stderr.decode("utf-8", "replace").strip())
        words = ["/bin/sh", "-c", WATCH, "watch", self._engine, self._name]
        words += [self._engine, "run", "--rm", "--name", self._name, "--entrypoint", run.words[0]]
        words += ["--publish", f"127.0.0.1::{PORT}"] if run.serves else ["--network", "host"]
        for target, source in run.mounts.items():
            words += ["--volume", f"{source}:{target}"]
        # By name only: the client takes the values from its own environment, so that none is visible on a command line.
        words += [word for name in run.variables if name != "PATH" for word in ("--env", name)]
        return self._popen([*words, number, *run.words[1:]], {**run.variables, **outside()})

    # -- both

    def _popen(self, words: list[str], variables: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE if self._engine else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=dict(variables),
        )

    def _signal(self, number: signal.Signals) -> None:
        """Signal the container's first process; without an engine that is the child of the process that was started."""
        if self._engine:
            client(self._engine, "kill", "--signal", number.name, self._name)
            return
        end = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            if program := self._program():
                with suppress(OSError):
                    os.kill(program, number)
                return
            time.sleep(0.02)  # it is being set up; what is signalled then would be lost

    def _program(self) -> int:
        """The number of the container's first process, once it runs the image's program; else 0."""
        started, root = self._process.pid, str((self._run.scratch / "root").resolve())
        with suppress(OSError, IndexError):
            child = Path(f"/proc/{started}/task/{started}/children").read_text().split()[0]
            return int(child) if os.readlink(f"/proc/{child}/root") == root else 0
        return 0

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._write(line.rstrip("\n"))

    def _discard(self) -> None:
        for name in ("upper", "work", "root"):
            shutil.rmtree(self._run.scratch / name, ignore_errors=True)


def _user(name: str, root: Path) -> list[str]:
    """The options that make it run as the image's user, which may be a name that the image knows."""
    if not name:
        return []
    user, _, group = name.partition(":")
    own = user if user.isdigit() else ""
    with suppress(OSError):
        for line in (root / "etc/passwd").read_text().splitlines():
            fields = line.split(":")
            if user in (fields[0], fields[2]):
                own, group = fields[2], group if group.isdigit() else fields[3]
    if not own:
        raise NotRunnable(f"the image has no user {user!r}")
    return [f"--setgid={group or own}", f"--setuid={own}"]
