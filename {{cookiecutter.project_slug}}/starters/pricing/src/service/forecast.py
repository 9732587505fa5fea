"""From a model to expected sales: bounded, calibrated, with intervals, and as one ONNX graph.

Least squares on logarithms, support vectors and early-stopped networks answer something below the mean. A Poisson regression
of sales on a model's answer, on weeks that it had not learned from, makes the mean of it, whatever the kind; and the spread
of sales about that mean, on the same weeks, is where intervals and medians are from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from service import features, models
from service.dataset import Table

__all__ = ["Forecast", "Scale", "Spread", "calibrate", "export", "fit", "spread"]

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
BINS, LEAST_IN_BIN = 20, 300
QUANTILES = (0.05, 0.5, 0.9, 0.95)


@dataclass(frozen=True)
class Scale:
    """How features are clipped to what was seen, and standardized."""

    low: Rows
    high: Rows
    mean: Rows
    deviation: Rows

    @classmethod
    def of(cls, rows: Rows) -> Scale:
        low, high = np.quantile(rows, [0.001, 0.999], axis=0).astype(np.float32)
        inside = np.clip(rows, low, high)
        return cls(low, high, inside.mean(axis=0), np.maximum(inside.std(axis=0), 1e-6))

    def __call__(self, rows: Rows) -> Rows:
        return np.asarray((np.clip(rows, self.low, self.high) - self.mean) / self.deviation, dtype=np.float32)


@dataclass(frozen=True)
class Forecast:
    """A fitted model, with what bounds and calibrates its answer.

    Attributes:
        bounds: of ``raw``, from the weeks that it learned from.
        weights: log(sales / base) = w0 + w1 raw + w2 log base + w3 (log base)², or as it is (0, 1, 0, 0).
    """

    model: models.Model
    scale: Scale
    bounds: tuple[float, float]
    weights: Floats

    def raw(self, rows: Rows) -> Floats:
        """The model's own answer, within its bounds."""
        return np.asarray(np.clip(self.model.predict(self.scale(rows)), *self.bounds))

    def ratio(self, rows: Rows) -> Floats:
        """Expected sales, as a multiple of the base."""
        return np.asarray(np.exp(_terms(self, rows) @ self.weights))

    def level(self, table: Table) -> Floats:
        """Expected units a day of each row, at the reference price."""
        return table.reconciled(self.ratio(table.features) * table.base)


@dataclass(frozen=True)
class Spread:
    """How sales of a day spread about their mean, which is a matter of how many orders make them: quantiles as multiples.

    Attributes:
        orders: expected ones, a day: the middle of each bin, rising.
        low, median, high: of which ``low`` to ``high`` holds 90 % of the days.
    """

    orders: list[float]
    low: list[float]
    median: list[float]
    high: list[float]

    def at(self, what: str, orders: Floats) -> Floats:
        """The multiple at each expected number of orders, between those of the bins."""
        return np.asarray(np.interp(np.log(np.maximum(orders, 1e-9)), np.log(self.orders), getattr(self, what)))


def fit(kind: models.Kind, parameters: dict[str, Any], seed: int, table: Table) -> Forecast:
    """A model of ``kind``, fitted to ``table``; not calibrated."""
    scale = Scale.of(table.features)
    # A level that is known only as far as the market moved is not the model's to learn.
    base = table.reconciled(table.base)
    model = kind.make(parameters, seed)
    scaled = scale(table.features)
    model.fit(scaled, table.sales / base, table.weight * base)
    low, high = np.quantile(model.predict(scaled), [0.001, 0.999])
    return Forecast(model, scale, (float(low), float(high)), np.array([0.0, 1.0, 0.0, 0.0]))


def calibrate(found: Forecast, unseen: Table) -> Floats:
    """The weights with which sales of ``unseen`` are expected, on average over all and over large and small products."""
    terms = _terms(found, unseen.features)
    base = unseen.reconciled(unseen.base)
    weights = np.array([0.0, 1.0, 0.0, 0.0])
    total, weigh = unseen.sales * unseen.weight, base * unseen.weight
    # What sales vary more than Poisson's counts do, they tell less; with little of them, the model's own answer stays.
    mean = weigh * np.exp(np.clip(terms @ weights, -10, 10))
    spread = max(1.0, float(((total - mean) ** 2 / np.maximum(mean, 1e-6)).mean()))
    mild = spread * np.diag([0.1, 10.0, 10.0, 10.0])
    for _ in range(50):
        mean = weigh * np.exp(np.clip(terms @ weights, -10, 10))
        step = np.linalg.solve(
            (terms.T * mean) @ terms + mild,
            terms.T @ (total - mean) - mild @ (weights - np.array([0.0, 1.0, 0.0, 0.0])),
        )
        weights = weights + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-8:
            break
    return weights


