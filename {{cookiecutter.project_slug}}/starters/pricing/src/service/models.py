"""The models, behind one interface: each learns sales as a multiple of a product's recent level, and exports itself to ONNX.

A kind of your own is one entry in ``KINDS``, made with any library: only its graph is served. A graph takes ``scaled``
[n, features], which are ``features.NAMES`` clipped to what was seen and standardized, and returns ``raw`` [n, 1], an
increasing function of log(sales / base). What makes expected sales of it is the same for all kinds: ``Forecast``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
from lightgbm import LGBMRegressor
from lightgbm.basic import LightGBMError
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import ElasticNet
from sklearn.neural_network import MLPRegressor
from sklearn.svm import LinearSVR

from service.features import NAMES
from service.together import Hosts

__all__ = ["IR_VERSION", "KINDS", "OPSET", "Kind", "Model", "Nodes", "linear"]

# The latest that onnxruntime 1.16, the oldest version that serves, can read.
OPSET = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8

Rows = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Nodes:
    """A part of a graph, from ``scaled`` to ``raw``."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]


class Model(Protocol):
    """Anything that learns, predicts and exports itself as a part of a graph."""

    def fit(self, scaled: Rows, ratio: Floats, weight: Floats) -> Model:
        """Learn sales as ``ratio`` of the base; the variance of a row's ratio is as one over its ``weight``."""

    def predict(self, scaled: Rows) -> Floats:
        """``raw`` for each row."""

    def graph(self) -> Nodes:
        """The same as a part of a graph, of at most ``OPSET``."""


@dataclass(frozen=True)
class Kind:
    """A kind of model: how it is made from parameters and a seed, its first parameters, and the space to try."""

    make: Callable[[dict[str, Any], int], Model]
    first: dict[str, Any]
    space: dict[str, BaseDistribution]


def constant(name: str, value: Any) -> onnx.TensorProto:
    """A constant of a graph, in single precision."""
    return numpy_helper.from_array(np.asarray(value, dtype=np.float32), name)


def linear(name: str, weights: Floats, bias: Floats, source: str, target: str) -> Nodes:
    """``target`` = ``source`` @ ``weights`` + ``bias``."""
    constants = [constant(f"{name}_weights", weights), constant(f"{name}_bias", bias)]
    return Nodes([helper.make_node("Gemm", [source, f"{name}_weights", f"{name}_bias"], [target])], constants)


def _log(ratio: Floats) -> Floats:
    """What least squares can learn: zeros are as far below 1 as large sales are above it."""
    return np.asarray(np.log(ratio + 0.2))


class ElasticTrends:
    """Log sales, linear in the features and their squares, with most weights at zero."""

    def __init__(self, **parameters: Any) -> None:
        self._net = ElasticNet(**parameters, precompute=True)

    def fit(self, scaled: Rows, ratio: Floats, weight: Floats) -> ElasticTrends:
        self._net.fit(self._squared(scaled), _log(ratio), sample_weight=np.sqrt(weight))
        return self

    def predict(self, scaled: Rows) -> Floats:
        return np.asarray(self._net.predict(self._squared(scaled)))

    def graph(self) -> Nodes:
        weights = self._net.coef_[:, None]
        nodes = [
            helper.make_node("Mul", ["scaled", "scaled"], ["squares"]),
            helper.make_node("Concat", ["scaled", "squares"], ["with_squares"], axis=1),
        ]
        last = linear("net", weights, np.array([self._net.intercept_]), "with_squares", "raw")
        return Nodes([*nodes, *last.nodes], last.constants)

    @staticmethod
    def _squared(scaled: Rows) -> Floats:
        return np.concatenate([scaled, scaled * scaled], axis=1, dtype=np.float64)


class SupportVectors:
    """Support vector regression on the kernel's main directions (Nyström), so that time grows with rows, not their square."""

    def __init__(self, components: int, gamma: float, seed: int, **parameters: Any) -> None:
        self._kernel = Nystroem(n_components=components, gamma=gamma, random_state=seed)
        # Squared, epsilon-insensitive loss has a primal solution: no random order, and no more than seconds.
        loss = "squared_epsilon_insensitive"
        self._vectors = LinearSVR(loss=loss, dual=False, max_iter=200, random_state=seed, **parameters)

    def fit(self, scaled: Rows, ratio: Floats, weight: Floats) -> SupportVectors:
        inputs = self._kernel.fit_transform(scaled.astype(np.float64))
        self._vectors.fit(inputs, _log(ratio), sample_weight=np.sqrt(weight))
        return self

    def predict(self, scaled: Rows) -> Floats:
        return np.asarray(self._vectors.predict(self._kernel.transform(scaled.astype(np.float64))))

    def graph(self) -> Nodes:
        centres, gamma = self._kernel.components_, self._kernel.gamma
        # exp(-gamma |x - c|²), the square multiplied out.
        nodes = [
            helper.make_node("ReduceSumSquare", ["scaled"], ["norm"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["norm", "minus_gamma"], ["from_norm"]),
            helper.make_node("Add", ["products", "from_norm"], ["exponent"]),
            helper.make_node("Exp", ["exponent"], ["kernel"]),
        ]
        first = linear("centres", 2 * gamma * centres.T, -gamma * (centres**2).sum(axis=1), "scaled", "products")
        weights = self._kernel.normalization_.T @ self._vectors.coef_
        last = linear("vectors", weights[:, None], np.atleast_1d(self._vectors.intercept_), "kernel", "raw")
        constants = [*first.constants, constant("minus_gamma", -gamma), *last.constants]
        return Nodes([*first.nodes, *nodes, *last.nodes], constants)


class Trees:
    """Boosted trees for counts (Poisson); one thread and a fixed order make them reproducible. ``hosts`` learn one together."""

    def __init__(self, seed: int, hosts: Hosts | None = None, **parameters: Any) -> None:
        self._hosts = hosts
        fixed: dict[str, Any] = {"deterministic": True, "force_row_wise": True, "n_jobs": 1, "verbose": -1}
        sampled: dict[str, Any] = {"subsample": 0.8, "subsample_freq": 1, "colsample_bytree": 0.7, "max_bin": 63}
        self._trees = LGBMRegressor(objective="poisson", random_state=seed, **fixed, **sampled, **parameters)

    def fit(self, scaled: Rows, ratio: Floats, weight: Floats) -> Trees:
        if self._hosts is None:
            self._trees.fit(scaled, ratio, sample_weight=weight)
            return self
        rows = self._hosts.rows
        self._trees.set_params(**self._hosts.parameters())
        try:
            self._trees.fit(scaled[rows], ratio[rows], sample_weight=weight[rows])
        except LightGBMError as error:
            raise ValueError(f"the hosts could not learn together: {error}") from error
        self._trees.booster_.free_network()
        return self

    def predict(self, scaled: Rows) -> Floats:
        return np.asarray(self._trees.booster_.predict(scaled, raw_score=True))

    def graph(self) -> Nodes:
        inputs = [("scaled", FloatTensorType([None, len(NAMES)]))]
        made = convert_lightgbm(self._trees, initial_types=inputs, target_opset=15, zipmap=False).graph
        ratio = made.output[0].name
        return Nodes([*made.node, helper.make_node("Log", [ratio], ["raw"])], list(made.initializer))


class Network:
    """A deep feed-forward network for counts (Poisson), small enough to learn in seconds without torch."""

    def __init__(self, width: int, depth: int, seed: int, **parameters: Any) -> None:
        self._net = MLPRegressor(
            loss="poisson", hidden_layer_sizes=(width,) * depth, batch_size=512, random_state=seed, **parameters
        )

    def fit(self, scaled: Rows, ratio: Floats, weight: Floats) -> Network:
        # Single large orders of products that hardly sell would decide the first steps.
        self._net.fit(scaled.astype(np.float64), np.minimum(ratio, 20.0), sample_weight=weight / weight.mean())
        return self

    def predict(self, scaled: Rows) -> Floats:
        return np.asarray(np.log(self._net.predict(scaled.astype(np.float64))))

    def graph(self) -> Nodes:
        nodes, constants, source = [], [], "scaled"
        count = len(self._net.coefs_)
        for i, (weights, bias) in enumerate(zip(self._net.coefs_, self._net.intercepts_, strict=True)):
            target = "raw" if i == count - 1 else f"sum_{i}"
            layer = linear(f"layer_{i}", weights, bias, source, target)
            nodes += layer.nodes
            constants += layer.constants
            if i < count - 1:
                source = f"active_{i}"
                nodes.append(helper.make_node("Relu", [target], [source]))
        return Nodes(nodes, constants)


def _made(kind: Callable[..., Model]) -> Callable[[dict[str, Any], int], Model]:
    return lambda parameters, seed: kind(seed=seed, **parameters)


KINDS = {
    "elasticnet": Kind(
        lambda parameters, seed: ElasticTrends(**parameters, max_iter=500, random_state=seed),
        {"alpha": 1e-3, "l1_ratio": 0.5},
        {"alpha": FloatDistribution(1e-5, 1e-1, log=True), "l1_ratio": FloatDistribution(0.05, 1.0)},
    ),
    "svr": Kind(
        _made(SupportVectors),
        {"components": 80, "gamma": 0.02, "C": 1.0, "epsilon": 0.1},
        {
            "components": CategoricalDistribution((40, 80, 120)),
            "gamma": FloatDistribution(0.003, 0.1, log=True),
            "C": FloatDistribution(0.1, 10.0, log=True),
            "epsilon": FloatDistribution(0.0, 0.4),
        },
    ),
    "lightgbm": Kind(
        _made(Trees),
        {"n_estimators": 100, "learning_rate": 0.05, "num_leaves": 15, "min_child_samples": 100},
        {
            "n_estimators": IntDistribution(40, 200, step=20),
            "learning_rate": FloatDistribution(0.02, 0.1, log=True),
            "num_leaves": IntDistribution(5, 31),
            "min_child_samples": IntDistribution(20, 400, log=True),
        },
    ),
    "network": Kind(
        _made(Network),
        {"width": 16, "depth": 2, "alpha": 1e-2, "learning_rate_init": 1e-3, "max_iter": 12},
        {
            "width": CategoricalDistribution((8, 16, 32)),
            "depth": IntDistribution(2, 3),
            "alpha": FloatDistribution(1e-3, 1.0, log=True),
            "learning_rate_init": FloatDistribution(3e-4, 3e-3, log=True),
            "max_iter": IntDistribution(6, 18, step=3),
        },
    ),
}

# A model stops after the number of rounds that it may take, converged or not; the evaluation decides. Parts are as many as fit.
for text in (
    "Stochastic Optimizer",
    "Liblinear failed",
    "Objective did not",
    "Got `batch_size`",
    "n_components > n_samples",
):
    warnings.filterwarnings("ignore", message=text)
