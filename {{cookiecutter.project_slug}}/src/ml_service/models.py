"""The promoted models: named in ``model.lock``, and verified by digest before they are opened."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["LOCK", "Model", "ModelFault", "find_root", "load", "write"]

LOCK = "model.lock"


class ModelFault(Exception):
    """A model is missing, is not the one that ``model.lock`` names, or can't be opened."""


@dataclass(frozen=True)
class Model:
    """A verified model: its role, digest and file as ``model.lock`` names them, and the file's content."""

    role: str
    digest: str
    file: str
    content: bytes


def find_root() -> Path:
    """The nearest folder above this package that holds ``model.lock``: the artifact's root, or the checkout's.

    Raises:
        ModelFault: there is none.
    """
    for folder in Path(__file__).parents:
        if (folder / LOCK).is_file():
            return folder
    raise ModelFault(f"no {LOCK} in or above the package; train a model first")


def load(root: Path | None = None) -> list[Model]:
    """The models that ``model.lock`` names, in its order: the first is the primary one.

    A table of the lock is a model when it has a ``file``; other tables are the service's own notes.

    Args:
        root: the folder of ``model.lock``; default: ``find_root()``.

    Raises:
        ModelFault: the lock or a model is missing or altered, or the lock names no model.
    """
    root = root or find_root()
    try:
        lock = tomllib.loads((root / LOCK).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ModelFault(f"{LOCK} can't be read: {error}") from error
    models = [_read(root, role, table) for role, table in lock.items() if isinstance(table, dict) and "file" in table]
    if not models:
        raise ModelFault(f"{LOCK} names no model")
    return models


def write(root: Path, role: str, content: bytes, suffix: str) -> str:
    """Promote ``content`` as the only model: write ``models/<digest><suffix>`` and ``model.lock``; returns its digest.

    ``model.lock`` is replaced atomically; then the previous files in ``models/`` are removed.
    """
    digest = hashlib.sha256(content).hexdigest()
    file = root / "models" / f"{digest[:12]}{suffix}"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    lines = ["# Names the model that serves, by digest. Written by `invoke promote`; commit it with models/."]
    lines += ["", f"[{role}]", f'digest = "sha256:{digest}"', f'file = "models/{file.name}"']
    new = root / f"{LOCK}.new"
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new.replace(root / LOCK)
    for old in file.parent.iterdir():
        if old != file:
            old.unlink()
    return f"sha256:{digest}"


def _read(root: Path, role: str, table: dict[str, Any]) -> Model:
    file = str(table["file"])
    try:
        content = (root / file).read_bytes()
    except OSError as error:
        raise ModelFault(f"the {role} model {file} can't be read: {error}") from error
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if digest != table.get("digest"):
        raise ModelFault(f"{file} is {digest}, {LOCK} names {table.get('digest')}")
    return Model(role, digest, file, content)
