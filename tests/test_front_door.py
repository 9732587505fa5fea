"""``make``: it sets itself up from hashed locks, says what is missing, and picks up where it was stopped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bake import BIN, ROOT, bake
from packaging.markers import Marker

from ml_delivery.dependencies import locks

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


def command(folder: Path, text: str, name: str = "python") -> str:
    """An executable shell script in ``folder``."""
    script = folder / name
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bake, on a machine that has no uv."""
    monkeypatch.setenv("PATH", path_with(tmp_path, "exit 1"))
    return bake(tmp_path / "out")


def path_with(folder: Path, uv: str) -> str:
    """A PATH whose uv is this script."""
    command(folder / "tools", uv, "uv")
    return f"{folder}/tools:{os.environ['PATH']}"


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
    os.utime(service / "requirements/delivery.txt", ns=(first + 1, first + 1))
    assert make(service, "setup", PYTHON=str(BASE))[0] == 0
    assert ready.stat().st_mtime_ns > first
    ready.unlink()
    (service / ".venv/bin/uv").unlink()  # as after Ctrl-C in the middle of it
    assert make(service, "setup", PYTHON=str(BASE))[0] == 0
    assert (service / ".venv/bin/uv").exists()


def test_moved_folder_is_set_up_anew(service: Path) -> None:
    """Its scripts name the old place: they are made anew, and what ``make clean`` stops needs none of them."""
    assert make(service, "setup", PYTHON=str(BASE))[0] == 0
    moved = service.rename(service.parent / "another place")
    (moved / ".nox/lint/bin").mkdir(parents=True)
    assert make(moved, "setup", PYTHON=str(BASE))[0] == 0
    assert not (moved / ".nox/lint").exists()
    assert run(moved, [".venv/bin/nox", "--version"], ())[0] == 0
    code, output = run(moved, [".venv/bin/invoke", "--list"], ())
    assert code == 0, output
    again = moved.rename(service.parent / "a third")
    code, output = make(again, "clean", PYTHON=str(BASE))
    assert code == 0, output
    assert not (again / ".venv").exists()


def test_what_pip_is_configured_to_do_is_not_done(service: Path, tmp_path: Path) -> None:
    """With a pip that installs elsewhere, or only in virtual environments, the set-up is as without."""
    elsewhere = tmp_path / "elsewhere"
    own = f"[global]\nuser = true\nrequire-virtualenv = true\n[install]\ntarget = {elsewhere}\nprefix = {elsewhere}\n"
    (tmp_path / "pip.conf").write_text(own)
    there = {"PIP_USER": "1", "PIP_TARGET": str(elsewhere), "PIP_REQUIRE_VIRTUALENV": "1"}
    code, output = make(service, "setup", **way("pip", tmp_path), PIP_CONFIG_FILE=str(tmp_path / "pip.conf"), **there)
    assert code == 0, output
    assert (service / ".venv/bin/uv").exists()
    assert not elsewhere.exists()


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


def way(name: str, folder: Path) -> dict[str, str]:
    """Variables with which ``make setup`` goes each of its three ways, by what the machine has."""
    if name in ("uv", "an old uv"):
        how = f'exec {BIN}/uv "$@"' if name == "uv" else "echo uv 0.8.99"
        return {"PYTHON": str(BASE), "PATH": path_with(folder, f'echo "$@" >> {folder}/asked; {how}')}
    without = f"""[ "$1$2" = "-cimport pip" ] && exit 1; exec {BASE} "$@" """
    return {"PYTHON": str(BASE) if name == "pip" else command(folder, without)}


@pytest.mark.parametrize("name", ["uv", "an old uv", "pip", "neither"])
def test_each_way_makes_the_same_environment(service: Path, tmp_path: Path, name: str) -> None:
    """Whatever the machine has, .venv holds exactly the delivery lock, on the Python that was named, and nox beside it."""
    code, output = make(service, "setup", **way(name, tmp_path))
    assert code == 0, output
    asked = (tmp_path / "asked").read_text().splitlines() if (tmp_path / "asked").exists() else []
    assert [words.partition(" ")[0] for words in asked] == {
        "uv": ["--version", "venv", "pip"],
        "an old uv": ["--version"],
    }.get(name, [])
    listed = subprocess.run(
        [BIN / "uv", "pip", "freeze", "--python", service / ".venv/bin/python"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    pins = [pin for pin in locks.read(service / "requirements/delivery.txt") if applies(pin)]
    assert {line.partition("==")[0].partition(" @")[0] for line in listed.splitlines()} == {pin.name for pin in pins}
    assert 15 < len(pins) < 25
    real = subprocess.check_output(
        [service / ".venv/bin/python", "-c", "import sys; print(sys._base_executable)"], text=True
    )
    assert Path(real.strip()).samefile(BASE)
    for tool in ("nox", "tox"):
        assert (service / ".venv/bin" / tool).resolve() == (service / ".venv/nox/bin" / tool).resolve()
        assert (
            subprocess.run([service / ".venv/bin" / tool, "--version"], capture_output=True, check=False).returncode
            == 0
        )


def applies(pin: locks.Pin) -> bool:
    return not pin.marker or Marker(pin.marker).evaluate()


@pytest.mark.parametrize("name", ["uv", "pip", "neither"])
def test_altered_package_is_refused(service: Path, tmp_path: Path, name: str) -> None:
    """A lock whose digests are not the packages' installs nothing, and ends with what to look at."""
    lock = service / "requirements/uv.txt"
    lock.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", lock.read_text()))
    code, output = make(service, "setup", **way(name, tmp_path))
    assert code != 0
    assert "DO NOT MATCH THE HASHES" in output or "Hash mismatch" in output
    assert (
        "  next: git status requirements vendor (is it as committed?), check the network, then run make again" in output
    )
    assert not (service / ".venv/.ready").exists()
    assert not (service / ".venv/bin/uv").exists()


@pytest.mark.parametrize("name", ["uv", "pip"])
def test_missing_network_is_one_refusal(service: Path, tmp_path: Path, name: str) -> None:
    """Without an index, and nothing cached, the set-up ends with what is missing and what to do."""
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_CONFIG": "1",
    }
    nowhere |= {"PIP_FIND_LINKS": "", "PIP_CACHE_DIR": str(tmp_path / "no"), "UV_CACHE_DIR": str(tmp_path / "none")}
    nowhere |= {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/", "UV_HTTP_RETRIES": "0", "UV_FIND_LINKS": "", "UV_INDEX": ""}
    code, output = make(service, "setup", **way(name, tmp_path), **nowhere)
    assert code != 0
    assert "uv" in output
    assert "check the network, then run make again" in output


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
