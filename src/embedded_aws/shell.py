"""One shell that runs a build's commands one after the other, so that a ``cd`` or an ``export`` holds for those after it."""

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
    """A shell in a process group of its own; each line that it prints goes to ``say``."""

    def __init__(
        self, program: str, folder: Path, environment: dict[str, str], say: Callable[[str], None], scratch: Path
    ) -> None:
        self._say, self._scratch = say, scratch
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
        """Run a command, of one line or more; its exit code. One that ends the shell ends with the shell's."""
        file = self._scratch / "command.sh"
        file.write_text(command + "\n")
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f". '{file}' < /dev/null\nprintf '\\n%s %s\\n' {self._mark} $?\n")
            self._process.stdin.flush()
        code = self._codes.get()
        if code is None:  # the shell has ended, and says so to whoever asks again
            self._codes.put(None)
            return self._process.wait()
        return code

    def variables(self, names: list[str]) -> dict[str, str]:
        """What variables hold now; those that are not set are left out."""
        file = self._scratch / "variables"
        prints = [f'[ -n "${{{name}+set}}" ] && printf "%s=%s\\0" {name} "${{{name}}}"' for name in names]
        self.run("\n".join(["{", *(f"{line} || true" for line in prints), ":", f"}} > '{file}'"]))
        found = [line.partition("=") for line in file.read_text().split("\0") if line]
        return {name: value for name, _, value in found}

    def kill(self) -> None:
        """End the shell and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        assert self._process.stdout is not None
        blank = False  # the mark comes after an empty line, which is not the command's
        for line in self._process.stdout:
            text = line.rstrip("\n")
            if text.startswith(self._mark):
                self._codes.put(int(text.split()[1]))
                blank = False
                continue
            if blank:
                self._say("")
            blank = not text
            if text:
                self._say(text)
        self._codes.put(None)
