"""The model's tasks: train, evaluate, promote; each runs the service's command from ``pipeline.toml``."""

from __future__ import annotations

from typing import Any

from ml_delivery.tasks import jobs
from ml_delivery.tasks.base import BRANCH, CLOUD, action, open_environment, read_config

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
    help={**OPTIONS["help"], "on": jobs.ON, "instances": "with --on: how many hosts share the parts of the training"},
)
def train(
    _: Any, option: list[str] | None = None, branch: str = "", cloud: str = "", on: str = "", instances: int = 1
) -> None:
    """Run the service's training command, [train] in pipeline.toml."""
    from ml_delivery import commands
    from ml_delivery.errors import ConfigError

    jobs.require(on)
    if on:
        return jobs.train(commands.parse(option or []), instances, branch, cloud)
    if instances != 1:
        raise ConfigError("--instances", ["only a job has hosts; add --on, or omit --instances"])
    _run("train", option, branch, cloud)


@action(**OPTIONS)
def evaluate(_: Any, option: list[str] | None = None, branch: str = "", cloud: str = "") -> None:
    """Run the service's command that evaluates the model trained last, [evaluate] in pipeline.toml."""
    _run("evaluate", option, branch, cloud)


@action(**OPTIONS)
def promote(_: Any, option: list[str] | None = None, branch: str = "", cloud: str = "") -> None:
    """Run the service's promotion gate, [promote] in pipeline.toml; a model that passes is written to model.lock."""
    _run("promote", option, branch, cloud)


def _run(stage: str, option: list[str] | None, branch: str, cloud: str) -> None:
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
        from ml_delivery.cloud import Cloud
        from ml_delivery.release.delivery import checked_out

        variables = Cloud.open(config, config.environment(branch or checked_out(config)), cloud).variables()
    else:
        datasets.require(config.root, given, None)
    commands.run(config, stage, options, variables)
