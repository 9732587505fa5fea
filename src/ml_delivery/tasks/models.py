"""The model's tasks: train, evaluate, promote; each runs the service's command from ``pipeline.toml``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_delivery.tasks import console, jobs
from ml_delivery.tasks.base import BRANCH, CLOUD, action, open_environment, read_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

OPTIONS: dict[str, Any] = {
    "iterable": ["option"],
    "help": {
        "option": "name=value, passed to the command as --name value; overrides pipeline.toml; can be repeated",
        "branch": f"give the command access to AWS: {BRANCH}",
        "cloud": f"give the command access to AWS: {CLOUD}",
    },
}


@action(
    iterable=["option"],
    help={
        **OPTIONS["help"],
        "on": jobs.ON,
        "instances": "with --on: how many hosts share the parts of the training",
        "cost": "with --on: only show what it costs at most",
    },
)
def train(
    _: Any,
    option: list[str] | None = None,
    branch: str = "",
    cloud: str = "",
    on: str = "",
    instances: int = 1,
    cost: bool = False,
) -> None:
    """Run the service's training command, [train] in pipeline.toml."""
    from ml_delivery import commands
    from ml_delivery.errors import ConfigError

    jobs.require(on)
    if on and cost:
        return jobs.train_cost(instances)
    if on:
        return jobs.train(commands.parse(option or []), instances, branch, cloud)
    if cost:
        raise ConfigError("--cost", ["a training here costs nothing; add --on, or omit --cost"])
    if instances != 1:
        raise ConfigError("--instances", ["only a job has hosts; add --on, or omit --instances"])
    _run("train", option, branch, cloud)


@action(**OPTIONS)
def evaluate(_: Any, option: list[str] | None = None, branch: str = "", cloud: str = "") -> None:
    """Run the service's command that evaluates the model trained last, [evaluate] in pipeline.toml."""
    _run("evaluate", option, branch, cloud)


@action(
    iterable=["option"],
    help={
        **OPTIONS["help"],
        "branch": f"report the result to Slack and SNS, and register the model: {BRANCH}",
        "cloud": f"the same: {CLOUD}",
    },
)
def promote(_: Any, option: list[str] | None = None, branch: str = "", cloud: str = "") -> None:
    """Run the service's promotion gate, [promote] in pipeline.toml; a model that passes is written to model.lock."""
    if not (branch or cloud):
        return _run("promote", option, branch, cloud)
    from ml_delivery.errors import ModelError
    from ml_delivery.tasks.reporting import reporting

    config = read_config()
    environment, opened = _opened(config, branch, cloud)
    printed: list[str] = []
    with reporting("promotion", config, environment, opened) as report:
        try:
            with console.foreign() as show:

                def line(text: str) -> None:
                    printed.append(text)
                    show(text)

                _run("promote", option, branch, cloud, line)
        except ModelError:
            report(failed=next((text for text in reversed(printed) if text.strip()), ""), details="\n".join(printed))
            raise
        jobs.registered(branch, cloud, config)
        report(result="a model passed the gate and is in model.lock", details="\n".join(printed))


def _opened(config: Config, branch: str, cloud: str) -> tuple[Environment, Cloud]:
    from ml_delivery.cloud import Cloud
    from ml_delivery.release.delivery import checked_out

    environment = config.environment(branch or checked_out(config))
    return environment, Cloud.open(config, environment, cloud)


def _run(
    stage: str, option: list[str] | None, branch: str, cloud: str, line: Callable[[str], None] | None = None
) -> None:
    from ml_delivery import commands
    from ml_delivery.jobs import datasets

    config, options = read_config(), commands.parse(option or [])
    variables: dict[str, str] = {}
    given = {**getattr(config, stage).options, **options}
    if (branch or cloud) and datasets.named(given):
        delivery = open_environment(branch, cloud, config=config)
        variables = delivery.cloud.variables()
        datasets.require(config.root, given, delivery)
    elif branch or cloud:
        variables = _opened(config, branch, cloud)[1].variables()
    else:
        datasets.require(config.root, given, None)
    flags = "".join(f" --{name} {value}" for name, value in (("branch", branch), ("cloud", cloud)) if value)
    commands.run(config, stage, options, variables, line, flags)
