"""The tasks that may run as jobs: prepare; training on other machines, which ``train --on`` chooses; and the model registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_delivery.tasks import console
from ml_delivery.tasks.base import BRANCH, CLOUD, action, open_environment, read_config

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.jobs.datasets import Dataset
    from ml_delivery.jobs.steps import Cost
    from ml_delivery.release.delivery import Delivery

__all__ = ["ON", "money", "most", "prepare", "register", "registered", "require", "train", "train_cost", "tune"]

ON = "sagemaker: as a job there, which [jobs] in pipeline.toml describes; default: here"


@action(
    iterable=["option"],
    help={
        "option": "name=value, assigned in the notebook; overrides pipeline.toml; can be repeated",
        "on": ON,
        "branch": BRANCH,
        "cloud": CLOUD,
    },
)
def prepare(_: Any, option: list[str] | None = None, on: str = "", branch: str = "", cloud: str = "") -> None:
    """Run the notebook of [prepare] in pipeline.toml, which makes a dataset that training names by its digest."""
    from ml_delivery import commands
    from ml_delivery.jobs import prepare as preparing
    from ml_delivery.jobs import steps

    config, options = read_config(), commands.parse(option or [])
    require(on)
    if on:
        delivery = open_environment(branch, cloud, config=config, prepare=True)
        steps.role(delivery)  # without jobs there is no cost to show
        console.say(f"runs on {config.jobs.instance}, {most(steps.cost(delivery, 1, config.jobs.minutes * 60))}")
        with console.foreign() as line:
            dataset, done = preparing.on_hosts(delivery, options, lambda text: line(f"  {text}"), building)
        console.say(f"{done.name}: {money(steps.cost(delivery, 1, done.seconds))}")
    else:
        opened = None
        if branch or cloud:
            from ml_delivery.cloud import Cloud
            from ml_delivery.release.delivery import checked_out

            opened = Cloud.open(config, config.environment(branch or checked_out(config)), cloud)
        with console.foreign() as line:
            dataset = preparing.here(config, options, opened, lambda text: line(f"  {text}"))
    _dataset(dataset)


@action(
    iterable=["option", "kind"],
    help={
        "option": "name=value, passed to the command as --name value; overrides pipeline.toml; can be repeated",
        "on": "sagemaker: each trial is a job there, which [jobs] in pipeline.toml describes",
        "kind": "tune this kind of model only; can be repeated",
        "warm": "a tuning job whose trials this one starts with; for one kind",
        "cost": "only show what it costs at most",
        "branch": BRANCH,
        "cloud": CLOUD,
    },
)
def tune(
    _: Any,
    option: list[str] | None = None,
    on: str = "",
    kind: list[str] | None = None,
    warm: str = "",
    branch: str = "",
    cloud: str = "",
    cost: bool = False,
) -> None:
    """Tune by trials that are jobs, within the budget of [tune] in pipeline.toml; write the best values of each kind."""
    from ml_delivery import commands
    from ml_delivery.errors import ConfigError
    from ml_delivery.jobs import running
    from ml_delivery.jobs import tune as tuning

    require(on)
    if not on:
        raise ConfigError(
            "--on", [f"training tunes here already: invoke train; write --on {_place()} for trials that are jobs"]
        )
    if cost:
        config = read_config()
        return _announce(f"a tuning with {console.counted(config.tune.trials, 'trial')}: {most(tuning.most(config))}")
    delivery = open_environment(branch, cloud, prepare=True)
    plan = tuning.plan(delivery, commands.parse(option or []), tuple(kind or []), warm, building)
    settings = delivery.config.tune
    console.say(
        f"tunes {', '.join(plan.spaces)} with {settings.trials} trials, {settings.parallel} at a time, {most(plan.cost)}"
    )
    if plan.here < plan.there:
        console.warn(
            f"a trial takes {plan.trial:.1f} s on this machine: all of them {plan.here:.0f} s here, about {plan.there:.0f} s as "
            "jobs, most of it to start them; tuning here is quicker and costs nothing"
        )
    with console.foreign() as line:
        done = tuning.tune(delivery, plan, lambda text: line(f"  {text}"))
    for best in done.best:
        values = ", ".join(f"{name} {running.shown(value)}" for name, value in sorted(best.values.items()))
        console.say(f"best {best.kind}: {best.score:g}, with {values}")
    console.say(f"{done.job}: {done.trials} trials, best values in {done.file}, {money(done.cost)}")


def building() -> None:
    """Say why nothing happens for a while."""
    console.say("builds the image of jobs, once for this requirements/train.txt; it takes minutes")


def train_cost(instances: int) -> None:
    """``invoke train --on --cost``."""
    from ml_delivery.jobs import split, steps

    config = read_config()
    split.divide(config.jobs, instances)
    seconds = config.jobs.minutes * 60
    _announce(f"a training on {instances} × {config.jobs.instance}: {most(steps.estimate(config, instances, seconds))}")


def _announce(text: str) -> None:
    """Print it, and add it to the summary of a workflow, which reviewers read."""
    console.say(text)
    console.summary(text)


def train(options: dict[str, str | int | float | bool], instances: int, branch: str, cloud: str) -> None:
    """``invoke train --on``."""
    from ml_delivery.jobs import train as training

    delivery = open_environment(branch, cloud, prepare=True)
    plan = training.plan(delivery, options, instances, building)
    for number, parts in enumerate(plan.divided, 1):
        console.say(f"host {number}: {', '.join(parts)}")
    spot = ", on spot capacity, which is cheaper" if plan.spot else ""
    console.say(f"trains on {plan.hosts} × {plan.instance}, {most(plan.cost)}{spot}; Ctrl-C stops it")
    with console.foreign() as line:
        done = training.train(delivery, plan, lambda text: line(f"  {text}"))
    for name, value in done.metrics.items():
        console.say(f"{name} {value:g}")
    console.say(
        f"{done.job}: {console.counted(len(done.files), 'file')} in {delivery.config.jobs.writes}, {money(done.cost)}"
    )


@action(help={"branch": BRANCH, "cloud": CLOUD})
def register(_: Any, branch: str = "", cloud: str = "") -> None:
    """Register the models of model.lock in SageMaker's model registry, and approve those that its newest commit names."""
    from ml_delivery.jobs import steps

    delivery = open_environment(branch, cloud, prepare=True)
    steps.role(delivery)  # without jobs there is no registry
    _follow(delivery)


