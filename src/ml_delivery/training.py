"""Runs the service's own training, evaluation and promotion, in an environment that has what they need.

It is on the Python that the service is built for, and each prints its own progress: what is trained, and how it is
judged, is the service's affair.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from ml_delivery.dependencies import envs
from ml_delivery.errors import ModelError, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_delivery.config import Config

__all__ = ["evaluate", "promote", "train"]


def train(
    config: Config, *, data: str, seed: int, trials: int, seconds: int, variables: Mapping[str, str] | None = None
) -> None:
    """Train, and keep what was trained under ``.src/ml_delivery/models``.

    Args:
        config: the service's configuration.
        data: transactions, a path or an ``s3://`` address; empty: the service generates its own.
        seed: of the generated data and of the models.
        trials, seconds: the budget; 0: what ``pipeline.toml`` says.
        variables: those that reach S3.

    Raises:
        SetupError: the environment can't be made.
        ModelError: it failed; it has said why.
    """
    budget = {"--trials": trials or config.model.trials, "--seconds": seconds or config.model.seconds}
    words = ["--seed", str(seed), *(word for name, value in budget.items() for word in (name, str(value)))]
    with envs.exclusive(config.root / ".pipeline" / "training.lock"):  # a second one waits: they share their trials
        code = _run(config, "service.training", *words, *(["--data", data] if data else []), variables=variables or {})
    if code != 0:
        raise ModelError(f"the training ended with exit code {code}", next="mend what it says above, then invoke train")


def evaluate(config: Config, *, json: bool = False) -> None:
    """Judge what was trained last on the held-out days; writes ``build/report.html`` and ``build/report.md``.

    It prints the table, or with ``json`` the same as one document.

    Raises:
        SetupError: the environment can't be made.
        ModelError: there is nothing to judge, or it can't be.
    """
    if _run(config, "service.report", *(["--json"] if json else [])) != 0:
        raise ModelError("nothing was judged", next="mend what it says above, or invoke train")


def promote(config: Config) -> None:
    """Put the best of what was trained last into ``models/`` and ``model.lock``, if it passes the gate of ``[model]``.

    Raises:
        SetupError: the environment can't be made.
        Refused: it doesn't; ``model.lock`` is as it was.
    """
    gate = config.model
    words = ["--gain", str(gate.gain), "--regret", str(gate.regret), "--slack", str(gate.slack)]
    if _run(config, "service.promotion", *words) != 0:
        raise Refused(
            "nothing was promoted; model.lock is as it was", next="invoke train, or change the gate in [model]"
        )


def _run(config: Config, module: str, *words: str, variables: Mapping[str, str] | None = None) -> int:
    """Run one of the service's modules; its exit code."""
    python = envs.ensure(
        config.root, "train", config.root / "requirements/train.txt", envs.find_python(config.service.python)
    )
    command = [str(python), "-m", module, "--root", str(config.root), *words]
    environment = {**os.environ, **(variables or {}), "PYTHONPATH": str(config.root / "src")}
    return subprocess.call(command, cwd=config.root, env=environment)
