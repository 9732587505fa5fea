"""The promoted models, which are listed in ``model.lock``."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Promoted", "promoted"]

LOCK = "model.lock"


@dataclass(frozen=True)
class Promoted:
    """A promoted model: ``role`` is its table's name, ``file`` its path in the service's folder."""

    role: str
    digest: str
    file: str


def promoted(root: Path, *, required: bool) -> list[Promoted]:
    """The models in ``model.lock``, in order, each checked against its digest; the first is the primary one.

    A table of ``model.lock`` is a model if it has a ``file``. Without ``model.lock`` there are none.

    Args:
        root: the service's folder.
        required: whether the service has models, so that ``model.lock`` must exist.

    Raises:
        ModelError: ``model.lock`` is required but missing, it can't be read, or a file is missing or changed.
    """
    try:
        lock = tomllib.loads((root / LOCK).read_text(encoding="utf-8"))
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
        model = Promoted(role, table["digest"], table["file"])
        _verify(root, model)
        models.append(model)
    if not models:
        raise ModelError(f"{LOCK} names no model: no table has a file", next="invoke train promote")
    return models


def _verify(root: Path, model: Promoted) -> None:
    path = root / model.file
    if not path.is_file():
        raise ModelError(f"the {model.role} model {model.file} is missing", next=f"git restore {model.file}")
    digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != model.digest:
        raise ModelError(
            f"{model.file} is not the model that {LOCK} names: its digest is {digest}, {LOCK} has {model.digest}",
            next=f"git restore {model.file} {LOCK}, or invoke train promote",
        )
