"""The promoted models, found, verified and opened; without pickle, and without what trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import orjson
from numpy.typing import NDArray

from ml_service import models
from ml_service.models import LOCK, ModelFault
from service import features

__all__ = ["LOCK", "Model", "ModelFault", "load", "open_model"]


@dataclass(frozen=True)
class Model:
    """An opened model: its role, kind, digest, and what it knows of each product, by stock code (``decisions.products``).

    Attributes:
        weekday: the factor of each weekday, Monday first; 0 on closed ones.
        seasonal: whether it sees the season; ``scale``: what all levels are multiplied by.
        spread: of daily sales about their mean; each a list, of orders a day, and of multiples of the mean.
        recommended: the prices that it recommended in training, as shares of the current ones, sorted.
    """

    role: str
    kind: str
    digest: str
    products: dict[str, dict[str, Any]]
    session: onnxruntime.InferenceSession
    weekday: tuple[float, ...]
    seasonal: bool
    scale: float
    spread: dict[str, list[float]]
    recommended: tuple[float, ...]

    def ratio(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Expected sales for each row of ``features.NAMES``, as a multiple of the product's base: an array [n].

        Raises:
            ModelFault: the model failed, or its answer is not a number.
        """
        try:
            answer = self.session.run(["ratio"], {"features": rows})[0].ravel().astype(np.float64)
        except Exception as error:  # as below
            raise ModelFault(f"{self.role} {self.kind}: {error}") from error
        if not np.isfinite(answer).all():
            raise ModelFault(f"{self.role} {self.kind}: the answer is not finite")
        return np.asarray(answer)


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
        known = {key: orjson.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
        products = {product["stockcode"]: product for product in known["products"]}
        made = Model(
            role=role,
            kind=known["kind"],
            digest=digest,
            products=products,
            session=session,
            weekday=tuple(known["weekday"]),
            seasonal=known["seasonal"],
            scale=known["scale"],
            spread=known["spread"],
            recommended=tuple(known["recommended"]),
        )
    except Exception as error:  # onnxruntime raises classes of its own, without a common base
        raise ModelFault(f"{file} can't be opened: {error}") from error
    if known["features"] != list(features.NAMES):
        raise ModelFault(f"{file} was made with the features {known['features']}, the code has {list(features.NAMES)}")
    return made
