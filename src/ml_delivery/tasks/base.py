"""What every task has in common: an error ends as one message and an exit code, never as a traceback."""

from __future__ import annotations

import functools
import io
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from invoke import Exit, task

from ml_delivery.errors import PipelineError
from ml_delivery.masking import masked
from ml_delivery.signals import CANCELS
from ml_delivery.tasks import console

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml_delivery.config import Config
    from ml_delivery.release.delivery import Delivery

__all__ = ["BRANCH", "CLOUD", "JSON", "action", "find_root", "open_environment", "read_config"]

# invoke turns bytecode off, so each command would compile botocore again: a third of the time of a short one.
sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))

BRANCH = "the branch of the environment; default: the one that is checked out"
CLOUD = "embedded or aws; default: $PIPELINE_CLOUD, else embedded"
JSON = "print one JSON document instead of text"


def action(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """A task whose errors end as one message and an exit code, never as a traceback."""

    def decorate(function: Callable[..., None]) -> Any:
        @task(**options)
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            for stream in (sys.stdout, sys.stderr):  # a character that the terminal can't encode must not stop a deploy
                if isinstance(stream, io.TextIOWrapper):
                    stream.reconfigure(errors="replace")
            for number in CANCELS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, _interrupt_once)
            try:
                function(*args, **kwargs)
            except PipelineError as error:
                raise Exit(console.clean(f"✗ {error}{_in_workflow(error)}"), error.exit_code) from error
            except KeyboardInterrupt as error:
                raise Exit("✗ interrupted", 130) from error
            except OSError as error:
                raise Exit(console.clean(f"✗ {error}"), 1) from error
            except Exit as error:
                raise Exit(error.message and console.clean(error.message), error.code) from error
            except Exception as error:
                raise Exit(console.clean(_internal(error)), 1) from error

        return guarded

    return decorate


def _in_workflow(error: PipelineError) -> str:
    """Where to type the next command for a reader of a workflow's log, which has no prompt; empty elsewhere."""
    if not os.environ.get("GITHUB_ACTIONS") or "invoke " not in error.next:
        return ""
    return "\n  where: in a checkout of this commit, signed in to the account; the workflow Deploy also deploys and rolls back"


def _internal(error: Exception) -> str:
    """The message for a bug in this package; the traceback goes into a file, to be attached to a report."""
    import traceback
    from pathlib import Path
    from tempfile import mkstemp

    file = Path(".pipeline/internal-error.txt")
    if not file.parent.is_dir():
        file = Path(mkstemp(prefix="internal-error-", suffix=".txt")[1])
    file.write_text(masked("".join(traceback.format_exception(error))), encoding="utf-8")
    return f"✗ internal error in ml-delivery: {type(error).__name__}: {error}\n  next: report it, with {file}"


def read_config() -> Config:
    """The configuration of the service that the current folder belongs to.

    Raises:
        ConfigError: there is none, or it is wrong.
    """
    from ml_delivery.config import load

    return load()


def find_root() -> Path:
    """The service's folder, found from the current one."""
    from ml_delivery.config import find_root as find

    return find()


def open_environment(branch: str, cloud: str, *, config: Config | None = None, prepare: bool = False) -> Delivery:
    """The environment of ``branch`` on ``cloud``, from ``open_delivery``; warns if the embedded AWS has lost state."""
    from ml_delivery.release.delivery import open_delivery

    delivery = open_delivery(config or read_config(), branch, cloud, prepare=prepare)
    if delivery.cloud.notice:
        console.warn(delivery.cloud.notice)
    return delivery


def _interrupt_once(*_: Any) -> None:
    """Stop, and ignore further signals while the previous state is restored; not SIG_IGN, which Python reports when it races."""
    for number in CANCELS:
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt
