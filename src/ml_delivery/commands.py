"""The service's commands for its model: ``[train]``, ``[evaluate]`` and ``[promote]`` in ``pipeline.toml``.

The service decides what is trained, how it is evaluated and what passes. A command runs in the service's folder, with
``src`` on the import path. A first word "python" is the interpreter of a virtual environment with ``requirements/train.txt``
and the service's Python version. Its options come from its table; those on the command line override them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_delivery.dependencies import envs
from ml_delivery.errors import ConfigError, ModelError, SetupError
from ml_delivery.keys import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ml_delivery.config import Config

__all__ = ["LOCK", "STAGES", "argv", "environment", "execute", "named", "parse", "run"]

STAGES = ("train", "evaluate", "promote")
LOCK = "requirements/train.txt"
GRACE = 5  # seconds in which an interrupted command may end by itself
INTERRUPTED = 130  # 128 + SIGINT, the shells' convention


def run(
    config: Config,
    stage: str,
    options: Mapping[str, str | int | float | bool],
    variables: Mapping[str, str],
    line: Callable[[str], None] | None = None,
    flags: str = "",
) -> None:
    """Run the command of ``stage``, which prints its own progress; a second run waits for the first.

    Args:
        config: the service's configuration.
        stage: one of ``STAGES``.
        options: override those in ``pipeline.toml``.
        variables: added to the environment variables, such as AWS's credentials.
        line: called with each line that it prints, on both outputs; without it, the command has the terminal itself.
        flags: of the task, with which it is to be run again.

    Raises:
        ModelError: the service has no such command, or it exited with a code other than 0.
        SystemExit: it was interrupted, and has reported that itself.
        SetupError: its virtual environment can't be created, or there is no such program.
    """
    execute(config, stage, f"[{stage}] command", named(config, stage), options, variables, line, flags)


def named(config: Config, stage: str) -> Command:
    """The service's command of ``stage``, or of tuning, with its options.

    Raises:
        ModelError: it has none.
    """
    found = getattr(config, stage)
    if not found.command:
        raise ModelError(
            f"this service has no command to {stage} a model",
            next=f'if it should have one, write [{stage}] command = ["python", "-m", "service.…"] into pipeline.toml',
        )
    return Command(found.command, found.options)


def execute(
    config: Config,
    stage: str,
    what: str,
    command: Command,
    options: Mapping[str, str | int | float | bool],
    variables: Mapping[str, str],
    line: Callable[[str], None] | None = None,
    flags: str = "",
) -> None:
    """Run ``command`` as part of ``stage``; ``what`` is its place in ``pipeline.toml``. Arguments and errors as for ``run``."""
    python = str(environment(config)) if command.command[0] == "python" else ""
    words = argv(command, options, python)
    with envs.exclusive(config.root / ".pipeline" / f"{stage}.lock"):
        path = {"PYTHONPATH": str(config.root / "src")}
        try:
            code = _call(words, config.root, {**os.environ, **variables, **path}, line)
        except OSError as error:
            raise SetupError(
                f"{what}: {words[0]} can't be run: {error.strerror}", next="correct it in pipeline.toml"
            ) from error
    if code != 0:
        raise ModelError(f"{what} exited with code {code}", next=f"fix what it printed, then invoke {stage}{flags}")


def _call(words: list[str], folder: Path, variables: dict[str, str], line: Callable[[str], None] | None = None) -> int:
    """The exit code of a command. It gets the terminal's Ctrl-C as well, so it is given time to end by itself.

    Raises:
        SystemExit: it was interrupted, and exited as programs do that report that.
        KeyboardInterrupt: it was interrupted, and did not report it.
    """
    output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with subprocess.Popen(words, cwd=folder, env=variables, **(output if line else {})) as process:
        try:
            for text in process.stdout or ():
                assert line
                line(text.rstrip("\n"))
            return process.wait()
        except KeyboardInterrupt:
            try:
                code = process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.terminate()
                raise
            if code == INTERRUPTED:
                sys.exit(code)
            raise


def argv(command: Command, options: Mapping[str, str | int | float | bool], python: str) -> list[str]:
    """A command's arguments: ``--name value`` for each option; only ``--name`` for true, nothing for false.

    Args:
        command: as in ``pipeline.toml``.
        options: override the command's own.
        python: replaces a first word "python".
    """
    first, *rest = command.command
    words = [python if first == "python" else first, *rest]
    for name, value in {**command.options, **options}.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not False:
            words += [f"--{name}", str(value)]
    return words


def parse(words: Sequence[str]) -> dict[str, str | int | float | bool]:
    """The options as typed: ``name=value``, or ``name`` for one without a value.

    Raises:
        ConfigError: one has no name.
    """
    found: dict[str, str | int | float | bool] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name.lstrip("-"):
            raise ConfigError("--option", [f"{word!r} has no name; write name=value: --option seed=3"])
        found[name.lstrip("-")] = value if equals else True
    return found


def environment(config: Config) -> Path:
    """The interpreter that a command's "python" means.

    Raises:
        SetupError: its lockfile is missing, or its virtual environment can't be created.
    """
    if not (config.root / LOCK).is_file():
        raise SetupError(
            f"there is no {LOCK}, the lockfile of the commands' Python packages",
            next=f'add "{LOCK}" to [tool.ml-delivery.locks] in pyproject.toml, then nox -s lock',
        )
    return envs.ensure(config.root, "train", config.root / LOCK, envs.find_python(config.service.python))
