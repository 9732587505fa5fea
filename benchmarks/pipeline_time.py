"""How long a service's local checks take, from ``make setup`` on, beside the whole local check of another template's project.

Promise for ``pricing``, with the packages in uv's cache: ``make setup`` within 3 s, all checks (``nox``: lint, types, test,
sast, sca) within 30 s at their first run, within 20 s after that. Both are freshly baked, whole processes, one after the
other; ``sca`` asks a service of vulnerabilities on loopback, so that no network is timed. The other project, a package of one
function and one test, is that of https://github.com/fmind/cookiecutter-mlops-package: ``uv sync``, then what its ``just check``
runs; it is left out where it can't be cloned. Run it with ``nox -s bench -- benchmarks/pipeline_time.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from bake import bake, start
from test_sca import Advisories
from uv import find_uv_bin

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
LIMITS = {"setup": 3, "first": 30, "again": 20}
OTHER = "https://github.com/fmind/cookiecutter-mlops-package"
COMMIT = "b930d915e4456ef34d11c63e61452930c70078ce"
# What its tasks/check.just runs, in that order.
CHECK = [
    "ruff check src tests",
    "mypy src tests",
    "ruff format --check src tests",
    "bandit --recursive --configfile=pyproject.toml src",
    "pytest --numprocesses=auto --cov=src --cov-fail-under=80 tests",
]


@dataclass(frozen=True)
class Project:
    """A project that was baked, and the commands that set it up and check it."""

    name: str
    folder: Path
    setup: list[str]
    checks: list[list[str]]

    def times(self, variables: dict[str, str]) -> dict[str, float]:
        """Seconds of the set-up with a warm cache, of the checks after it, and of the checks once more."""
        self._run([self.setup], variables)
        shutil.rmtree(self.folder / ".venv")
        return {
            "setup": self._run([self.setup], variables),
            "first": self._run(self.checks, variables),
            "again": self._run(self.checks, variables),
        }

    def _run(self, commands: list[list[str]], variables: dict[str, str]) -> float:
        began = time.perf_counter()
        for words in commands:
            done = subprocess.run(words, cwd=self.folder, env=variables, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                sys.exit(f"✗ {self.name}: {' '.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return time.perf_counter() - began


def ours(into: Path, starter: str) -> Project:
    """A service of this template."""
    folder = bake(into / starter, starter=starter)
    start(folder)
    return Project(f"starter {starter}", folder, ["make", "setup"], [[".venv/bin/nox"]])


def other(into: Path) -> Project | None:
    """The other template's project; None if it can't be cloned."""
    template = into / "template"
    for words in (["clone", "--quiet", OTHER, str(template)], ["-C", str(template), "checkout", "--quiet", COMMIT]):
        if subprocess.run(["git", *words], capture_output=True, check=False).returncode != 0:
            return None
    cookiecutter = [str(Path(sys.executable).parent / "cookiecutter"), "--no-input", "--output-dir", str(into)]
    subprocess.run([*cookiecutter, str(template), f"python_version={PYTHON}"], check=True, capture_output=True)
    uv, folder = find_uv_bin(), into / "mlops-project"
    checks = [[uv, "run", *line.split()] for line in CHECK]
    return Project("the other template", folder, [uv, "sync", "--quiet", "--all-groups"], checks)


def main() -> int:
    """Print a row per project; exit code 1 when ``pricing`` is over a limit."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Advisories)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hidden = ("PIPELINE_", "AWS_", "NOX", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "SNYK_")
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(hidden)},
        "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
        "PIP_AUDIT_OSV_URL": f"http://127.0.0.1:{server.server_port}/v1/query",
    }
    print(f"{'':>20}" + "".join(f"{what:>10}" for what in LIMITS))
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder)
        for project in (ours(into, "pricing"), ours(into, "blank"), other(into)):
            if project is None:
                print(f"not compared: {OTHER} can't be cloned")
                continue
            times = found[project.name] = project.times(variables)
            print(f"{project.name:>20}" + "".join(f"{times[what]:8.1f} s" for what in LIMITS), flush=True)
    server.shutdown()
    print("limits" + " " * 14 + "".join(f"{limit:8.0f} s" for limit in LIMITS.values()))
    return 1 if any(found["starter pricing"][what] > limit for what, limit in LIMITS.items()) else 0


if __name__ == "__main__":
    sys.exit(main())
