"""The interface to ``embedded_aws``, the AWS emulator: only this module imports it, and it imports nothing of this package.

This module passes it: its folder, ``.pipeline/cloud`` of the service; a virtual environment for its server; a command that
finds interpreters for functions. Its errors become ``SetupError``, with the task to run next.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from embedded_aws import control
from embedded_aws.control import Running, Status
from embedded_aws.errors import EmulatorError, NotStarted, OtherPort, PortTaken, Unreadable
from ml_delivery.dependencies import envs
from ml_delivery.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Running", "Status", "down", "offer", "reset", "status", "up"]

# The program that clusters are started with, or its packed form; the last one is used again where it is not set.
CLUSTER = "PIPELINE_CLUSTER"
# This package may be importable only because its parent folder is on ``sys.path``, so the command is given that folder.
_FIND = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from ml_delivery.dependencies import envs; sys.exit(envs.main())"
)


def up(root: Path, port: int = 0) -> Running:
    """Start the emulator, unless it is running.

    Args:
        root: the service's folder.
        port: on loopback; 0 means the last one if it is free, else any free one.

    Raises:
        SetupError: the port is in use, or the server did not start; the message has the last lines of its log.
    """

    def environment() -> Path:
        python = envs.find_python(f"{sys.version_info.major}.{sys.version_info.minor}")
        return envs.shared(root, "cloud", control.REQUIREMENTS, python)

    find_python = [sys.executable, "-c", _FIND, str(Path(__file__).parent.parent)]
    with _setup_errors():
        return control.up(
            _home(root),
            environment=environment,
            find_python=find_python,
            port=port,
            cluster=os.environ.get(CLUSTER, ""),
        )


def down(root: Path) -> bool:
    """Stop the emulator, which saves its state; returns whether it was running."""
    return control.down(_home(root))


def status(root: Path) -> Status:
    """Whether the emulator is running, and where; starts nothing."""
    return control.status(_home(root))


def reset(root: Path) -> None:
    """Stop the emulator, and delete its contents."""
    control.reset(_home(root))


def offer(root: Path, project: str, url: str, variables: dict[str, str]) -> None:
    """Let the emulator's CodeBuild clone from ``root`` when the source of ``project`` is ``url``.

    Its builds get ``variables``, and the emulator's address in ``PIPELINE_ENDPOINT``.
    """
    control.offer(_home(root), root, project, url, variables, endpoint_variable="PIPELINE_ENDPOINT")


def _home(root: Path) -> Path:
    return root / ".pipeline" / "cloud"


@contextmanager
def _setup_errors() -> Iterator[None]:
    try:
        yield
    except EmulatorError as error:
        raise SetupError(str(error), next=_next(error)) from error


def _next(error: EmulatorError) -> str:
    match error:
        case OtherPort():
            return "invoke cloud.down"
        case PortTaken():
            return "invoke cloud.up, or invoke cloud.up --port PORT with another port"
        case Unreadable():
            return "invoke cloud.reset, which deletes everything that the embedded AWS holds"
        case NotStarted():
            return f"read {error.log}"
    return ""
