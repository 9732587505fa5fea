"""Copies the delivery package into the service's own tree, so that it can be changed: ``invoke eject``.

The copy is three folders next to ``tasks.py``. ``invoke``, which puts the folder of ``tasks.py`` first on the import path, and
``python -m``, which puts the current folder there, find them before the installed package, in every clone of the repository.
The copy contains the wheel's RECORD, from which later changes are detected.
https://packaging.python.org/en/latest/specifications/recording-installed-packages/
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ml_delivery import __version__
from ml_delivery.errors import PipelineError, SetupError

__all__ = ["FOLDERS", "Package", "eject", "state", "undo"]

FOLDERS = ("embedded_aws", "ml_pages", "ml_delivery")  # in this order: RECORD in the last one marks a complete copy
RECORD = "ml_delivery/RECORD"
NAME = "ml-delivery"


@dataclass(frozen=True)
class Package:
    """The delivery package that a service runs.

    Attributes:
        version: of the code that runs.
        installed: the version in ``.venv``; differs from ``version`` after an update of a service with a copy.
        where: ``vendored``, ``installed`` (from an index), ``ejected``, or ``imported`` from a checkout.
        changed: the files of an ejected copy that were changed, added or removed, by their paths in the service.
    """

    version: str
    installed: str
    where: str
    changed: tuple[str, ...] = ()


def state(root: Path) -> Package:
    """The package that the service in ``root`` runs."""
    try:
        installed = metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return Package(__version__, __version__, "imported")
    if not (root / RECORD).is_file():
        vendored = list((root / "vendor").glob(f"ml_delivery-{installed}-*.whl"))
        return Package(installed, installed, "vendored" if vendored else "installed")
    text = (root / "ml_delivery/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.M)
    recorded = _recorded((root / RECORD).read_text(encoding="utf-8"))
    there = {path: _digest(root / path) for folder in FOLDERS for path in _files(root, folder)}
    changed = {path for path in recorded.keys() | there.keys() if recorded.get(path) != there.get(path)}
    return Package(found[1] if found else "unknown", installed, "ejected", tuple(sorted(changed)))


def eject(root: Path) -> Package:
    """Copy the installed package into ``root``, and return it. Idempotent: an identical copy is left unchanged.

    Raises:
        PipelineError: there is a different copy, or another folder with that name.
        SetupError: the package is imported from a checkout, so there is no installed package to copy.
    """
    before = state(root)
    if before.where == "ejected":
        if before.version != before.installed or before.changed:
            kept = "was changed" if before.changed else f"is version {before.version}"
            raise PipelineError(
                f"there is already a copy, and it {kept}",
                next=f"git diff, then invoke eject --undo{' --yes' if before.changed else ''} && invoke eject",
            )
        return before
    distribution = None if before.where == "imported" else metadata.distribution(NAME)
    record = (distribution.read_text("RECORD") if distribution else "") or ""
    recorded = _recorded(record)
    if not distribution or not recorded:
        raise SetupError(
            "ml-delivery is imported from a checkout; there is nothing to copy", next="change that checkout"
        )
    for folder in FOLDERS:
        # What an interrupted run left is identical to the package; anything else belongs to the owner.
        if (root / folder).exists() and any(recorded.get(p) != _digest(root / p) for p in _files(root, folder)):
            raise PipelineError(f"{folder}/ exists and is not a copy of the package", next=f"rename {folder}/")
    with tempfile.TemporaryDirectory(dir=root, prefix=".eject-") as scratch:
        for path in recorded:
            target = Path(scratch, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(str(distribution.locate_file(path))).read_bytes())
        Path(scratch, RECORD).write_text(record, encoding="utf-8")
        for folder in FOLDERS:
            shutil.rmtree(root / folder, ignore_errors=True)
            os.replace(Path(scratch, folder), root / folder)
    return state(root)


def undo(root: Path, *, changed: bool = False) -> Package:
    """Remove the copy from ``root``, and return the package that runs then. Removes a changed copy only with ``changed``.

    Raises:
        PipelineError: there is no copy, or it was changed.
    """
    before = state(root)
    if before.where != "ejected":
        raise PipelineError("there is no copy of the package here, so there is nothing to undo")
    if before.changed and not changed:
        raise PipelineError(
            f"the copy was changed: {', '.join(before.changed)}; these changes would be lost",
            next="git diff, then invoke eject --undo --yes",
        )
    with tempfile.TemporaryDirectory(dir=root, prefix=".eject-") as scratch:
        for folder in FOLDERS:
            if (root / folder).exists():
                os.replace(root / folder, Path(scratch, folder))
    return state(root)


def _recorded(record: str) -> dict[str, str]:
    """The package's files and their hashes, from a RECORD."""
    rows = [
        row for row in csv.reader(record.splitlines()) if row and row[0].startswith(tuple(f"{f}/" for f in FOLDERS))
    ]
    return {row[0]: row[1] for row in rows if row[1]}


def _files(root: Path, folder: str) -> list[str]:
    """The files in an ejected folder, without RECORD and files that tools create."""
    found = [path.relative_to(root) for path in (root / folder).rglob("*") if path.is_file()]
    kept = [path for path in found if not any(part.startswith((".", "__pycache__")) for part in path.parts)]
    return [path.as_posix() for path in kept if path.as_posix() != RECORD]


def _digest(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
