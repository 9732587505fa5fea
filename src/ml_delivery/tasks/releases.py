"""The release's tasks: plan, deploy, rollback, unlock."""

from __future__ import annotations

from typing import Any

from invoke import Exit

from ml_delivery.tasks import console
from ml_delivery.tasks.base import BRANCH, CLOUD, JSON, action, open_environment
from ml_delivery.tasks.telling import telling_release

WAIT = "seconds to wait for a deploy that is at work; default: 0"


@action(
    help={
        "branch": BRANCH,
        "cloud": CLOUD,
        "requests-per-second": "estimate what Lambda would ask for so many",
        "json": JSON,
    }
)
def plan(_: Any, branch: str = "", cloud: str = "", requests_per_second: float = 0.0, json: bool = False) -> None:
    """Show what a deploy would change; exit 0 for nothing, 2 for something."""
    from ml_delivery import costs
    from ml_delivery.monitoring import drift
    from ml_delivery.release import plan as planning

    delivery = open_environment(branch, cloud)
    made, drifted = planning.make(delivery), drift.find(delivery)
    cost = None
    if requests_per_second:
        memory, architecture = made.settings["memory"], made.settings["architecture"]
        cost = costs.estimate(requests_per_second, memory, architecture, delivery.target.milliseconds())
    if json:
        console.document({**vars(made), "drift": drifted, "cost": cost})
    else:
        console.say(f"{made.environment}: nothing to do" if not made.changes else f"{made.environment}:")
        for change in made.changes:
            console.say(f"  {change}")
        for name in made.foreign:
            console.say(f"  variable {name} is not ours; it stays")
        for one in drifted:
            console.say(f"  drift {one.name}: as defined → {one.how}; next: {one.next}")
        if cost:
            console.say(f"  cost: {cost}")
        if made.changes:
            console.say(f"  to have exactly this carried out: invoke deploy --plan {made.digest}")
    lines = [*map(str, made.changes), *(f"drift {one.name}: {one.how}" for one in drifted)]
    console.summary("\n".join([f"plan for {made.environment}:", *(lines or ["nothing to do"])]))
    console.output(digest=made.digest)
    if made.changes or drifted:
        raise Exit(code=2)


@action(
    help={
        "branch": BRANCH,
        "cloud": CLOUD,
        "plan": "carry out this plan or none: its digest, or the file that `plan --json` wrote",
        "wait": WAIT,
        "detach": "end once the first traffic step stands; the rest is left to --resume",
        "resume": "go on with a deploy that was detached or has died; nothing to do is fine",
        "json": JSON,
    }
)
def deploy(
    _: Any,
    branch: str = "",
    cloud: str = "",
    plan: str = "",
    wait: int = 0,
    detach: bool = False,
    resume: bool = False,
    json: bool = False,
) -> None:
    """Release the branch's artifact; exit 0 means that it is verified, or that there was nothing to do."""
    from ml_delivery.release import deploy as deploying
    from ml_delivery.release import plan as planning

    delivery = open_environment(branch, cloud, prepare=True)
    tell = console.quiet if json else console.step
    outcome: deploying.Outcome | planning.Plan | None
    with telling_release("deploy", delivery) as done:
        if resume:
            outcome = done(deploying.resume(delivery, tell, wait=wait, detach=detach))
        else:
            outcome = done(deploying.deploy(delivery, tell, approved=plan, wait=wait, detach=detach))
    if json:
        return console.document(outcome)
    if isinstance(outcome, deploying.Outcome):
        return console.outcome(outcome, delivery.cloud.name)
    live = f"release {outcome.live.release if outcome.live else 0} is live" if outcome else "no deploy is under way"
    console.say(f"nothing to do: {live} in {delivery.environment.name}")


@action(
    help={
        "branch": BRANCH,
        "cloud": CLOUD,
        "to": "a release number; default: the last verified one",
        "wait": WAIT,
        "json": JSON,
    }
)
def rollback(_: Any, branch: str = "", cloud: str = "", to: int = 0, wait: int = 0, json: bool = False) -> None:
    """Put the last verified release back: code, configuration and model."""
    from ml_delivery.release import deploy as deploying

    delivery = open_environment(branch, cloud)
    with telling_release("rollback", delivery) as done:
        outcome = done(deploying.rollback(delivery, to, tell=console.quiet if json else console.step, wait=wait))
    if json:
        return console.document(outcome)
    console.outcome(outcome, delivery.cloud.name)


@action(help={"reason": "why; it is recorded", "branch": BRANCH, "cloud": CLOUD})
def unlock(_: Any, reason: str = "", branch: str = "", cloud: str = "") -> None:
    """Take the lock from whoever holds it; what they had under way is settled by the next deploy or rollback."""
    from ml_delivery import source

    if not reason.strip():
        raise Exit("✗ a lock is not taken without a reason\n  next: invoke unlock --reason WHY", 1)
    delivery = open_environment(branch, cloud)
    held = delivery.ledger.unlock(source.author(delivery.config.root), reason)
    console.say(f"unlocked; it was held by {held}" if held else f"{delivery.environment.name} is not locked")
