"""One shell that runs a build's commands one after the other, so that a ``cd`` or ``export`` affects later commands."""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path


class Shell:
    """A shell in a process group of its own; each output line is passed to ``write``."""

    def __init__(
        self, program: str, folder: Path, environment: dict[str, str], write: Callable[[str], None], scratch: Path
    ) -> None:
        self._write, self._scratch = write, scratch
        self._mark = secrets.token_hex(16)
        self._codes: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [program],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def run(self, command: str) -> int:
        """Run a command of one or more lines; returns its exit code, or the shell's if the command ends it."""
        file = self._scratch / "command.sh"
        file.write_text(command + "\n")
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f". '{file}' < /dev/null\nprintf '\\n%s %s\\n' {self._mark} $?\n")
            self._process.stdin.flush()
        code = self._codes.get()
        if code is None:  # the shell has ended; later calls must not wait
            self._codes.put(None)
            return self._process.wait()
        return code

    def variables(self, names: list[str]) -> dict[str, str]:
        """The current values of variables, without those that are not set."""
        file = self._scratch / "variables"
        prints = [f'[ -n "${{{name}+set}}" ] && printf "%s=%s\\0" {name} "${{{name}}}"' for name in names]
        self.run("\n".join(["{", *(f"{line} || true" for line in prints), ":", f"}} > '{file}'"]))
        found = [line.partition("=") for line in file.read_text().split("\0") if line]
        return {name: value for name, _, value in found}

    def kill(self) -> None:
        """End the shell and all processes that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        assert self._process.stdout is not None
        blank = False  # the mark follows an empty line that is not the command's output
        for line in self._process.stdout:
            text = line.rstrip("\n")
            if text.startswith(self._mark):
                self._codes.put(int(text.split()[1]))
                blank = False
                continue
            if blank:
                self._write("")
            blank = not text
            if text:
                self._write(text)
        self._codes.put(None)
