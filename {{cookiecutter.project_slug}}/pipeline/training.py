"""Runs the service's training in an environment of its own, on the Python that the service is built for."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from pipeline import envs
from pipeline.errors import ModelError

if TYPE_CHECKING:
    from pipeline.config import Config

__all__ = ["train"]


def train(config: Config, *, data: str, seed: int) -> None:
    """Run ``python -m service.training``; it prints its own progress and writes ``models/`` and ``model.lock``.

    Args:
        config: the service's configuration.
        data: a CSV's path; empty: the service generates its own.
        seed: of the generated data and of the models.

    Raises:
        SetupError: the environment can't be made.
        ModelError: the training failed; it has said why.
    """
    python = envs.ensure(
        config.root, "train", config.root / "requirements/train.txt", envs.find_python(config.service.python)
    )
    words = [str(python), "-m", "service.training", "--root", str(config.root), "--seed", str(seed)]
    if data:
        words += ["--data", data]
    code = subprocess.call(words, cwd=config.root, env={**os.environ, "PYTHONPATH": str(config.root / "src")})
    if code != 0:
        raise ModelError(f"the training ended with exit code {code}", next="mend what it says above, then invoke train")
