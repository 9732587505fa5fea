"""The task that compares two releases on real traffic: ab."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import Exit

from ml_delivery.tasks import console
from ml_delivery.tasks.base import BRANCH, CLOUD, JSON, action, open_environment
from ml_delivery.tasks.releases import WAIT

if TYPE_CHECKING:
    from ml_delivery.records import Experiment, Reading


@action(
    help={
        "start": "split traffic between what is live and another verified release; the rule is recorded before",
        "status": "show what was measured so far, and what follows from it; the default",
        "stop": "give all traffic to --winner, or without one to what was live before",
        "challenger": "with --start: the other release's number; default: the newest other verified one",
        "split": "with --start: the challenger's percent of the traffic",
        "metric": "with --start: the number that is compared, by its name in the outcomes",
        "unit": "with --start: request or user: whose mean is compared",
        "count": "with --start: requests: those without an outcome count as 0; outcomes: only those that were reported",
        "alpha": "with --start: how often, at most, a difference is reported where there is none",
        "effect": "with --start: the smallest difference that matters, in percent",
        "requests": "with --start: how many requests, of both releases, end it without a decision",
        "days": "with --start: after how many days it ends without a decision",
        "winner": "with --stop: the number of the release that gets all traffic",
        "outcomes": "a .csv or .jsonl file of outcomes; default: those that the service wrote to its log",
        "branch": BRANCH,
        "cloud": CLOUD,
        "wait": WAIT,
        "json": JSON,
    }
)
def ab(
    _: Any,
    start: bool = False,
    status: bool = False,
    stop: bool = False,
    challenger: int = 0,
    split: int = 50,
    metric: str = "value",
    unit: str = "request",
    count: str = "requests",
    alpha: float = 0.05,
    effect: float = 5.0,
    requests: int = 40_000,
    days: int = 14,
    winner: int = 0,
    outcomes: str = "",
    branch: str = "",
    cloud: str = "",
    wait: int = 0,
    json: bool = False,
) -> None:
    """Compare two releases on real traffic (A/B), by a rule that is recorded before."""
    from ml_delivery.errors import ConfigError
    from ml_delivery.experiments import reading as readings
    from ml_delivery.experiments import words
    from ml_delivery.records import Rule
    from ml_delivery.release import comparing

    if start + status + stop > 1:
        raise Exit("✗ --start, --status and --stop exclude each other\n  next: write one of them", 1)
    rule = Rule(metric, unit, count, "two-sided", alpha, effect, split, requests, days)
    if start:
        comparing.require(rule)
    delivery = open_environment(branch, cloud)
    report = console.quiet if json else console.step
    reading: Reading | None = None
    if start:
        experiment: Experiment = comparing.start(delivery, rule, challenger, report, wait=wait)
    else:
        experiment = comparing.find(delivery)
        reading = experiment.reading
        if outcomes and not experiment.open:
            raise ConfigError("--outcomes", [f"A/B {experiment.number} has ended; it is judged by its last reading"])
        if experiment.open and experiment.since:
            reading = readings.read(delivery, experiment, Path(outcomes) if outcomes else None)
    if stop:
        experiment = comparing.stop(delivery, winner, reading, report, wait=wait)
    if json:
        return console.document({"experiment": experiment, "reading": reading})
    for line in words.lines(experiment):
        console.say(line)
    for line in words.reading(reading, experiment) if reading else ():
        console.say(f"  {line}")
    where = f"--branch {delivery.environment.branch}{delivery.where}"
    if remedy := words.remedy(experiment, reading, where):
        console.say(f"next: {remedy}")
    console.summary("\n".join([*words.lines(experiment), *(words.reading(reading, experiment) if reading else ())]))
