"""Trained models, kept by digest under ``.pipeline/models``, and the record of the last training.

They can be trained again, so they are not in git; the promoted ones are copied to ``models/``, which is in git.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from service.cleaning import digest as digest_of

__all__ = ["Missing", "Run", "digest", "last_run", "read", "size", "store", "write_run"]

FOLDER = ".pipeline/models"


class Missing(Exception):
    """A trained model or its data are missing, or were altered."""


@dataclass(frozen=True)
class Run:
    """A training: its data, and the digests of the models that it made, best first.

    Attributes:
        source: where the data are from, empty for generated data; ``seed`` was used for these and for the models.
        cleaning: what was dropped from the data.
        data: the digest of the remaining rows, which are stored beside the models.
    """

    source: str
    seed: int
    cleaning: str
    data: str
    models: list[str]


def store(root: Path, content: bytes, metadata: dict[str, Any]) -> str:
    """Store a model and its metadata; returns its digest."""
    name = digest(content)
    _write(_path(root, name, ".onnx"), content)
    _write(_path(root, name, ".json"), json.dumps(metadata, indent=1).encode())
    return name


def read(root: Path, name: str) -> tuple[bytes, dict[str, Any]]:
    """The model with the digest ``name``, verified, and its metadata.

    Raises:
        Missing: it is missing or was altered.
    """
    try:
        content = _path(root, name, ".onnx").read_bytes()
        metadata = json.loads(_path(root, name, ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Missing(f"the trained model {name} can't be read: {error}") from error
    if digest(content) != name:
        raise Missing(f"{_path(root, name, '.onnx').name} was altered: it is {digest(content)}")
    return content, metadata


def size(root: Path, name: str) -> int:
    """The bytes of the model with the digest ``name``; 0 when it is not of a training."""
    path = _path(root, name, ".onnx")
    return path.stat().st_size if path.is_file() else 0


def write_run(root: Path, run: Run, transactions: pd.DataFrame) -> None:
    """Record the last training, and store its data, so that its models are evaluated on exactly these."""
    transactions.to_parquet(root / FOLDER / "data.parquet", index=False)
    _write(root / FOLDER / "run.json", json.dumps(asdict(run), indent=1).encode())


def last_run(root: Path) -> tuple[Run, pd.DataFrame]:
    """The last training, and its transactions.

    Raises:
        Missing: there was no training, or its stored data were altered.
    """
    try:
        run = Run(**json.loads((root / FOLDER / "run.json").read_text(encoding="utf-8")))
        transactions = pd.read_parquet(root / FOLDER / "data.parquet")
    except FileNotFoundError as error:
        raise Missing("nothing has been trained yet") from error
    except (OSError, ValueError, TypeError) as error:
        raise Missing(f"the record of the last training can't be read: {error}") from error
    if (found := digest_of(transactions)) != run.data:
        raise Missing(f"{FOLDER}/data.parquet was altered: it is {found}, not {run.data}")
    return run, transactions


def digest(content: bytes) -> str:
    """``sha256:…``"""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _path(root: Path, name: str, suffix: str) -> Path:
    return root / FOLDER / f"{name.removeprefix('sha256:')[:12]}{suffix}"


def _write(path: Path, content: bytes) -> None:
    """Write the file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)
