"""Tunes by trials that are jobs: one tuning job with a definition for each kind of model, within a budget.

The service's command of ``[tune]`` with ``--spaces`` prints what may be tried, as JSON: ``{kind: {name: range}}``, where a range is
``{"choices": […]}`` or ``{"low": …, "high": …, "whole": true, "log": true}``. With ``--kind`` and ``--name value`` it evaluates
these values, those that are missing being its first ones, and prints the score.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery import commands
from ml_delivery.errors import ConfigError, ModelError, SetupError
from ml_delivery.jobs import datasets, images, running, sagemaker, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ml_delivery.config import Config
    from ml_delivery.jobs.running import Trial
    from ml_delivery.jobs.steps import Cost
    from ml_delivery.records import Context

__all__ = ["Plan", "Tuned", "most", "plan", "tune"]

START = 180  # seconds that a job takes to begin, about: it gets an instance and its image first
LEAST = 120  # https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceLimits.html


@dataclass(frozen=True)
class Plan:
    """A tuning that can be started.

    Attributes:
        spaces: what may be tried, by kind of model.
        words: the command; ``datasets``: the digests of what it reads.
        role, image: what trials run as, and in.
        warm: the tuning job whose trials it starts with; empty for none.
        limit: seconds after which it is stopped, by minutes and money; ``cost``: what it costs at most.
        trial: seconds of one trial on this machine, on average.
        here, there: seconds that all trials take on this machine, one after another, and as jobs; the latter is estimated.
    """

    spaces: dict[str, dict[str, dict[str, Any]]]
    words: tuple[str, ...]
    datasets: tuple[str, ...]
    role: str
    image: str
    warm: str
    limit: int
    cost: Cost
    trial: float
    here: float
    there: float


@dataclass(frozen=True)
class Tuned:
    """A tuning that completed: the best trial of each kind, how many there were, where the best are written, and the cost."""

    job: str
    best: tuple[Trial, ...]
    trials: int
    file: str
    cost: Cost


def plan(
    context: Context,
    options: Mapping[str, str | int | float | bool],
    kinds: tuple[str, ...],
    warm: str = "",
    building: Callable[[], None] = lambda: None,
) -> Plan:
    """Check everything that can be checked before a job costs anything: one trial of each kind runs on this machine.

    Args:
        context: the environment.
        options: override those of ``[tune.options]``.
        kinds: those to tune; empty for all.
        warm: a tuning job whose trials this one starts with.
        building: called before the image of jobs is built, if there is none yet.

    Raises:
        ConfigError: there are no jobs or no such kind, the budget is too small, or ``warm`` is given for several kinds.
        ModelError: there is no tuning command, it failed, or its score is not found in what it printed.
        CloudError, BuildError, SetupError: there is no image, or it can't be built; the role is missing; or there is no such
            program as the command names.
    """
    config, settings = context.config, context.config.tune
    command = commands.named(config, "tune")
    role = steps.role(context)
    given = {**command.options, **options}
    datasets.require(config.root, given, context)
    python = str(commands.environment(config)) if command.command[0] == "python" else ""
    words = commands.argv(command, options, python)
    spaces = _spaces(context, words, kinds)
    if warm and len(spaces) > 1:
        # https://docs.aws.amazon.com/sagemaker/latest/dg/multiple-algorithm-hpo.html
        raise ConfigError("--warm", ["a tuning job starts with the trials of another for one kind only; add --kind"])
    limit = _limit(config)
    seconds = [_trial(context, words, kind) for kind in spaces]
    average = sum(seconds) / len(seconds)
    for digest in datasets.named(given):
        datasets.upload(config.root, digest, context)
    return Plan(
        spaces,
        tuple(commands.argv(command, options, "python")),
        datasets.named(given),
        role,
        images.find(context, building),
        warm,
        limit,
        most(config),
        average,
        average * settings.trials,
        (average + START) * settings.trials / _together(config),
    )


def tune(context: Context, wanted: Plan, line: Callable[[str], None]) -> Tuned:
    """Run the trials, and write the best values of each kind into the file that ``[tune] writes`` names.

    Args:
        context: the environment.
        wanted: the plan.
        line: called with a line for each trial that has ended.

    Raises:
        ModelError: the job failed or was stopped, or no trial of a kind reported a score.
        CloudError, Interrupted: as ``running.run``; its trials are stopped with it.
    """
    settings = context.config.tune
    job = {"mode": "trial", "command": wanted.words, "datasets": wanted.datasets}
    given = steps.inputs(context, "tune", json.dumps(job, sort_keys=True).encode())
    request = sagemaker.tuning(
        context, given, wanted.role, wanted.image, wanted.spaces, wanted.datasets, wanted.limit, wanted.warm
    )
    done = running.run(context, sagemaker.TUNING, request, line)
    trials = running.trials(context.cloud, done.name)
    scored = [trial for trial in trials if trial.score is not None]
    best = []
    for kind, space in wanted.spaces.items():
        found = [trial for trial in scored if trial.kind == kind]
        if not found:
            raise ModelError(
                f"the job {done.name} completed, but no trial of {kind} reported a score",
                next="look at the trials' logs, then raise [tune] trials or minutes",
            )
        sign = 1 if settings.goal == "minimize" else -1
        chosen = min(found, key=lambda trial: sign * (trial.score or 0.0))
        best.append(running.Trial(kind, chosen.score, _typed(chosen.values, space), chosen.seconds))
    file = context.config.root / settings.writes
    file.parent.mkdir(parents=True, exist_ok=True)
    arriving = file.with_name(f"{file.name}.new")
    document = {"job": done.name, "best": {trial.kind: asdict(trial) for trial in best}}
    arriving.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    arriving.replace(file)
    seconds = sum(trial.seconds for trial in trials)
    return Tuned(done.name, tuple(best), len(trials), settings.writes, steps.cost(context, 1, seconds))


def _together(config: Config) -> int:
    """How many trials run at the same time, at most."""
    return min(config.tune.parallel, config.tune.trials)


def most(config: Config) -> Cost:
    """What a tuning costs at most.

    Raises:
        ConfigError: there are no jobs, or the budget is too small.
    """
    return steps.estimate(config, _together(config), _limit(config))


def _limit(config: Config) -> int:
    """The seconds after which the tuning is stopped: those of its minutes, or those that its dollars pay for."""
    settings, hourly = config.tune, config.jobs.dollars_per_hour
    limit = settings.minutes * 60
    if settings.dollars:
        if not hourly:
            raise ConfigError(
                "pipeline.toml", ["tune.dollars: there is no jobs.dollars_per_hour to count with; write it, or 0"]
            )
        limit = min(limit, round(settings.dollars / (hourly * _together(config)) * 3600))
    if limit < LEAST:
        raise ConfigError(
            "pipeline.toml", [f"tune: the budget ends after {limit} s, a tuning job takes {LEAST} at least; raise it"]
        )
    return limit


def _ask(context: Context, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the tuning command on this machine, for what it prints."""
    root = context.config.root
    variables = {**os.environ, **context.cloud.variables(), "PYTHONPATH": str(root / "src")}
    try:
        done = subprocess.run(
            words, cwd=root, env=variables, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise SetupError(
            f"[tune] command: {words[0]} can't be run: {error.strerror}",
            next="correct tune.command in pipeline.toml, then run this again",
        ) from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise ModelError(
            f"[tune] command exited with code {done.returncode}: {''.join(last)}", next="fix it, then run this again"
        )
    return done


def _spaces(context: Context, words: list[str], kinds: tuple[str, ...]) -> dict[str, dict[str, dict[str, Any]]]:
    text = _ask(context, [*words, "--spaces"]).stdout  # warnings of libraries are on standard error
    try:
        found: dict[str, dict[str, dict[str, Any]]] = json.loads(text)
        ranges = [one for space in found.values() for one in space.values()]
        whole = all(one["choices"] if "choices" in one else one["low"] <= one["high"] for one in ranges)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"[tune] command with --spaces printed no JSON object of kinds and ranges: {error}", next="correct it"
        ) from error
    if not whole or not found or not all(found.values()):
        raise ModelError(
            "[tune] command with --spaces printed a kind without ranges, or an empty range", next="correct it"
        )
    if unknown := [kind for kind in kinds if kind not in found]:
        raise ConfigError("--kind", [f"there is no {', '.join(unknown)}; the kinds are {', '.join(found)}"])
    return {kind: space for kind, space in found.items() if not kinds or kind in kinds}


def _trial(context: Context, words: list[str], kind: str) -> float:
    """Run a trial of a kind on this machine, with its first values; the seconds that it took."""
    began = time.monotonic()
    done = _ask(context, [*words, "--kind", kind])
    expression = context.config.tune.metric
    if not re.search(expression, done.stdout + done.stderr):  # a job's log has both
        raise ModelError(
            f"[tune] command printed no score of {kind} that [tune] metric matches: {expression}",
            next="correct tune.metric in pipeline.toml",
        )
    return time.monotonic() - began


def _typed(values: Mapping[str, Any], space: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The values of a trial, which are strings, as the space has them."""
    found: dict[str, Any] = {}
    for name, text in values.items():
        choices = space[name].get("choices")
        if choices is not None:
            found[name] = next((choice for choice in choices if str(choice) == text), text)
        else:
            found[name] = int(float(text)) if space[name].get("whole") else float(text)
    return found
