"""Trained models, kept by digest under ``.pipeline/models``, and the record of the last training.

They can be trained again, so they are not in git; the promoted ones are copied to ``models/``, which is in git.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from service.cleaning import digest as digest_of

__all__ = ["Missing", "Run", "collect", "digest", "last_run", "read", "size", "store", "write_run"]

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


def write_run(root: Path, run: Run, transactions: pd.DataFrame, part: str = "") -> None:
    """Record the last training, and store its data, so that its models are evaluated on exactly these.

    ``part`` names the kinds of a training that made only some; ``collect`` makes one of its parts.
    """
    transactions.to_parquet(root / FOLDER / "data.parquet", index=False)
    name = f"run-{part}.json" if part else "run.json"
    _write(root / FOLDER / name, json.dumps(asdict(run), indent=1).encode())


def collect(root: Path, kinds: set[str]) -> None:
    """Make one training of the parts that hosts have trained: the same record as one host writes.

    Raises:
        Missing: the parts are not of one training, a kind is missing or there twice, or a model was altered.
    """
    files = sorted((root / FOLDER).glob("run-*.json"))
    parts = [Run(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
    if len({(part.source, part.seed, part.cleaning, part.data) for part in parts}) != 1:
        raise Missing(f"there are no parts of one training in {FOLDER}: {', '.join(f.name for f in files) or 'none'}")
    # Hosts that learned a model together have the same one.
    made = [(read(root, digest)[1], digest) for digest in sorted({digest for part in parts for digest in part.models})]
    found = sorted(metadata["kind"] for metadata, _ in made)
    if found != sorted(kinds):
        raise Missing(f"the parts have {', '.join(found)}; a training has each of {', '.join(sorted(kinds))} once")
    best = [digest for _, digest in sorted((metadata["score"], digest) for metadata, digest in made)]
    _write(root / FOLDER / "run.json", json.dumps(asdict(replace(parts[0], models=best)), indent=1).encode())
    for file in files:
        file.unlink()


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
