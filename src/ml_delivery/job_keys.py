"""The keys of ``pipeline.toml`` about data and jobs: ``[prepare]`` and ``[jobs]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ml_delivery.declaring import key

__all__ = ["Jobs", "Prepare", "Tune"]


@dataclass(frozen=True)
class Prepare:
    """The notebook that makes a dataset, and the values that it gets; without it, the stage does not exist."""

    notebook: str = key(
        'a notebook as a Python file in Jupytext\'s percent format: "notebooks/prepare.py"',
        default="",
        pattern=r"([^/].*\.py)?",
    )
    options: dict[str, Any] = key(
        'a table of strings, numbers, true or false: source = "data/raw.csv"',
        default={},
        pattern=r"[A-Za-z][A-Za-z0-9_-]*",
        scalars=True,
    )


@dataclass(frozen=True)
class Tune:
    """Tuning as jobs: the command that evaluates values, what its score is, how they are searched, and the budget."""

    command: tuple[str, ...] = key('a command as a list: ["python", "-m", "service.trial"]', default=(), pattern=r".+")
    options: dict[str, Any] = key(
        "a table of strings, numbers, true or false: seed = 7",
        default={},
        pattern=r"[A-Za-z][A-Za-z0-9_-]*",
        scalars=True,
    )
    metric: str = key('a regular expression with one group: "score=([0-9.]+)"', default="score=([-+0-9.e]+)")
    goal: str = key('"minimize" or "maximize"', default="minimize", choices=("minimize", "maximize"))
    strategy: str = key('"bayesian" or "random"', default="bayesian", choices=("bayesian", "random"))
    seed: int = key("a number: 7", default=7, within=(0, 4_294_967_295))
    trials: int = key("how many trials, of all kinds together: 20", default=20, within=(1, 500))
    parallel: int = key("how many of them at a time: 4", default=4, within=(1, 10))
    minutes: int = key("minutes after which tuning is stopped: 60", default=60, within=(2, 30 * 24 * 60))
    dollars: float = key(
        "dollars that all trials may cost at most, by [jobs] dollars_per_hour: 5; 0: no limit", default=0.0
    )
    writes: str = key('the file for the best values: "data/tuned.json"', default="data/tuned.json", pattern=r"[^/].*")

    def problems(self) -> list[str]:
        """What is wrong with it as a whole."""
        found = [] if 0 <= self.dollars < 1e6 else [f"tune.dollars: {self.dollars!r} is not a number of dollars"]
        return [*found, *_expression("tune.metric", self.metric)]


def _expression(place: str, expression: str) -> list[str]:
    """What is wrong with a regular expression of a log, which has one group."""
    try:
        groups = re.compile(expression).groups
    except re.error as error:
        return [f"{place}: not a regular expression: {error}"]
    return [] if groups == 1 else [f"{place}: it has {groups} groups; write one, for the number"]


@dataclass(frozen=True)
class Jobs:
    """Training and preparation as jobs on AWS: on which machines, for how long, and how training is divided among hosts."""

    instance: str = key(
        '"ml.m5.large", or "" for an environment without jobs', default="", pattern=r"(ml\.[a-z0-9-]+\.[a-z0-9]+)?"
    )
    dollars_per_hour: float = key("dollars for an hour of one instance: 0.115", default=0.0)
    minutes: int = key("minutes after which a job is stopped: 60", default=60, within=(1, 28 * 24 * 60))
    spot: bool = key("true or false", default=False)
    image: str = key(
        'an image in ECR by its digest: "111122223333.dkr.ecr.eu-west-1.amazonaws.com/training@sha256:…"',
        default="",
        pattern=r"(\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/[a-z0-9._/-]+@sha256:[0-9a-f]{64})?",
    )
    base: str = key(
        'the base of the image that is built, with Python in it: "python:3.12"',
        default="",
        pattern=r"([a-z0-9][\w./:@-]*)?",
    )
    reads: tuple[str, ...] = key(
        'a list of places in S3: ["s3://bucket/folder/"]', default=(), pattern=r"s3://[a-z0-9][a-z0-9.-]+/[^*?]*"
    )
    writes: str = key('the folder in which training leaves what it made: "build"', default="build", pattern=r"[^/].*")
    keeps: str = key(
        'a folder that an interrupted training continues from: ".pipeline/studies"', default="", pattern=r"([^/].*)?"
    )
    split: str = key('the option of the training command that names parts: "kinds"', default="", pattern=r"[\w-]*")
    parts: dict[str, Any] = key(
        "a table of parts and how long each takes, in any unit: trees = 4",
        default={},
        pattern=r"[A-Za-z0-9][\w.-]*",
        scalars=True,
    )
    together: tuple[str, ...] = key(
        'a list of parts that all hosts train together, so that the command gets --together: ["trees"]',
        default=(),
        pattern=r"[A-Za-z0-9][\w.-]*",
    )
    collect: tuple[str, ...] = key(
        'a command as a list: ["python", "-m", "service.training", "--collect"]', default=(), pattern=r".+"
    )
    metrics: dict[str, str] = key(
        'a table of regular expressions with one group: error = "error=([0-9.]+)"',
        default={},
        pattern=r"[A-Za-z][\w-]*",
    )

    def problems(self) -> list[str]:
        """What is wrong with it as a whole."""
        found = [
            f"jobs.parts.{name}: {weight!r} is not a number above 0; write how long it takes, in any unit"
            for name, weight in self.parts.items()
            if not isinstance(weight, int | float) or isinstance(weight, bool) or not weight > 0
        ]
        found += [
            f"jobs.together: {name} is no part; write one of jobs.parts, or remove it"
            for name in self.together
            if name not in self.parts
        ]
        if self.parts and not self.split:
            found.append(
                "jobs.split: empty; write the option of the training command that names parts, or remove the parts"
            )
        if not 0 <= self.dollars_per_hour < 1e6:
            found.append(f"jobs.dollars_per_hour: {self.dollars_per_hour!r} is not a number of dollars")
        wrong = [_expression(f"jobs.metrics.{name}", expression) for name, expression in self.metrics.items()]
        return [*found, *(line for lines in wrong for line in lines)]
