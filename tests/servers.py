"""What the service's tests need beside Python: programs from the distribution's packages, and the service over HTTP."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny import PRICING, ROOT, TEMPLATE


def program(*names: str) -> str:
    """The path of the first of ``names`` that is here; without any the test is skipped, and in CI it fails."""
    for name in names:
        if found := shutil.which(name):
            return found
    missing = f"NOT TESTED: there is no {names[0]} here; .ci/run installs it"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@contextmanager
def started(words: list[str], *, url: str = "", **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the test; with ``url``, once that answers."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        until = time.monotonic() + 60
        while url and time.monotonic() < until and process.poll() is None:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def serving(root: Path, port: int) -> Iterator[tuple[str, int]]:
    """The service in gunicorn, as a container would run it, from a folder like the artifact; its URL, and its process."""
    if not (root / "service").exists():
        for package in (PRICING / "src/service", TEMPLATE / "src/ml_service", ROOT / "src/ml_pages"):
            shutil.copytree(package, root / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    words = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--threads", "2"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root)}
    url = f"http://127.0.0.1:{port}"
    with started([*words, "service.app:create_app()"], url=f"{url}/readyz", cwd=root, env=environment) as process:
        yield url, process.pid
