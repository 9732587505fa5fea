"""The emulator and the delivery package know each other through one module, and the server runs apart from both."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from emulated import Function
from tiny import ROOT

from embedded_aws import control
from ml_delivery import emulator
from ml_delivery.dependencies import envs
from ml_delivery.errors import SetupError

SRC = ROOT / "src"
SEAM = SRC / "ml_delivery/emulator.py"

IMPORT_ALL = """
import importlib, pkgutil, sys
src, package, other, seam = sys.argv[1:]
sys.path.append(src)
sys.modules[other] = None  # importing it raises ModuleNotFoundError
for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
    if module.name != seam:
        importlib.import_module(module.name)
"""


def imported(path: Path) -> set[str]:
    """The packages that a file imports, also for type checkers and inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            found.add(str(node.module).partition(".")[0])
    return found


def test_the_seam_is_one_module() -> None:
    """Only the seam imports the emulator; the emulator imports nothing of the delivery package, and does not name it."""
    assert {p for p in (SRC / "ml_delivery").rglob("*.py") if "embedded_aws" in imported(p)} == {SEAM}
    for path in (SRC / "embedded_aws").rglob("*.py"):
        assert "ml_delivery" not in path.read_text(), path


@pytest.mark.parametrize(("package", "other"), [("ml_delivery", "embedded_aws"), ("embedded_aws", "ml_delivery")])
def test_each_package_imports_without_the_other(running: emulator.Running, package: str, other: str) -> None:
    """Every module but the seam is importable when the other package is not."""
    server = Path(f"/proc/{running.pid}/cmdline").read_text().partition("\0")[0]  # has ministack
    python = server if package == "embedded_aws" else sys.executable
    environment = {"EMBEDDED_HOME": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1"}
    words = [python, "-c", IMPORT_ALL, str(SRC), package, other, "ml_delivery.emulator"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_server_does_not_see_packages_beside_the_emulator(alone: Path, tmp_path: Path) -> None:
    """In a service the emulator lies in the delivery environment's site-packages, none of which reaches the server."""
    site = tmp_path / "site-packages"
    shutil.copytree(SRC, site, ignore=shutil.ignore_patterns("__pycache__"))
    (site / "ministack").mkdir()
    (site / "ministack/__init__.py").write_text("raise SystemExit('not the one that is locked')")
    code = "import pathlib, sys; from ml_delivery import emulator; emulator.up(pathlib.Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code, str(alone)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    command = Path(f"/proc/{emulator.status(alone).pid}/cmdline").read_text()
    assert str(site) in command


def test_command_for_interpreters_gets_no_keys(alone: Path, tmp_path: Path) -> None:
    """What finds interpreters is asked for the runtime's version, and sees nothing of the account's root key."""
    seen = tmp_path / "seen"
    code = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2] + ' '.join(['', *os.environ]))"
    command = [sys.executable, "-c", f"{code}; print(getattr(sys, '_base_executable'))", str(seen)]
    running = control.up(
        alone / ".pipeline/cloud",
        environment=lambda: envs.shared(alone, "cloud", control.REQUIREMENTS, Path(sys.executable)),
        find_python=command,
    )
    assert Function(running, "asked", "handler = lambda event, context: 1").call()["body"] == 1
    version, *names = seen.read_text().split()
    assert version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert not [name for name in names if name.startswith(("AWS_", "EMBEDDED_"))]


def test_errors_name_the_task_to_run(alone: Path, port: int) -> None:
    """The emulator's errors are the delivery package's, with its commands."""
    emulator.up(alone)
    with pytest.raises(SetupError, match="the embedded AWS runs on port") as fault:
        emulator.up(alone, port=port)
    assert fault.value.next == "invoke cloud.down"
