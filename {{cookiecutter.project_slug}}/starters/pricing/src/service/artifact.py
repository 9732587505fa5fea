"""The promoted models, found, verified and opened; with numpy and onnxruntime only, and nothing unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service import features

__all__ = ["LOCK", "Model", "ModelFault", "Release", "find_root", "load", "open_model", "release"]

LOCK = "model.lock"


class ModelFault(Exception):
    """A model is missing, is not the one that ``model.lock`` names, or can't be opened."""


@dataclass(frozen=True)
class Release:
    """What this process is part of; ``number`` is 0 and the rest empty where nothing was built."""

    number: int
    commit: str
    version: str
    content: str


@dataclass(frozen=True)
class Model:
    """An opened model: its role, kind, digest, and what it knows of each product, by stock code.

    ``recommended`` are the prices that it recommended in training, as shares of the usual ones, in order; empty: unknown.
    """

    role: str
    kind: str
    digest: str
    products: dict[str, dict[str, Any]]
    session: onnxruntime.InferenceSession
    recommended: tuple[float, ...] = ()

    def sales(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Expected units a day for each row of ``rows`` [n, 5]: an array [n].

        Raises:
            ModelFault: the model failed, or answered what is not a number.
        """
        try:
            answer: NDArray[np.float32] = self.session.run(["sales"], {"features": rows})[0].ravel()
        except Exception as error:  # as below
            raise ModelFault(f"{self.role} {self.kind}: {error}") from error
        if not np.isfinite(answer).all():
            raise ModelFault(f"{self.role} {self.kind}: the answer is not finite")
        return answer


def find_root() -> Path:
    """The nearest folder above this package that holds ``model.lock``: the artifact's root, or the checkout's.

    Raises:
        ModelFault: there is none.
    """
    for folder in Path(__file__).parents:
        if (folder / LOCK).is_file():
            return folder
    raise ModelFault("no model.lock in or above the package; train a model first")


def load(root: Path) -> list[Model]:
    """The models that ``model.lock`` names, primary first, each verified against its digest.

    Raises:
        ModelFault: one is missing, altered, or can't be opened; names it.
    """
    lock = tomllib.loads((root / LOCK).read_text(encoding="utf-8"))
    return [_open(root, role, lock[role]) for role in ("primary", "backup") if role in lock]


def release(root: Path) -> Release:
    """What was built and released, from ``release.json`` and the variable ``RELEASE_NUMBER``."""
    try:
        built = json.loads((root / "release.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        built = {"commit": "unreleased", "version": "unreleased", "content": ""}
    number = int(os.environ.get("RELEASE_NUMBER", "0"))
    return Release(number, built["commit"], built["version"], built["content"])


def _open(root: Path, role: str, entry: dict[str, Any]) -> Model:
    path = root / entry["file"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFault(f"the {role} model {entry['file']} can't be read: {error}") from error
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if digest != entry["digest"]:
        raise ModelFault(f"{entry['file']} is {digest}, model.lock names {entry['digest']}")
    return open_model(content, role, digest, entry["file"])


def open_model(content: bytes, role: str, digest: str, file: str) -> Model:
    """An ONNX model, opened.

    Raises:
        ModelFault: it can't be; names ``file``.
    """
    options = onnxruntime.SessionOptions()
    # One request is a hundred rows: threads would cost more than they save.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        known = session.get_modelmeta().custom_metadata_map
        kind, products, told = (json.loads(known[key]) for key in ("kind", "products", "features"))
        recommended = tuple(json.loads(known.get("recommended", "[]")))
    except Exception as error:  # onnxruntime raises classes of its own, without a common base
        raise ModelFault(f"{file} can't be opened: {error}") from error
    if told != list(features.NAMES):
        raise ModelFault(f"{file} was made with the features {told}, the code has {list(features.NAMES)}")
    indexed = {product["stockcode"]: {**product, "index": i} for i, product in enumerate(products)}
    return Model(role, kind, digest, indexed, session, recommended)
