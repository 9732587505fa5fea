"""The Python interpreter of a runtime, found by the command that the environment variable ``EMBEDDED_FIND_PYTHON`` holds."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path

PASSED_ON = ("HOME", "LANG", "PATH", "TMPDIR")  # nothing else, above all not the account's root key


class NotFound(Exception):
    """This machine has no such interpreter; the command's own message."""


@functools.cache
def find(version: str) -> Path:
    """The interpreter of ``version``, such as "3.12"; the result is kept, a failure is not.

    Raises:
        NotFound: there is none.
    """
    command = [*json.loads(os.environ["EMBEDDED_FIND_PYTHON"]), version]
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise NotFound(done.stderr.strip())
    return Path(done.stdout.strip())
