"""The release's tasks: plan, deploy, rollback."""

from __future__ import annotations

from typing import Any

from invoke import Exit

from pipeline import console
from pipeline.tasks import BRANCH, CLOUD, JSON, action, open_environment
from pipeline.tasks.telling import telling_release


@action(help={"branch": BRANCH, "cloud": CLOUD, "json": JSON})
def plan(_: Any, branch: str = "", cloud: str = "", json: bool = False) -> None:
    """Show what a deploy would change; exit 0 for nothing, 2 for something."""
    from pipeline import plan as planning
    from pipeline.monitoring import drift

    delivery = open_environment(branch, cloud)
    made, drifted = planning.make(delivery), drift.find(delivery)
    if json:
        console.document({**vars(made), "drift": drifted})
    else:
        console.say(f"{made.environment}: nothing to do" if not made.changes else f"{made.environment}:")
        for change in made.changes:
            console.say(f"  {change.what} {change.name}: {change.old or 'none'} → {change.new or 'none'}")
        for name in made.foreign:
            console.say(f"  variable {name} is not ours; it stays")
        for one in drifted:
            console.say(f"  drift {one.name}: as defined → {one.how}; next: {one.next}")
    lines = [f"{c.what} {c.name}: {c.old or 'none'} → {c.new or 'none'}" for c in made.changes]
    lines += [f"drift {one.name}: {one.how}" for one in drifted]
    console.summary("\n".join([f"plan for {made.environment}:", *(lines or ["nothing to do"])]))
    if made.changes or drifted:
        raise Exit(code=2)


@action(help={"branch": BRANCH, "cloud": CLOUD, "json": JSON})
def deploy(_: Any, branch: str = "", cloud: str = "", json: bool = False) -> None:
    """Release the branch's artifact; exit 0 means that it is verified, or that there was nothing to do."""
    from pipeline import deploy as deploying

    delivery = open_environment(branch, cloud, prepare=True)
    with telling_release("deploy", delivery) as done:
        outcome = done(deploying.deploy(delivery, tell=console.quiet if json else console.step))
    if json:
        return console.document(outcome)
    if isinstance(outcome, deploying.Outcome):
        return console.outcome(outcome, delivery.cloud.name)
    console.say(
        f"nothing to do: release {outcome.live.release if outcome.live else 0} is live in {outcome.environment}"
    )


@action(help={"branch": BRANCH, "cloud": CLOUD, "to": "a release number; default: the last verified one", "json": JSON})
def rollback(_: Any, branch: str = "", cloud: str = "", to: int = 0, json: bool = False) -> None:
    """Put the last verified release back: code, configuration and model."""
    from pipeline import deploy as deploying

    delivery = open_environment(branch, cloud)
    with telling_release("rollback", delivery) as done:
        outcome = done(deploying.rollback(delivery, to, tell=console.quiet if json else console.step))
    if json:
        return console.document(outcome)
    console.outcome(outcome, delivery.cloud.name)
