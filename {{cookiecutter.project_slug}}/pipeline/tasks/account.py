"""What an environment stands on and is delivered by: bootstrap."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from invoke import Exit

from pipeline import console
from pipeline.tasks import BRANCH, CLOUD, action, read_config

if TYPE_CHECKING:
    from pipeline.infra import Event


@action(help={"branch": BRANCH, "cloud": CLOUD, "yes": "don't ask"})
def bootstrap(_: Any, branch: str = "", cloud: str = "", yes: bool = False) -> None:
    """Create or update what the environment stands on and is delivered by, after showing the change sets."""
    from pipeline import infra, stacks
    from pipeline.cloud import Cloud
    from pipeline.delivery import checked_out

    config = read_config()
    environment = config.environment(branch or checked_out(config))
    opened = Cloud.open(config, environment, cloud)
    wanted = [
        stacks.service(config, environment),
        stacks.delivering(config, environment),
        stacks.monitoring(config, environment),
    ]
    if not infra.provider_stands(config, opened):
        wanted.insert(0, stacks.github(config))
    for stack in wanted:
        planned = infra.plan(stack, opened)
        if not planned.changes:
            console.say(f"{planned.stack}: nothing to do")
            continue
        console.say(f"{planned.stack} ({planned.place}):")
        for change in planned.changes:
            replaced = " (replaced!)" if change.replacement else ""
            console.say(f"  {change.action} {change.type} {change.resource}{replaced}")
        if not (yes or opened.name == "embedded" or console.agrees(f"change {planned.stack} on {opened.name}?")):
            infra.discard(opened, planned)
            raise Exit(f"{planned.stack} was not changed", 1)
        infra.apply(opened, planned, _tell)
        console.say(f"{planned.stack}: done")
    _variables(stacks.workflows(config, opened.account))


def _tell(event: Event) -> None:
    if not event.status.endswith("_IN_PROGRESS"):
        console.say(f"  {event.status:<18} {event.resource}{f': {event.reason}' if event.reason else ''}")


def _variables(delivery: dict[str, dict[str, str]]) -> None:
    """What the workflows read, to be set once on GitHub."""
    console.say("\nOn GitHub, in Settings → Secrets and variables → Actions → Variables, set")
    console.say(f"  DELIVERY = {json.dumps(delivery)}")
    names = ", ".join(each["environment"] for each in delivery.values())
    console.say(f"and in Settings → Environments make {names}, each with its branch and its required reviewers.")
    console.say("A private repository is cloned by CodeBuild once it may: aws codebuild import-source-credentials")
