"""Trained models, kept by digest under ``.pipeline/models``, and the record of the last training.

They can be made again, so they are not in git; what is promoted of them goes to ``models/``, which is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from service.data import digest as digest_of

__all__ = ["Missing", "Run", "digest", "last_run", "read", "store", "write_run"]

FOLDER = ".pipeline/models"


class Missing(Exception):
    """What was asked for is not there, or is not what it was."""


@dataclass(frozen=True)
class Run:
    """A training: what it was of, and the digests of the models that it made, best first.

    Attributes:
        source: of the data, empty for generated ones; ``seed`` is theirs and the models'.
        cleaning: what was dropped of it.
        data: the digest of what was left, which is kept beside the models.
    """

    source: str
    seed: int
    cleaning: str
    data: str
    models: list[str]


def store(root: Path, content: bytes, metadata: dict[str, Any]) -> str:
    """Keep a model with what is known of it; its digest."""
    name = digest(content)
    _write(_path(root, name, ".onnx"), content)
    _write(_path(root, name, ".json"), json.dumps(metadata, indent=1).encode())
    return name


def read(root: Path, name: str) -> tuple[bytes, dict[str, Any]]:
    """The model of digest ``name``, checked against it, and what is known of it.

    Raises:
        Missing: it is gone or was altered.
    """
    try:
        content = _path(root, name, ".onnx").read_bytes()
        metadata = json.loads(_path(root, name, ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Missing(f"the trained model {name} can't be read: {error}") from error
    if digest(content) != name:
        raise Missing(f"{_path(root, name, '.onnx').name} was altered: it is {digest(content)}")
    return content, metadata


def write_run(root: Path, run: Run, transactions: pd.DataFrame) -> None:
    """Record the last training, and keep what it was of, so that its models are judged on nothing else."""
    transactions.to_parquet(root / FOLDER / "data.parquet", index=False)
    _write(root / FOLDER / "run.json", json.dumps(asdict(run), indent=1).encode())


def last_run(root: Path) -> tuple[Run, pd.DataFrame]:
    """The last training, and its transactions.

    Raises:
        Missing: there was none, or what is kept of it was altered.
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
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)
