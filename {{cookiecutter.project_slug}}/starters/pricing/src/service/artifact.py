"""The promoted models, found, verified and opened; with numpy and onnxruntime only, and without pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ml_service import models
from ml_service.models import LOCK, ModelFault
from service import features

__all__ = ["LOCK", "Model", "ModelFault", "load", "open_model"]


@dataclass(frozen=True)
class Model:
    """An opened model: its role, kind, digest, and what it knows of each product, by stock code.

    ``recommended`` are the prices that it recommended in training, as shares of the usual prices, sorted; empty: unknown.
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
            ModelFault: the model failed, or its answer is not a number.
        """
        try:
            answer: NDArray[np.float32] = self.session.run(["sales"], {"features": rows})[0].ravel()
        except Exception as error:  # as below
            raise ModelFault(f"{self.role} {self.kind}: {error}") from error
        if not np.isfinite(answer).all():
            raise ModelFault(f"{self.role} {self.kind}: the answer is not finite")
        return answer


def load(root: Path | None = None) -> list[Model]:
    """The models that ``model.lock`` names, primary first, each verified against its digest.

    Args:
        root: the folder of ``model.lock``; default: the artifact's root, or the checkout's.

    Raises:
        ModelFault: a model is missing, altered, or can't be opened; the message names it.
    """
    return [open_model(found.content, found.role, found.digest, found.file) for found in models.load(root)]


def open_model(content: bytes, role: str, digest: str, file: str) -> Model:
    """An ONNX model, opened.

    Raises:
        ModelFault: it can't be opened; the message names ``file``.
    """
    options = onnxruntime.SessionOptions()
    # One request has a hundred rows: threads would cost more time than they save.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        known = session.get_modelmeta().custom_metadata_map
        kind, products, names = (json.loads(known[key]) for key in ("kind", "products", "features"))
        recommended = tuple(json.loads(known.get("recommended", "[]")))
    except Exception as error:  # onnxruntime raises classes of its own, without a common base
        raise ModelFault(f"{file} can't be opened: {error}") from error
    if names != list(features.NAMES):
        raise ModelFault(f"{file} was made with the features {names}, the code has {list(features.NAMES)}")
    indexed = {product["stockcode"]: {**product, "index": i} for i, product in enumerate(products)}
    return Model(role, kind, digest, indexed, session, recommended)
