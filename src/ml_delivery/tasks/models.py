"""The model's tasks: train, evaluate, promote; each runs the command that the service names for it."""

from __future__ import annotations

from typing import Any

from ml_delivery.tasks.base import BRANCH, CLOUD, action, read_config

OPTIONS: dict[str, Any] = {
    "iterable": ["option"],
    "help": {
        "option": "name=value for the command, as --name value; wins over pipeline.toml's; may be given several times",
        "branch": f"lets the command reach AWS: {BRANCH}",
        "cloud": f"lets the command reach AWS: {CLOUD}",
    },
}


@action(**OPTIONS)
def train(_: Any, option: list[str] | None = None, branch: str = "", cloud: str = "") -> None:
    """Run the service's own command to train, as [train] in pipeline.toml names it."""
    _run("train", option, branch, cloud)


@action(**OPTIONS)
def evaluate(_: Any, option: list[str] | None = None, branch: str = "", cloud: str = "") -> None:
    """Run the service's own command to judge what was trained last, as [evaluate] names it."""
    _run("evaluate", option, branch, cloud)


@action(**OPTIONS)
def promote(_: Any, option: list[str] | None = None, branch: str = "", cloud: str = "") -> None:
    """Run the service's own gate, as [promote] names it: what passes is in model.lock then."""
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
