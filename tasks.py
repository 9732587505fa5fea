"""Actions on this repository: ``invoke --list`` shows them. Those of a service are in ``ml_delivery.tasks``."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from invoke import Exit, task

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
sys.path.insert(0, str(ROOT / "hooks"))

import package_wheel  # noqa: E402


@task
def build(_: Any) -> None:
    """Pack the delivery package into dist/: the same bytes as a bake vendors, and the source archive beside it."""
    DIST.mkdir(exist_ok=True)
    for older in DIST.iterdir():
        older.unlink()
    with contextlib.chdir(ROOT):  # where pip and uv call it
        for name in (package_wheel.build_wheel(str(DIST)), package_wheel.build_sdist(str(DIST))):
            print(f"dist/{name}  sha256:{package_wheel.digest((DIST / name).read_bytes())}")


@task(
    pre=[build],
    help={
        "check": "the tag, such as v0.1.0: must agree with __version__ and with a section of CHANGELOG.md",
        "digest": "the wheel's sha256 that was built before; must be the one that is built now",
    },
)
def release(_: Any, check: str, digest: str = "") -> None:
    """Check that what is in dist/ may be released as a tag, and write the changelog's section to dist/notes.md."""
    version = package_wheel.version(ROOT)
    if check != f"v{version}":
        stop(f"the tag is {check}, __version__ is {version}", f"git tag v{version}, or change __version__")
    (DIST / "notes.md").write_text(_notes(version), encoding="utf-8")
    if changed := _git("status", "--porcelain", "--", "src", "hooks", "pyproject.toml", "LICENSE"):
        stop(f"what is packed is not what is committed:\n  {changed}", "commit, or restore it")
    built = package_wheel.digest((DIST / package_wheel.name(ROOT)).read_bytes())
    if digest not in ("", built):
        stop(f"the wheel has sha256 {built}, before it had {digest}", "compare both, this machine's and the other's")
    if (vendored := _vendored()) != built:
        stop(f"the wheel has sha256 {built}, a bake vendors {vendored}", "compare hooks/package_wheel.py and the hook")
    if path := os.environ.get("GITHUB_OUTPUT"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"digest={built}\n")
    print(f"{check} may be released: {package_wheel.name(ROOT)}, sha256 {built}, as a bake vendors it")


def stop(what: str, remedy: str) -> None:
    """End the task in words."""
    raise Exit(f"✗ {what}\n  next: {remedy}", 1)


def _notes(version: str) -> str:
    """The changelog's section of ``version``, which must be dated, the newest, say something, and have all changes."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    _, *sections = re.split(r"^## ", text, flags=re.M)
    released = [section for section in sections if not section.startswith("[Unreleased]")]
    if any(section.partition("\n")[2].strip() for section in sections if section not in released):
        stop("CHANGELOG.md: [Unreleased] is not empty", f"move what it lists into the section of {version}")
    head, _, notes = (released or [""])[0].partition("\n")
    if not re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", head):
        found = f"its newest section is {head!r}" if head else "it has no section but [Unreleased]"
        stop(f"CHANGELOG.md: {found}", f'write "## [{version}] - YYYY-MM-DD" below [Unreleased]')
    if not notes.strip():
        stop(f"CHANGELOG.md: the section of {version} is empty", "say there what is new")
    return notes.strip() + "\n"


def _vendored() -> str:
    """The sha256 of the wheel in a bake of this checkout."""
    from cookiecutter.main import cookiecutter

    with tempfile.TemporaryDirectory() as folder:
        made = Path(cookiecutter(str(ROOT), no_input=True, output_dir=folder))
        return package_wheel.digest((made / "vendor" / package_wheel.name(ROOT)).read_bytes())


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
