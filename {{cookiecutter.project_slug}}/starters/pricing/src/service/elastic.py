"""ElasticNet with an elasticity and a season per product: sparse in training, two table look-ups when it serves.

An example of a model of your own: it learns, predicts, and exports itself as an ONNX graph.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet

from service.features import NAMES

__all__ = ["ElasticPrices"]

PRODUCT, WEEKDAY = NAMES.index("product"), NAMES.index("weekday")
# The features that have a weight per product, besides the product itself.
OWN = [i for i in range(len(NAMES)) if i not in (PRODUCT, WEEKDAY)]


class ElasticPrices:
    """Log sales, linear in price and season with weights per product, and in the weekday."""

    def __init__(self, **parameters: Any) -> None:
        self._net = ElasticNet(**parameters)
        self._products = np.zeros((1, 1 + len(OWN)))  # a row per product, one of common weights; level first
        self._weekdays = np.zeros((7, 1))

    def fit(self, features: NDArray[np.float32], log_sales: NDArray[np.float64]) -> ElasticPrices:
        product, weekday = features[:, PRODUCT].astype(int), features[:, WEEKDAY].astype(int)
        count, numbers = int(product.max()) + 1, features[:, OWN].astype(np.float64)
        here = sparse.csr_matrix((np.ones(len(product)), (np.arange(len(product)), product)), (len(product), count))
        days = sparse.csr_matrix((np.ones(len(weekday)), (np.arange(len(weekday)), weekday)), (len(weekday), 7))
        own = [here.multiply(numbers[:, [i]]) for i in range(len(OWN))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the evaluation decides, converged or not
            self._net.fit(sparse.hstack([here, *own, numbers, days], format="csc"), log_sales)
        weights = self._net.coef_
        each, common = weights[: count * (1 + len(OWN))].reshape(1 + len(OWN), count).T, weights[-7 - len(OWN) : -7]
        shared = np.concatenate([[self._net.intercept_], common])
        self._products = np.vstack([each, np.zeros(1 + len(OWN))]) + shared
        self._weekdays = weights[-7:, None]
        return self

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        # A product that was not in training gets the common weights, which are the last row.
        rows = self._products[np.minimum(features[:, PRODUCT].astype(int), len(self._products) - 1)]
        level, own = rows[:, 0], (rows[:, 1:] * features[:, OWN]).sum(axis=1)
        return np.asarray(level + own + self._weekdays[features[:, WEEKDAY].astype(int), 0])

    def graph(self) -> onnx.ModelProto:
        pick = np.zeros((len(NAMES), 1 + len(OWN)), np.float32)
        pick[OWN, range(1, 1 + len(OWN))] = 1
        one = np.eye(1, 1 + len(OWN), dtype=np.float32)
        constants = {
            "products": self._products.astype(np.float32),
            "weekdays": self._weekdays.astype(np.float32),
            "pick": pick,
            "one": one,
            "at_product": np.array(PRODUCT),
            "at_weekday": np.array(WEEKDAY),
            "across": np.array([1]),
        }
        nodes = [
            helper.make_node("Gather", ["features", "at_product"], ["product"], axis=1),
            helper.make_node("Cast", ["product"], ["row"], to=TensorProto.INT64),
            helper.make_node("Gather", ["products", "row"], ["weights"], axis=0),
            helper.make_node("MatMul", ["features", "pick"], ["picked"]),
            helper.make_node("Add", ["picked", "one"], ["numbers"]),
            helper.make_node("Mul", ["weights", "numbers"], ["weighted"]),
            helper.make_node("ReduceSum", ["weighted", "across"], ["own"], keepdims=1),
            helper.make_node("Gather", ["features", "at_weekday"], ["weekday"], axis=1),
            helper.make_node("Cast", ["weekday"], ["day"], to=TensorProto.INT64),
            helper.make_node("Gather", ["weekdays", "day"], ["on_weekday"], axis=0),
            helper.make_node("Add", ["own", "on_weekday"], ["log_sales"]),
        ]
        inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(NAMES)])]
        outputs = [helper.make_tensor_value_info("log_sales", TensorProto.FLOAT, [None, 1])]
        known = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        drawn = helper.make_graph(nodes, "elastic", inputs, outputs, known)
        return helper.make_model(drawn, opset_imports=[helper.make_opsetid("", 17)])