def spread(found: Forecast, unseen: Table) -> Spread:
    """The spread of daily sales about what ``found`` expects, on weeks that it had not learned from."""
    mean = np.maximum(unseen.daily(found.level(unseen)), 1e-6)
    orders = features.orders(mean, unseen.features[unseen.row])
    bins = max(1, min(BINS, len(mean) // LEAST_IN_BIN))
    edges = np.quantile(orders, np.linspace(0, 1, bins + 1)[1:-1])
    place = np.searchsorted(edges, orders)
    columns: list[list[float]] = []
    for i in range(bins):
        own, units = mean[place == i], unseen.units[place == i]
        if not len(own):
            continue
        low, median, nine, top = np.quantile(units / own, QUANTILES)
        # Where a twentieth of the days or more has no sale, the interval begins at zero, and all that it leaves is above.
        columns.append([float(np.median(orders[place == i])), low, median, top if low > 0 else nine])
    return Spread(*(np.round(part, 5).tolist() for part in zip(*columns, strict=True)))


def _terms(found: Forecast, rows: Rows) -> Floats:
    at = features.NAMES.index("log_base")
    base = np.clip(rows[:, at], found.scale.low[at], found.scale.high[at]).astype(np.float64)
    return np.column_stack([np.ones(len(rows)), found.raw(rows), base, base**2])


def export(found: Forecast, metadata: dict[str, Any]) -> bytes:
    """As ONNX: ``features`` [n, features] → ``ratio`` [n, 1], and ``metadata``; the same bytes for the same model."""
    part, weights = found.model.graph(), found.weights
    constants = {
        "lowest": found.scale.low, "highest": found.scale.high, "mean": found.scale.mean,
        "deviation": found.scale.deviation, "raw_low": found.bounds[0], "raw_high": found.bounds[1],
        "w0": weights[0], "w1": weights[1], "w2": weights[2], "w3": weights[3],
    }  # fmt: skip
    at = features.NAMES.index("log_base")
    before = [
        helper.make_node("Max", ["features", "lowest"], ["above"]),
        helper.make_node("Min", ["above", "highest"], ["inside"]),
        helper.make_node("Sub", ["inside", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "deviation"], ["scaled"]),
    ]
    after = [
        helper.make_node("Clip", ["raw", "raw_low", "raw_high"], ["bounded"]),
        helper.make_node("Slice", ["inside", "at", "after", "across"], ["log_base"]),
        helper.make_node("Mul", ["log_base", "w3"], ["bend"]),
        helper.make_node("Add", ["bend", "w2"], ["slope"]),
        helper.make_node("Mul", ["slope", "log_base"], ["from_base"]),
        helper.make_node("Mul", ["bounded", "w1"], ["from_model"]),
        helper.make_node("Sum", ["from_base", "from_model", "w0"], ["log_ratio"]),
        helper.make_node("Exp", ["log_ratio"], ["ratio"]),
    ]
    whole = {"at": [at], "after": [at + 1], "across": [1]}
    known = [models.constant(name, value) for name, value in constants.items()]
    known += [helper.make_tensor(name, TensorProto.INT64, [1], value) for name, value in whole.items()]
    drawn = helper.make_graph(
        [*before, *part.nodes, *after],
        "demand",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(features.NAMES)])],
        [helper.make_tensor_value_info("ratio", TensorProto.FLOAT, [None, 1])],
        [*known, *part.constants],
    )
    opsets = [helper.make_opsetid(*opset) for opset in models.OPSET.items()]
    graph = helper.make_model(drawn, opset_imports=opsets, ir_version=models.IR_VERSION)
    helper.set_model_props(graph, {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()})
    onnx.checker.check_model(graph)
    return bytes(graph.SerializeToString(deterministic=True))
