"""Interpreters are found or named as missing; environments are made once per lock."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ml_delivery.dependencies import envs
from ml_delivery.errors import SetupError

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_running_python_is_found_outside_of_its_environment() -> None:
    """The base interpreter is meant, not the virtual environment that runs this."""
    assert envs.find_python(HERE).samefile(sys._base_executable)  # type: ignore[attr-defined]


def test_missing_python_is_named() -> None:
    """A version that isn't here is refused with what to do, and nothing is downloaded."""
    with pytest.raises(SetupError, match=r"there is no Python 3\.99 on this machine"):
        envs.find_python("3.99")


def test_shim_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of the right name that fails, as an unset pyenv shim does, is no interpreter."""
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(SetupError):
        envs.find_python("3.99")


def test_environment_is_made_once_per_lock(tmp_path: Path) -> None:
    """The same lock makes nothing anew; another lock does; one that can't be had is a clear fault and tried again."""
    lock = tmp_path / "lock.txt"
    lock.write_text("# nothing\n")
    python = envs.ensure(tmp_path, "x", lock, Path(sys.executable))
    mark = python.parent / "mark"
    mark.touch()
    envs.ensure(tmp_path, "x", lock, Path(sys.executable))
    assert mark.exists()
    lock.write_text("six==1.17.0 --hash=sha256:" + "0" * 64 + "\n")
    for _ in range(2):
        with pytest.raises(SetupError, match="uv pip sync failed"):
            envs.ensure(tmp_path, "x", lock, Path(sys.executable))
    assert not mark.exists()
