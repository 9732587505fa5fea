"""The example's model: the minutes of a trip from its kilometres. Replace it by your own; keep the five functions."""

from __future__ import annotations

import csv
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from ml_service.models import ModelFault

__all__ = ["SUFFIX", "Example", "Model", "decode", "encode", "error", "fit", "read"]

SUFFIX = ".json"  # of the model's file
Example = tuple[float, float]  # kilometres, minutes


@dataclass(frozen=True)
class Model:
    """A straight line: a trip takes ``start`` minutes, plus ``pace`` minutes for each kilometre."""

    start: float
    pace: float

    def predict(self, kilometres: float) -> float:
        """The minutes that a trip takes."""
        return self.start + self.pace * kilometres


def read(path: Path) -> list[Example]:
    """The trips of a CSV file with the columns ``kilometres`` and ``minutes``.

    Raises:
        OSError, ValueError, KeyError, TypeError: it can't be used.
    """
    with path.open(encoding="utf-8", newline="") as file:
        return [(float(row["kilometres"]), float(row["minutes"])) for row in csv.DictReader(file)]


def fit(examples: list[Example]) -> Model:
    """The line that fits best; rounded, so that every Python writes the same bytes."""
    pace, start = statistics.linear_regression([e[0] for e in examples], [e[1] for e in examples])
    return Model(round(start, 6), round(pace, 6))


def error(model: Model, examples: list[Example]) -> float:
    """The mean absolute error of the model on examples, in minutes; lower is better."""
    return statistics.fmean(abs(model.predict(kilometres) - minutes) for kilometres, minutes in examples)


def encode(model: Model) -> bytes:
    """The content of the model's file: JSON, which runs no code when it is read."""
    return json.dumps(asdict(model)).encode() + b"\n"


def decode(content: bytes) -> Model:
    """The model in a file's content, whose digest was verified.

    Raises:
        ModelFault: the content is not a model.
    """
    try:
        return Model(**{name: float(value) for name, value in json.loads(content).items()})
    except (ValueError, TypeError, AttributeError) as fault:
        raise ModelFault(f"the model can't be read: {fault}") from fault
