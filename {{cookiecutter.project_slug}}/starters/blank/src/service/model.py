"""The model, a straight line: learned, written, read, asked."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass

from ml_service.models import ModelFault
from service.data import Trip

__all__ = ["Model", "decode", "encode", "fit"]


@dataclass(frozen=True)
class Model:
    """Minutes are ``start`` and ``pace`` for each kilometre."""

    start: float
    pace: float

    def predict(self, kilometres: float) -> float:
        """The minutes that a trip takes."""
        return self.start + self.pace * kilometres


def fit(trips: list[Trip]) -> Model:
    """The line that fits best; rounded, so that every Python makes the same bytes of it."""
    pace, start = statistics.linear_regression([t[0] for t in trips], [t[1] for t in trips])
    return Model(round(start, 6), round(pace, 6))


def encode(model: Model) -> bytes:
    """The model as a file's content: JSON, which is safe to read whoever wrote it."""
    return json.dumps(asdict(model)).encode() + b"\n"


def decode(content: bytes) -> Model:
    """The model of a file's content.

    Raises:
        ModelFault: it is none.
    """
    try:
        return Model(**{name: float(value) for name, value in json.loads(content).items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelFault(f"the model can't be read: {error}") from error
