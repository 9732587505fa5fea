"""The model's tasks: train."""

from __future__ import annotations

from typing import Any

from pipeline.tasks import action, read_config


@action(help={"data": "a CSV of transactions; default: generated ones", "seed": "for data and models; default: 7"})
def train(_: Any, data: str = "", seed: int = 7) -> None:
    """Train and compare the models, and name the best two in model.lock."""
    from pipeline import training

    training.train(read_config(), data=data, seed=seed)
