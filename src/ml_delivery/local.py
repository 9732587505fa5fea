"""The service on this machine, from the working tree: its interpreter, with its packages, models and variables."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery import models, target
from ml_delivery.dependencies import envs, locks
from ml_delivery.errors import ConfigError, PipelineError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["Program", "Served", "program", "serve"]

SECONDS = 0.3  # between two looks at the files
GRACE = 5  # seconds in which the service may end by itself
WATCHED = ("src", models.LOCK, "pipeline.toml", locks.SERVE)


@dataclass(frozen=True)
class Program:
    """The service's interpreter, and the environment variables for what runs in it."""

    python: Path
    variables: dict[str, str]


@dataclass(frozen=True)
class Served:
    """What happened while the service was served: ``started`` or ``changed`` with a path, ``ended`` or ``wrong`` with a reason."""

    what: str
    name: str = ""


def program(config: Config, environment: Environment, more: Mapping[str, str]) -> Program:
    """The service's interpreter, with the variables that a release of ``environment`` would have, and ``more``.

    A secret is its reference, as on the target. The promoted models are checked; a service may have none.

    Raises:
        SetupError: the lockfile is missing, or the virtual environment can't be created.
        ModelError: ``model.lock`` is wrong, or a model is missing or altered.
    """
    lock = config.root / locks.SERVE
    if not lock.is_file():
        raise SetupError(f"there is no {locks.SERVE}, the lockfile of the service's packages", next="nox -s lock")
    models.promoted(config.root, required=bool(config.promote.command))
    python = envs.ensure(config.root, "serve", lock, envs.find_python(config.service.python))
    variables = {**os.environ, **environment.variables, **more, "PYTHONPATH": str(config.root / "src")}
    return Program(python, variables)


def serve(
    configured: Callable[[], tuple[Config, Environment, Mapping[str, str]]], port: int, report: Callable[[Served], None]
) -> None:
    """Serve the service on loopback, and start it anew when its files, models or settings change; until Ctrl-C.

    Args:
        configured: reads the configuration, the environment in it, and more variables; called at each start.
        port: 0 for any that is free.
        report: called with what happens.

    Raises:
        ConfigError: the target can't be served on this machine, or the port is in use.
    """
    config, environment, _ = configured()
    if not target.load(environment.target, config).serving(environment):
        raise ConfigError("pipeline.toml", [f"service.target: {environment.target} can't be served on this machine"])
    with _listening(port) as listening:
        report(Served("started", f"http://127.0.0.1:{listening.getsockname()[1]}/"))
        while True:
            seen = _state(config.root)
            try:
                process: subprocess.Popen[bytes] | None = _start(*configured(), listening)
            except PipelineError as error:  # the next change may correct it
                process = None
                report(Served("wrong", str(error)))
            try:
                while not (changed := _changed(seen, _state(config.root))) and (not process or process.poll() is None):
                    time.sleep(SECONDS)
            finally:
                code = _stop(process) if process else 0
            if changed:
                report(Served("changed", changed))
            else:
                report(Served("ended", f"exit code {code}"))
                time.sleep(SECONDS)  # a service that ends at once is not started in a loop without a pause


def _listening(port: int) -> socket.socket:
    """A socket that outlives each process, so that a request during a restart waits for the next."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ConfigError(
            "--port", [f"{port}: {os.strerror(error.errno or 0)}; write another one, or 0 for any that is free"]
        ) from error


def _start(
    config: Config, environment: Environment, more: Mapping[str, str], listening: socket.socket
) -> subprocess.Popen[bytes]:
    made = program(config, environment, more)
    words = target.load(environment.target, config).serving(environment)
    descriptor = listening.fileno()
    variables = {**made.variables, "PYTHONUNBUFFERED": "1"}  # what it logs is seen at once, and not lost when it ends
    return subprocess.Popen(
        [str(made.python), *words, str(descriptor)], cwd=config.root, env=variables, pass_fds=(descriptor,)
    )


def _stop(process: subprocess.Popen[bytes]) -> int:
    """End a process, and wait for it; returns its exit code."""
    process.terminate()
    try:
        return process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _state(root: Path) -> dict[str, tuple[int, int]]:
    """The time and size of each watched file."""
    found = {}
    for name in WATCHED:
        place = root / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and "__pycache__" not in path.parts:
                stat = path.stat()
                found[path.relative_to(root).as_posix()] = (stat.st_mtime_ns, stat.st_size)
    return found


def _changed(old: dict[str, tuple[int, int]], new: dict[str, tuple[int, int]]) -> str:
    """A file that was changed, added or removed; empty for none."""
    return next((name for name in {**old, **new} if old.get(name) != new.get(name)), "")
