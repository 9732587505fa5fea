"""Virtual environments under ``.pipeline/envs`` or in the cache, each made by uv from one hashed lockfile."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cache", "ensure", "exclusive", "find_python", "main", "shared", "uv"]


def find_python(version: str) -> Path:
    """An interpreter of ``version`` ("3.12") on this machine, not inside a virtual environment.

    Searched in this order: the running interpreter, ``python3.12``, ``python3`` and ``python`` on the PATH, then by uv.

    Raises:
        SetupError: there is none.
    """
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        return Path(getattr(sys, "_base_executable", sys.executable))
    for command in (f"python{version}", "python3", "python"):
        if found := _answering(command, version):
            return found
    asked = [_uv(), "python", "find", "--no-project", "--system", "--no-python-downloads", version]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode == 0 and (found := _answering(done.stdout.strip(), version)):
        return found
    said = _refusing(f"python{version}")
    here = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    get = f"pyenv local {here} {version}" if "pyenv: " in said else f"uv python install {version}"
    raise SetupError(
        f"found no Python {version} that runs, on the PATH or by uv; the service is built for it (service.python){said}",
        next=f"{get}, or change service.python in pipeline.toml",
    )


def main() -> int:
    """Print the path of an interpreter of the version in the first argument; returns the exit code, 1 if there is none."""
    try:
        print(find_python(sys.argv[1]))
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _answering(command: str, version: str) -> Path | None:
    """The path of ``command``'s interpreter if it runs (a shim may not) and has this version, else None."""
    code = "import sys; print('%d.%d' % sys.version_info[:2], getattr(sys, '_base_executable', sys.executable))"
    if not shutil.which(command):
        return None
    done = subprocess.run([command, "-c", code], capture_output=True, text=True, check=False)
    found, _, path = done.stdout.strip().partition(" ")
    return Path(path) if done.returncode == 0 and found == version else None


def _refusing(command: str) -> str:
    """Why ``command`` does not run although the PATH has it, as a shim of pyenv's may; empty if the PATH does not have it."""
    if not (path := shutil.which(command)):
        return ""
    done = subprocess.run([path, "-c", ""], capture_output=True, text=True, check=False)
    reason = (done.stderr.strip().splitlines() or [f"it ends with {done.returncode}"])[0]
    return f"; {path} does not run: {reason}" if done.returncode else ""


def ensure(root: Path, name: str, lockfile: Path, python: Path) -> Path:
    """The interpreter of the virtual environment ``name``, which is created or updated to ``lockfile`` if necessary.

    Args:
        root: the service's folder.
        name: its folder under ``.pipeline/envs``.
        lockfile: a requirements file with hashes.
        python: the interpreter to base it on.

    Raises:
        SetupError: uv could not create it; the message has uv's reason.
    """
    return _made(root / ".pipeline" / "envs" / name, lockfile, python)


def shared(root: Path, name: str, lockfile: Path, python: Path) -> Path:
    """The same, for what depends on nothing of the service: in the cache, so that services with one cache have it once.

    Each lockfile and interpreter has a folder of its own, which is never changed: a process may be running in it.
    """
    digest = hashlib.sha256(lockfile.read_bytes() + str(python).encode()).hexdigest()
    return _made(cache(root) / "envs" / f"{name}-{digest[:12]}", lockfile, python)


def _made(folder: Path, lockfile: Path, python: Path) -> Path:
    stamp = folder / ".lock-digest"
    wanted = hashlib.sha256(
        lockfile.read_bytes() + f"{python}\n{folder.absolute()}".encode()
    ).hexdigest()  # its scripts name it
    with exclusive(folder.with_name(f"{folder.name}.lock")):
        if stamp.is_file() and stamp.read_text() == wanted:
            return folder / "bin" / "python"
        stamp.unlink(missing_ok=True)
        uv("venv", "--quiet", "--clear", "--python", str(python), str(folder))
        words = ["--quiet", "--no-build", "--require-hashes", "--python", str(folder / "bin" / "python")]
        uv("pip", "sync", *words, str(lockfile))
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def cache(root: Path) -> Path:
    """The folder of the cache: ``PIPELINE_CACHE``, else ``.pipeline/cache`` in ``root``."""
    return Path(os.environ.get("PIPELINE_CACHE") or root / ".pipeline" / "cache")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; other processes on this machine wait. It is released when its holder exits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def uv(*words: str) -> None:
    """Run uv, without letting it download an interpreter.

    Raises:
        SetupError: it failed; the message has its reason.
    """
    done = subprocess.run(
        [_uv(), *words], capture_output=True, text=True, check=False, env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    )
    if done.returncode != 0:
        raise SetupError(
            f"uv {' '.join(words[:2])} failed: {done.stderr.strip()}", next="check the network, then run this again"
        )


def _uv() -> str:
    from uv import find_uv_bin

    return find_uv_bin()
