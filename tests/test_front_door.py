"""``make``: it sets itself up from hashed locks, says what is missing, and picks up where it was stopped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bake import BIN, ROOT, bake

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
BASE = Path(sys._base_executable)  # type: ignore[attr-defined]


def run(folder: Path, words: list[str | Path], hidden: tuple[str, ...], **variables: str) -> tuple[int, str]:
    """A command's exit code, and what it printed; variables that begin with ``hidden`` are kept from it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    done = subprocess.run(
        words,
        cwd=folder,
        env={**clean, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def make(folder: Path, *words: str, **variables: str) -> tuple[int, str]:
    """The same of ``make``."""
    return run(folder, ["make", *words], ("PIPELINE_", "VIRTUAL_ENV", "MAKE", "MFLAGS"), **variables)


def command(folder: Path, text: str) -> str:
    """An executable shell script in ``folder``."""
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """A bake whose dev lock is as short as uv's own, so that a set-up is quick."""
    made = bake(tmp_path / "out")
    (made / "requirements/dev.txt").write_text((made / "requirements/uv.txt").read_text())
    return made


@pytest.mark.parametrize("folder", [ROOT, None], ids=["root", "bake"])
def test_make_alone_prints_help(tmp_path: Path, folder: Path | None) -> None:
    """``make`` names every target, and makes nothing."""
    folder = folder or bake(tmp_path / "out")
    before = set(folder.iterdir())
    code, output = make(folder)
    assert code == 0
    for target in ("setup", "test", "check", "clean"):
        assert f"  make {target} " in output
    assert set(folder.iterdir()) == before


def test_set_up_is_made_once_and_anew_when_a_lock_changes(service: Path) -> None:
    """The second ``make setup`` does nothing; a newer lock is installed; an interrupted set-up is finished."""
    assert make(service, "setup", PYTHON=str(BASE))[0] == 0
    ready = service / ".venv/.ready"
    first = ready.stat().st_mtime_ns
    assert make(service, "setup", PYTHON=str(BASE))[0] == 0
    assert ready.stat().st_mtime_ns == first
    os.utime(service / "requirements/dev.txt", ns=(first + 1, first + 1))
    assert make(service, "setup", PYTHON=str(BASE))[0] == 0
    assert ready.stat().st_mtime_ns > first
    ready.unlink()
    (service / ".venv/bin/uv").unlink()  # as after Ctrl-C in the middle of it
    assert make(service, "setup", PYTHON=str(BASE))[0] == 0
    assert (service / ".venv/bin/uv").exists()


def test_old_python_is_refused(service: Path, tmp_path: Path) -> None:
    """Python 3.10 and older is named, with what to type, and nothing is made."""
    old = command(
        tmp_path, f"""shift; exec {BASE} -c 'import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])' "$@" """
    )
    code, output = make(service, "setup", PYTHON=old)
    assert code != 0
    assert f"✗ Python 3.11 or newer is needed, {old} is 3.9" in output
    assert "next: make PYTHON=/path/to/python3.12" in output
    assert not (service / ".venv").exists()


def test_missing_venv_module_is_said(service: Path, tmp_path: Path) -> None:
    """A Python without venv, as Debian splits it, is said with what to install, and a later make starts afresh."""
    bare = command(
        tmp_path, f"""[ "$2" = venv ] && {{ mkdir -p .venv; echo no ensurepip; exit 1; }}; exec {BASE} "$@" """
    )
    code, output = make(service, "setup", PYTHON=bare)
    assert code != 0
    assert "no ensurepip" in output
    assert "next: install python3-venv, then run make again" in output
    assert make(service, "setup", PYTHON=str(BASE))[0] == 0


def test_altered_package_is_refused(service: Path) -> None:
    """A lock whose digests are not the packages' installs nothing."""
    lock = service / "requirements/uv.txt"
    lock.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", lock.read_text()))
    code, output = make(service, "setup", PYTHON=str(BASE))
    assert code != 0
    assert "DO NOT MATCH THE HASHES" in output
    assert not (service / ".venv/.ready").exists()


def nox(folder: Path, *words: str, **variables: str) -> tuple[int, str]:
    """The same of the root's nox."""
    return run(folder, [BIN / "nox", *words], ("NOX", "PIPELINE_", "CI"), **variables)


def test_check_on_a_python_that_is_not_here_is_red(tmp_path: Path) -> None:
    """The checks are listed whatever Python the service is built for; where it is missing they fail, and name it."""
    made = bake(tmp_path / "out")
    assert nox(made, "--list", PIPELINE_PYTHON="3.99")[0] == 0
    for session in ("types", "test"):
        code, output = nox(made, "-s", session, PIPELINE_PYTHON="3.99")
        assert code == 1
        assert "Python interpreter 3.99 not found" in output


def test_checks_name_a_broken_configuration(tmp_path: Path) -> None:
    """A pipeline.toml that can't be read stops nox in words."""
    made = bake(tmp_path / "out")
    (made / "pipeline.toml").write_text("[service")
    code, output = nox(made, "--list")
    assert code == 1
    assert "✗ pipeline.toml: service.python, the Python that the checks run on, can't be read" in output
    assert "Traceback" not in output
