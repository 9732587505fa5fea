"""The models, behind one interface: an estimator of log sales that converts to ONNX with its preprocessing."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from lightgbm import LGBMRegressor
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import ElasticNet
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures

from service.features import NAMES

__all__ = ["KINDS", "export", "predict"]

# What onnxruntime 1.16, the oldest that serves, can read.
OPSET = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8

update_registered_converter(
    LGBMRegressor, "LightGbmLGBMRegressor", calculate_linear_regressor_output_shapes, convert_lightgbm
)


def _encoded() -> ColumnTransformer:
    """Product and weekday as one column per value; price and season as they are."""
    once = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = [("category", once, [NAMES.index("product"), NAMES.index("weekday")])]
    return ColumnTransformer(columns, remainder="passthrough")


def elasticnet(seed: int) -> Pipeline:
    """Log sales linear in each product's own price: an elasticity per product."""
    crossed = PolynomialFeatures(degree=2, interaction_only=True, include_bias=False)
    return make_pipeline(_encoded(), crossed, ElasticNet(alpha=1e-4, l1_ratio=0.5, max_iter=2000, random_state=seed))


def lightgbm(seed: int) -> Pipeline:
    """Boosted trees; one thread and fixed order, so that the same data gives the same trees."""
    trees = LGBMRegressor(
        n_estimators=200,
        learning_rate=0.06,
        num_leaves=15,
        min_child_samples=20,
        deterministic=True,
        force_row_wise=True,
        n_jobs=1,
        random_state=seed,
        verbose=-1,
    )
    return make_pipeline(_encoded(), trees)


KINDS: dict[str, Callable[[int], Pipeline]] = {"elasticnet": elasticnet, "lightgbm": lightgbm}


def predict(model: Pipeline, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Expected sales, in units a day, never negative."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return np.maximum(np.expm1(np.asarray(model.predict(features), dtype=np.float64)), 0.0)


def export(model: Pipeline, metadata: dict[str, Any]) -> bytes:
    """The fitted model as ONNX: input ``features`` [n, 5], output ``sales`` [n, 1]; the same bytes for the same model."""
    graph = convert_sklearn(
        model, initial_types=[("features", FloatTensorType([None, len(NAMES)]))], target_opset=OPSET
    )
    graph.ir_version = IR_VERSION
    out = graph.graph.output[0].name
    nodes = [
        helper.make_node("Exp", [out], ["exp"]),
        helper.make_node("Sub", ["exp", "one"], ["minus"]),
        helper.make_node("Relu", ["minus"], ["sales"]),
    ]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.append(helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]))
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info("sales", TensorProto.FLOAT, [None, 1]))
    graph.graph.name = "demand"  # skl2onnx would put a random name here
    graph.producer_version = graph.doc_string = ""
    # skl2onnx takes these from a set, in an order that changes from run to run.
    opsets = sorted(((o.domain, o.version) for o in graph.opset_import), key=lambda o: o[0])
    del graph.opset_import[:]
    graph.opset_import.extend(helper.make_opsetid(*opset) for opset in opsets)
    helper.set_model_props(graph, {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()})
    onnx.checker.check_model(graph)
    return bytes(graph.SerializeToString(deterministic=True))
