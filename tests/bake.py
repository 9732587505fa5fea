"""Bakes: services made from the working tree, by cookiecutter or by cruft."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUESTIONS = json.loads((ROOT / "cookiecutter.json").read_text())
BIN = Path(sys.executable).parent
KEPT = (".git", ".nox", ".pipeline", ".venv")


def bake(into: Path, **answers: str) -> Path:
    """A service in ``into``, as ``cookiecutter --no-input`` makes it.

    Raises:
        Refused: cookiecutter ended with another exit code than 0.
    """
    words = [f"{name}={value}" for name, value in answers.items()]
    return _made(into, [str(BIN / "cookiecutter"), "--no-input", "--output-dir", str(into), str(ROOT), *words])


def cruft(into: Path, template: Path, **answers: str) -> Path:
    """The same by ``cruft create``, from a git repository of the template."""
    words = ["--no-input", "--output-dir", str(into), "--extra-context", json.dumps(answers)]
    return _made(into, [str(BIN / "cruft"), "create", *words, str(template)])


class Refused(Exception):
    """No service was made; the message is what was printed."""


def _made(into: Path, words: list[str]) -> Path:
    into.mkdir(parents=True, exist_ok=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PIPELINE_", "AWS_"))}
    home = into.parent / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**clean, "HOME": str(home)})
    if done.returncode != 0:
        raise Refused(done.stdout + done.stderr)
    (made,) = into.iterdir()
    return made


def repository(into: Path) -> Path:
    """The working tree's files in a git repository of their own, as a user of the template would clone it."""
    copy_tree(into)
    start(into)
    return into


def copy_tree(into: Path) -> None:
    """Copy the working tree's files, those that git ignores left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, into / name
        if source.exists() or source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def start(folder: Path) -> None:
    """Put a folder under git, and commit what is in it."""
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "config", "user.name", "tests")
    git(folder, "config", "user.email", "tests@localhost")
    commit(folder, "Start")


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def files(folder: Path, without: tuple[str, ...] = KEPT) -> dict[str, bytes]:
    """Every file's content by its path; unless asked for, not what the tools keep: environments are hundreds of megabytes."""
    found: dict[str, bytes] = {}
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in without]
        paths = [Path(here, name) for name in names]
        found |= {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}
    return found


def invoke(folder: Path, *words: str, code: int = 0) -> str:
    """Run ``invoke`` in a bake, with this checkout's package; its output. Fails on another exit code than ``code``."""
    hidden = ("PIPELINE_", "AWS_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(hidden) or k == "PIPELINE_CACHE"}
    variables = {**clean, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "invoke", *words]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == code, f"invoke {' '.join(words)} ended with {done.returncode}:\n{said}"
    assert "Traceback" not in said, said
    return said
