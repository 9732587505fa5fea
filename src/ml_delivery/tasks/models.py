"""The model's tasks: train, evaluate, promote; each runs the service's command from ``pipeline.toml``."""

from __future__ import annotations

from typing import Any

from ml_delivery.tasks.base import BRANCH, CLOUD, action, read_config

OPTIONS: dict[str, Any] = {
    "iterable": ["option"],
    "help": {
        "option": "name=value, passed to the command as --name value; overrides pipeline.toml; can be repeated",
        "branch": f"give the command access to AWS: {BRANCH}",
        "cloud": f"give the command access to AWS: {CLOUD}",
    },
}


@action(**OPTIONS)
def train(_: Any, option: list[str] | None = None, branch: str = "", cloud: str = "") -> None:
    """Run the service's training command, [train] in pipeline.toml."""
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

    config = read_config()
    variables: dict[str, str] = {}
    if branch or cloud:
        from ml_delivery.cloud import Cloud
        from ml_delivery.release.delivery import checked_out

        variables = Cloud.open(config, config.environment(branch or checked_out(config)), cloud).variables()
    commands.run(config, stage, commands.parse(option or []), variables)
