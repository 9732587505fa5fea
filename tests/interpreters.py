"""Other interpreters of this machine that may run a pipeline, wherever they were installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def find(version: str) -> Path | None:
    """An interpreter of ``version`` that runs: from the PATH, which may have shims that do not, or of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]
    for candidate in filter(None, candidates):
        asked = [candidate, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == version:
            return Path(candidate)
    return None


def require(version: str) -> Path:
    """As ``find``; skips the test if there is none."""
    found = find(version)
    if found is None:
        pytest.skip(f"this machine has no Python {version}")
    return found
