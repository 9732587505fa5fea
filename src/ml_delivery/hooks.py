"""The service's own commands before and after a build, deploy or rollback: ``[hooks]`` in ``pipeline.toml``."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from ml_delivery.errors import PipelineError, Refused

if TYPE_CHECKING:
    from ml_delivery.config import Config

__all__ = ["run"]


def run(config: Config, name: str, again: str = "", **facts: str) -> None:
    """Run the hook ``name``, such as ``pre_deploy``, in the service's folder, if ``pipeline.toml`` has it.

    What it prints goes to standard error, since standard output may be a JSON document. Its environment variables include
    ``facts`` and its own name (``RELEASE_HOOK``).

    Args:
        config: the service's configuration.
        name: the hook's.
        again: the command to type after a ``pre_`` hook was fixed.
        facts: more variables for it.

    Raises:
        Refused: a ``pre_`` hook could not be run, or exited with a code other than 0; nothing was changed.
        PipelineError: a ``post_`` hook did; the build, deploy or rollback before it has succeeded.
    """
    words = getattr(config.hooks, name)
    if not words:
        return
    variables = {**os.environ, "RELEASE_HOOK": name, **facts}
    try:
        code = subprocess.run(words, cwd=config.root, env=variables, stdout=2, check=False).returncode
        how = f"ended with exit code {code}" if code else ""
    except OSError as error:
        how = f"can't be run: {error.strerror}"
    when, _, what = name.partition("_")
    if how and when == "pre":
        raise Refused(
            f"hooks.{name}: `{' '.join(words)}` {how}; nothing was changed",
            next=f"fix what it reports, then {again}",
        )
    if how:
        raise PipelineError(
            f"hooks.{name}: `{' '.join(words)}` {how}; the {what} itself succeeded and stays as it is",
            next="fix what it reports, then run that command alone",
        )
