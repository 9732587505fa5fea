"""The container engine of this machine, with the developer's settings for it."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from typing import Any


def engine() -> str:
    """``docker`` or ``podman``, whichever answers first; empty when neither does.

    One that has answered is not asked again; where none has, each call looks anew, as it may have been started since.
    """
    if not (found := _answering()):
        forget()
    return found


def forget() -> None:
    """Look for it anew: what has answered may have ended."""
    _answering.cache_clear()


@functools.cache
def _answering() -> str:
    for program in ("docker", "podman"):
        words = ("version", "--format", "{{.Server.Version}}") if program == "docker" else ("info",)
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            if client(program, *words, timeout=10).returncode == 0:
                return program
    return ""


def client(program: str, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the engine's client, with the developer's settings for it."""
    return subprocess.run([program, *words], env=outside(), capture_output=True, check=False, **options)


def outside() -> dict[str, str]:
    """The environment of the engine's client: that of this process, or in the server, the part of it that was passed on."""
    host = os.environ.get("EMBEDDED_DOCKER_HOST", os.environ.get("DOCKER_HOST"))
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, **({"DOCKER_HOST": host} if host else {})}
