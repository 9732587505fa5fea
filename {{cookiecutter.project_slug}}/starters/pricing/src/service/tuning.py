"""Tuning within a budget, with Optuna: seeded, with progress, and resumed after an interruption.

The number of trials determines the result. The seconds are only a limit: a run that reaches it prints a warning, because its
result depends on the machine's speed; the next training continues from there.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

__all__ = ["Tuned", "tune", "values"]


@dataclass(frozen=True)
class Tuned:
    """The best parameters and their score, the number of finished trials, and how many of them are new."""

    parameters: dict[str, Any]
    score: float
    trials: int
    new: int


def tune(
    journal: Path,
    objective: Callable[[dict[str, Any]], float],
    first: dict[str, Any],
    space: dict[str, BaseDistribution],
    *,
    trials: int,
    seed: int,
    deadline: float,
    stop: threading.Event,
    tell: Callable[[int, float, float], None],
) -> Tuned:
    """The parameters in ``space`` with the lowest ``objective`` after ``trials`` trials; ``first`` is tried first.

    Args:
        journal: where finished trials are stored; another call with the same file continues after them.
        deadline: in seconds of ``time.monotonic()``; only the first trial may begin after it.
        stop: once set, no further trial begins.
        tell: called after each trial with how many are finished, its score and the best so far.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))), study_name="tuning", load_if_exists=True
    )
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    before = done = len(finished)
    while done < trials and (done == 0 or time.monotonic() < deadline):
        if stop.is_set():
            raise KeyboardInterrupt
        if done == 0:
            score = objective(first)
            study.add_trial(create_trial(params=first, distributions=space, value=score))
        else:
            # A sampler per trial, seeded by its number: the next trial depends on the finished trials only, so that
            # an interrupted study ends as it would have without the interruption.
            study.sampler = optuna.samplers.TPESampler(seed=seed * 10_000 + done, n_startup_trials=5)
            trial = study.ask(space)
            score = objective(trial.params)
            study.tell(trial, score)
        done += 1
        tell(done, score, study.best_value)
    # Asked for fewer trials than it has, the study gives the result that it had then.
    kept = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))[:trials]
    best = min(kept, key=lambda trial: trial.value if trial.value is not None else float("inf"))
    assert best.value is not None
    return Tuned(dict(best.params), best.value, len(kept), done - before)


def values(file: Path | None) -> dict[str, dict[str, Any]]:
    """The best values of each kind, from a file of `invoke tune`; none without a file.

    Raises:
        ValueError: it is none.
    """
    if file is None:
        return {}
    try:
        best = json.loads(file.read_text(encoding="utf-8"))["best"]
        return {kind: dict(found["values"]) for kind, found in best.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"--tuned: {file} can't be read: {error!r}") from error
