"""Interpreters are found or named as missing; environments are made once per lock."""

from __future__ import annotations

import hashlib
import io
import re
import sys
import tarfile
from pathlib import Path

import pytest
from tiny import ROOT

from ml_delivery.dependencies import envs
from ml_delivery.errors import SetupError

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_running_python_is_found_outside_of_its_environment() -> None:
    """The base interpreter is meant, not the virtual environment that runs this."""
    assert envs.find_python(HERE).samefile(sys._base_executable)  # type: ignore[attr-defined]


def test_missing_python_is_named() -> None:
    """A version that isn't here is refused with what to do, and nothing is downloaded."""
    with pytest.raises(SetupError, match=r"found no Python 3\.99 that runs, on the PATH or by uv"):
        envs.find_python("3.99")


def test_shim_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of the right name that fails, as an unset pyenv shim does, is no interpreter."""
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(SetupError, match=rf"; {shim} does not run: it ends with 127\n  next: uv python install 3\.99"):
        envs.find_python("3.99")
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.99: command not found' >&2\nexit 127\n")
    with pytest.raises(
        SetupError, match=r"pyenv: python3\.99: command not found\n  next: pyenv local 3\.\S+ 3\.99, or"
    ):
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


def test_no_source_distribution_is_built(tmp_path: Path) -> None:
    """Of a locked package that exists only as source, no code runs: it is refused, and named."""
    ran = tmp_path / "ran"
    files = {
        "backend.py": f"open({str(ran)!r}, 'w').close()\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "PKG-INFO": "Metadata-Version: 2.1\nName: from-source\nVersion: 1\n",
    }
    archive = tmp_path / "from_source-1.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"from_source-1/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    lock = tmp_path / "lock.txt"
    lock.write_text(f"--no-index\n--find-links {tmp_path}\nfrom-source==1 --hash=sha256:{digest}\n")
    with pytest.raises(SetupError, match="from-source"):
        envs.ensure(tmp_path, "x", lock, Path(sys.executable))
    assert not ran.exists()


@pytest.mark.parametrize("makefile", ["Makefile", "{{cookiecutter.project_slug}}/Makefile"])
def test_setup_installs_wheels_only(makefile: str) -> None:
    """Each line of `make setup` that installs locked packages refuses to build any."""
    lines = [
        line for line in (ROOT / makefile).read_text().splitlines() if re.search(r"\bpip\b.* (install|sync) ", line)
    ]
    installing = [line for line in lines if "--editable ." not in line]
    assert len(installing) >= 3
    assert [line for line in installing if "--no-build" not in line and "--only-binary :all:" not in line] == []


def test_shared_environment_is_made_once_per_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services with one cache have one, and another lock has another: what runs in the first keeps its files."""
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    lock = tmp_path / "lock.txt"
    lock.write_text("# nothing\n")
    python = envs.shared(tmp_path / "a", "x", lock, Path(sys.executable))
    mark = python.parent / "mark"
    mark.touch()
    assert envs.shared(tmp_path / "b", "x", lock, Path(sys.executable)) == python
    lock.write_text("# another\n")
    assert envs.shared(tmp_path / "b", "x", lock, Path(sys.executable)) != python
    assert mark.exists()
    monkeypatch.delenv("PIPELINE_CACHE")
    assert envs.shared(tmp_path / "a", "x", lock, Path(sys.executable)).is_relative_to(tmp_path / "a/.pipeline/cache")