def registered(branch: str, cloud: str, config: Config) -> None:
    """Register what was promoted, where there are jobs."""
    if config.jobs.instance:
        _follow(open_environment(branch, cloud, config=config, prepare=True))


def _follow(delivery: Delivery) -> None:
    from ml_delivery.jobs import packages

    changed = packages.follow(delivery)
    for package in changed:
        how = f"{package.before} → {package.status}" if package.before else package.status
        console.say(f"model package {package.arn}: {package.digest[:19]}… {how}")
    if not changed:
        console.say("the model registry is as model.lock says")
    if any(package.status == packages.PENDING for package in changed):
        typed = f"invoke register --branch {delivery.environment.branch}{delivery.where}"
        console.say(f"  next: commit model.lock with its models, then {typed}, which approves them")


def _place() -> str:
    from ml_delivery.jobs import sagemaker

    return sagemaker.NAME


def require(on: str) -> None:
    """Check ``--on``.

    Raises:
        ConfigError: there is no such place.
    """
    from ml_delivery.errors import ConfigError
    from ml_delivery.jobs import sagemaker

    if on not in ("", sagemaker.NAME):
        raise ConfigError("--on", [f"{on!r} is not a place to run on; write {sagemaker.NAME}, or omit --on"])


def _dataset(found: Dataset) -> None:
    from ml_delivery.jobs import datasets

    dropped = ", ".join(f"{count} {why}" for why, count in found.dropped.items() if count)
    console.say(f"{found.rows} rows; dropped: {dropped or 'none'}")
    for source in found.sources:
        console.say(f"  from {source.place} {source.version or source.etag}")
    place = datasets.path(found.digest)
    console.say(f"{place}{'' if found.new else ', as before'}")
    console.say(f"  next: invoke train --option data={place}; or set it in [train.options]; then commit its manifest")


def most(cost: Cost) -> str:
    """What something costs at most."""
    return f"at most {money(cost)}"


def money(cost: Cost) -> str:
    """What something costs, in hours and, where they are known, in dollars."""
    hours = f"{cost.hours:.2f} hours of an instance"
    return hours if cost.dollars is None else f"{hours}, {cost.dollars:.2f} USD"
