"""What an environment stands on: bootstrap."""

from __future__ import annotations

from typing import Any

from invoke import Exit

from pipeline import console
from pipeline.tasks import BRANCH, CLOUD, action, read_config


@action(help={"branch": BRANCH, "cloud": CLOUD, "yes": "don't ask"})
def bootstrap(_: Any, branch: str = "", cloud: str = "", yes: bool = False) -> None:
    """Create or update what the environment stands on, after showing the change set."""
    from pipeline import infra
    from pipeline.cloud import Cloud
    from pipeline.delivery import checked_out

    config = read_config()
    environment = config.environment(branch or checked_out(config))
    opened = Cloud.open(config, environment, cloud)
    planned = infra.plan(config, environment, opened)
    if not planned.changes:
        return console.say(f"{planned.stack}: nothing to do")
    for change in planned.changes:
        console.say(f"  {change.action} {change.type} {change.resource}{' (replaced!)' if change.replacement else ''}")
    if not (yes or opened.name == "embedded" or console.agrees(f"change {planned.stack} on {opened.name}?")):
        infra.discard(opened, planned)
        raise Exit("nothing was changed", 1)
    infra.apply(opened, planned)
    console.say(f"{planned.stack}: done")
