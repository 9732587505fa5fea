"""The promoted models, as ``model.lock`` names them."""

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
    """A promoted model: ``role`` is primary or backup, ``file`` its path in the service's folder."""

    role: str
    kind: str
    digest: str
    file: str


def promoted(root: Path) -> list[Promoted]:
    """The models that ``model.lock`` names, primary first, each checked against its digest.

    Raises:
        ModelError: there is no lock, it can't be read, or a file is missing or altered.
    """
    try:
        lock = tomllib.loads((root / LOCK).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"there is no model yet (no {LOCK})", next="invoke train promote") from error
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{LOCK}: {error}", next=f"git restore {LOCK}, or invoke train promote") from error
    models = []
    for role in ("primary", "backup"):
        if role not in lock:
            continue
        try:
            model = Promoted(role, lock[role]["kind"], lock[role]["digest"], lock[role]["file"])
        except (KeyError, TypeError) as error:
            raise ModelError(f"{LOCK}: {role} lacks {error}", next="invoke train promote") from error
        _verify(root, model)
        models.append(model)
    if not models or models[0].role != "primary":
        raise ModelError(f"{LOCK} names no primary model", next="invoke train promote")
    return models


def _verify(root: Path, model: Promoted) -> None:
    path = root / model.file
    if not path.is_file():
        raise ModelError(f"the {model.role} model {model.file} is missing", next=f"git restore {model.file}")
    digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != model.digest:
        raise ModelError(
            f"{model.file} is not the model that {LOCK} names: it is {digest}, the lock says {model.digest}",
            next=f"git restore {model.file} {LOCK}, or invoke train promote",
        )
