"""The promoted models, which are listed in ``model.lock``."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ml_delivery.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml_delivery.files import Files

__all__ = ["Promoted", "promoted"]

LOCK = "model.lock"


@dataclass(frozen=True)
class Promoted:
    """A promoted model: ``role`` is its table's name, ``file`` its path in the service's folder, ``content`` its bytes."""

    role: str
    digest: str
    file: str
    content: bytes = field(repr=False)


def promoted(root: Path, *, required: bool, files: Files | None = None) -> list[Promoted]:
    """The models in ``model.lock``, in order, each checked against its digest; the first is the primary one.

    A table of ``model.lock`` is a model if it has a ``file``. Without ``model.lock`` there are none.

    Args:
        root: the service's folder.
        required: whether the service has models, so that ``model.lock`` must exist.
        files: what they are read from; default: the disk.

    Raises:
        ModelError: ``model.lock`` is required but missing, it can't be read, or a file is missing or changed.
        SourceError: ``files`` can't have one.
    """

    def disk(name: str) -> bytes:
        return (root / name).read_bytes()

    try:
        lock = tomllib.loads((files.one if files else disk)(LOCK).decode("utf-8-sig"))
    except FileNotFoundError as error:
        if not required:
            return []
        raise ModelError(f"there is no model yet (no {LOCK})", next="invoke train promote") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{LOCK}: {error}", next=f"git restore {LOCK}, or invoke train promote") from error
    models = []
    for role, table in lock.items():
        if not isinstance(table, dict) or "file" not in table:
            continue
        if not isinstance(table["file"], str) or not isinstance(table.get("digest"), str):
            raise ModelError(f"{LOCK}: [{role}] needs file and digest, both strings", next="invoke train promote")
        models.append(_verified(role, table["digest"], table["file"], files.pinned if files else disk))
    if not models:
        raise ModelError(f"{LOCK} names no model: no table has a file", next="invoke train promote")
    return models


def _verified(role: str, digest: str, file: str, read: Callable[[str], bytes]) -> Promoted:
    try:
        content = read(file)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ModelError(f"the {role} model {file} is missing", next=f"git restore {file}") from error
    found = "sha256:" + hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ModelError(
            f"{file} is not the model that {LOCK} names: its digest is {found}, {LOCK} has {digest}",
            next=f"git restore {file} {LOCK}, or invoke train promote",
        )
    return Promoted(role, digest, file, content)
