"""The commands that a service names for its model: ``[train]``, ``[evaluate]`` and ``[promote]`` of ``pipeline.toml``.

What is trained, how it is judged and what passes is the service's own. A command runs in the service's folder, with ``src``
on the import path; the word "python" is the interpreter of the environment that ``requirements/train.txt`` makes, on the
Python that the service is built for. Its options are those of the table, those of the command line after them.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery.dependencies import envs
from ml_delivery.errors import ConfigError, ModelError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ml_delivery.config import Config
    from ml_delivery.keys import Command

__all__ = ["LOCK", "STAGES", "argv", "environment", "parse", "run"]

STAGES = ("train", "evaluate", "promote")
LOCK = "requirements/train.txt"


def run(
    config: Config, stage: str, options: Mapping[str, str | int | float | bool], variables: Mapping[str, str]
) -> None:
    """Run the command of ``stage``, which prints its own progress; a second run of it waits for the first.

    Args:
        config: the service's configuration.
        stage: one of ``STAGES``.
        options: win over those in ``pipeline.toml``.
        variables: added to the environment, such as those that reach S3.

    Raises:
        ModelError: the service names no such command, or it exited with another code than 0.
        SetupError: its environment can't be made, or there is no such program.
    """
    command: Command = getattr(config, stage)
    if not command.command:
        raise ModelError(
            f"this service has no command to {stage} a model",
            next=f'write [{stage}] command = ["python", "-m", "service.…"] into pipeline.toml, if it should have one',
        )
    python = str(environment(config)) if command.command[0] == "python" else ""
    words = argv(command, options, python)
    with envs.exclusive(config.root / ".pipeline" / f"{stage}.lock"):
        path = {"PYTHONPATH": str(config.root / "src")}
        try:
            code = subprocess.call(words, cwd=config.root, env={**os.environ, **variables, **path})
        except OSError as error:
            raise SetupError(
                f"[{stage}] command: {words[0]} can't be run: {error.strerror}", next="correct it in pipeline.toml"
            ) from error
    if code != 0:
        raise ModelError(
            f"[{stage}] command exited with code {code}", next=f"fix what it says above, then invoke {stage}"
        )


def argv(command: Command, options: Mapping[str, str | int | float | bool], python: str) -> list[str]:
    """The words of a command: ``--name value`` for each option; ``--name`` alone for true, nothing for false.

    Args:
        command: as ``pipeline.toml`` has it.
        options: win over the command's own.
        python: what its first word "python" stands for.
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
    """Options as they are typed: ``name=value``, or ``name`` for one without a value.

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
    """The interpreter that a command's "python" stands for.

    Raises:
        SetupError: there is no lock of it, or it can't be made.
    """
    if not (config.root / LOCK).is_file():
        raise SetupError(
            f"there is no {LOCK}, which the commands' Python is made from",
            next=f'add "{LOCK}" to [tool.ml-delivery.locks] in pyproject.toml, then nox -s lock',
        )
    return envs.ensure(config.root, "train", config.root / LOCK, envs.find_python(config.service.python))
