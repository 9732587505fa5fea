"""The models, behind one interface: each learns log sales, declares how it is tuned, and exports itself as an ONNX graph.

A kind of your own is one entry in ``KINDS``, made with any library: only its graph is served. The graph takes
``features`` [n, 5] and returns log(1 + sales) [n, 1], with all preprocessing inside.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
from lightgbm import LGBMRegressor
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVR

from service.elastic import ElasticPrices
from service.features import NAMES

__all__ = ["IR_VERSION", "KINDS", "OPSET", "Kind", "Model", "export", "predict"]

# The latest that onnxruntime 1.16, the oldest version that serves, can read.
OPSET = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8

update_registered_converter(
    LGBMRegressor, "LightGbmLGBMRegressor", calculate_linear_regressor_output_shapes, convert_lightgbm
)


class Model(Protocol):
    """Anything that learns, predicts and exports itself as a graph."""

    def fit(self, features: NDArray[np.float32], log_sales: NDArray[np.float64]) -> Model: ...

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """log(1 + sales) for each row."""

    def graph(self) -> onnx.ModelProto:
        """The same as ONNX, of at most ``OPSET`` and ``IR_VERSION``."""


@dataclass(frozen=True)
class Kind:
    """A kind of model: how it is made from parameters and a seed, its first parameters, and the space to try."""

    make: Callable[[dict[str, Any], int], Model]
    first: dict[str, Any]
    space: dict[str, BaseDistribution]


class FromSklearn:
    """A pipeline of scikit-learn, which learns the deviation of log sales from their mean."""

    def __init__(self, *steps: Any, most: int = 0) -> None:
        self._pipeline: Pipeline = make_pipeline(*steps)
        self._mean = 0.0
        self._most = most  # train on so many of the last rows only, where time grows with their square; 0: on all

    def fit(self, features: NDArray[np.float32], log_sales: NDArray[np.float64]) -> Model:
        self._mean = float(log_sales.mean())
        with warnings.catch_warnings():
            # A network stops after the number of rounds that tuning chose, converged or not.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._pipeline.fit(features[-self._most :], (log_sales - self._mean)[-self._most :])
        return self

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return np.asarray(self._pipeline.predict(features), dtype=np.float64) + self._mean

    def graph(self) -> onnx.ModelProto:
        inputs = [("features", FloatTensorType([None, len(NAMES)]))]
        model: onnx.ModelProto = convert_sklearn(self._pipeline, initial_types=inputs, target_opset=OPSET)
        out = model.graph.output[0].name
        model.graph.initializer.append(helper.make_tensor("mean", TensorProto.FLOAT, [1], [self._mean]))
        model.graph.node.append(helper.make_node("Add", [out, "mean"], ["from_mean"]))
        model.graph.output[0].name = "from_mean"
        return model


def _encoded() -> ColumnTransformer:
    """Product and weekday as one column per value; price and season as they are."""
    once = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = [("category", once, [NAMES.index("product"), NAMES.index("weekday")])]
    return ColumnTransformer(columns, remainder="passthrough")


def elasticnet(parameters: dict[str, Any], seed: int) -> Model:
    """An elasticity and a season per product."""
    return ElasticPrices(**parameters, max_iter=1000, random_state=seed)


def svr(parameters: dict[str, Any], seed: int) -> Model:
    """Support vectors; points within ``epsilon`` need none, which keeps the served model small."""
    return FromSklearn(_encoded(), SVR(**parameters), most=10_000)


def lightgbm(parameters: dict[str, Any], seed: int) -> Model:
    """Boosted trees in which a higher price never sells more; one thread and a fixed order make them reproducible."""
    falling = [-1 if name == "price" else 0 for name in NAMES]
    fixed: dict[str, Any] = {
        "deterministic": True,
        "force_row_wise": True,
        "n_jobs": 1,
        "verbose": -1,
        "random_state": seed,
    }
    return FromSklearn(LGBMRegressor(**parameters, **fixed, monotone_constraints=falling))


def network(parameters: dict[str, Any], seed: int) -> Model:
    """A deep feed-forward network, small enough to learn in a second without torch."""
    layers = {"hidden_layer_sizes": (parameters["width"],) * parameters["depth"]}
    rest = {name: value for name, value in parameters.items() if name not in ("width", "depth")}
    return FromSklearn(_encoded(), MLPRegressor(**layers, **rest, batch_size=256, random_state=seed))


KINDS = {
    "elasticnet": Kind(
        elasticnet,
        {"alpha": 1e-4, "l1_ratio": 0.5},
        {"alpha": FloatDistribution(1e-5, 1e-2, log=True), "l1_ratio": FloatDistribution(0.05, 1.0)},
    ),
    "svr": Kind(
        svr,
        {"C": 10.0, "epsilon": 0.3, "gamma": 0.1},
        {
            "C": FloatDistribution(1.0, 100.0, log=True),
            "epsilon": FloatDistribution(0.15, 0.4),
            "gamma": FloatDistribution(0.01, 0.5, log=True),
        },
    ),
    "lightgbm": Kind(
        lightgbm,
        {"n_estimators": 300, "learning_rate": 0.06, "num_leaves": 15, "min_child_samples": 20},
        {
            "n_estimators": IntDistribution(100, 600, step=50),
            "learning_rate": FloatDistribution(0.02, 0.2, log=True),
            "num_leaves": IntDistribution(7, 31),
            "min_child_samples": IntDistribution(5, 60),
        },
    ),
    "network": Kind(
        network,
        {"width": 32, "depth": 2, "alpha": 1e-2, "learning_rate_init": 3e-3, "max_iter": 60},
        {
            "width": CategoricalDistribution((16, 32, 64)),
            "depth": IntDistribution(2, 3),
            "alpha": FloatDistribution(1e-3, 1e-1, log=True),
            "learning_rate_init": FloatDistribution(1e-3, 1e-2, log=True),
            "max_iter": IntDistribution(30, 90, step=15),
        },
    ),
}


def predict(model: Model, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Expected sales, in units a day, never negative."""
    return np.maximum(np.expm1(model.predict(features)), 0.0)


def export(model: Model, metadata: dict[str, Any]) -> bytes:
    """A fitted model as ONNX: ``features`` [n, 5] → ``sales`` [n, 1], and ``metadata``; the same bytes for the same model."""
    graph = model.graph()
    graph.ir_version = min(graph.ir_version, IR_VERSION)
    out = graph.graph.output[0].name
    nodes = [
        helper.make_node("Exp", [out], ["growth"]),
        helper.make_node("Sub", ["growth", "a_unit"], ["less_one"]),
        helper.make_node("Relu", ["less_one"], ["sales"]),
    ]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.append(helper.make_tensor("a_unit", TensorProto.FLOAT, [1], [1.0]))
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info("sales", TensorProto.FLOAT, [None, 1]))
    graph.graph.name = "demand"  # skl2onnx would write a random name here
    graph.producer_version = graph.doc_string = ""
    # skl2onnx takes these from a set, in an order that changes from run to run.
    opsets = sorted(((o.domain, o.version) for o in graph.opset_import), key=lambda o: o[0])
    del graph.opset_import[:]
    graph.opset_import.extend(helper.make_opsetid(*opset) for opset in opsets)
    helper.set_model_props(graph, {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()})
    onnx.checker.check_model(graph)
    return bytes(graph.SerializeToString(deterministic=True))
