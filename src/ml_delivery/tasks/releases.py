"""The release's tasks: plan, deploy, ship, rollback, retire, unlock."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from invoke import Exit

from ml_delivery.tasks import artifacts, console
from ml_delivery.tasks.base import BRANCH, CLOUD, JSON, action, open_environment
from ml_delivery.tasks.reporting import reporting, reporting_release

if TYPE_CHECKING:
    from ml_delivery.records import Release
    from ml_delivery.release.delivery import Delivery

DETACH = "exit after the first traffic step; deploy --resume continues"
WAIT = "seconds to wait for a deploy that is under way; default: 0"


@action(
    help={
        "branch": BRANCH,
        "cloud": CLOUD,
        "requests-per-second": "estimate the cost at this request rate, by list prices",
        "json": JSON,
    }
)
def plan(_: Any, branch: str = "", cloud: str = "", requests_per_second: float = 0.0, json: bool = False) -> None:
    """Show what a deploy would change; exit 2 if there are changes, else 0."""
    from ml_delivery.monitoring import drift
    from ml_delivery.release import plan as planning
    from ml_delivery.release import words

    delivery = open_environment(branch, cloud)
    made, drifted = planning.make(delivery), [*drift.of_bucket(delivery), *drift.find(delivery)]
    cost = delivery.deployer.cost(requests_per_second) if requests_per_second else None
    artifact = f"artifact {made.artifact.digest}, built from {made.artifact.version}"
    changes = [words.change(one, made) for one in made.changes]
    if json:
        console.document({**vars(made), "drift": drifted, "cost": cost})
    else:
        console.say(f"{made.environment}: nothing to do" if not made.changes else f"{made.environment}:")
        for line in changes:
            console.say(f"  {line}")
        for name in made.foreign:
            console.say(f"  variable {name} was not set by this pipeline; it stays")
        for one in drifted:
            console.say(f"  drift {one.kind} {one.name}: as defined → {one.how}; next: {one.next}")
        if cost:
            console.say(f"  cost: {console.cost(cost)}")
        if made.changes:
            console.say(f"  {artifact}")
            if made.rollout.weights:
                console.say(f"  traffic shifts: {words.rollout(made.rollout)}")
            console.say(f"  to carry out exactly this: invoke deploy --plan {made.digest} {_where(delivery)}")
    lines = [*changes, *(f"drift {one.kind} {one.name}: {one.how}" for one in drifted)]
    console.summary("\n".join([f"plan for {made.environment}:", *(lines or ["nothing to do"]), artifact]))
    console.output(digest=made.digest)
    if made.changes or drifted:
        raise Exit(code=2)


@action(
    help={
        "branch": BRANCH,
        "cloud": CLOUD,
        "plan": "carry out only this plan: its digest, or the file that `plan --json` wrote",
        "wait": WAIT,
        "detach": DETACH,
        "resume": "continue a deploy that was detached or interrupted, if there is one",
        "json": JSON,
    }
)
def deploy(
    _: Any,
    branch: str = "",
    cloud: str = "",
    plan: str | None = None,
    wait: int = 0,
    detach: bool = False,
    resume: bool = False,
    json: bool = False,
) -> None:
    """Release the branch's artifact; exit 0 means that it is verified, or that there was nothing to do."""
    from ml_delivery import hooks
    from ml_delivery.release import deploy as deploying
    from ml_delivery.release import front
    from ml_delivery.release import plan as planning

    if plan is not None:
        if resume:
            raise Exit("✗ --resume continues the deploy that was begun, by its own plan\n  next: leave --plan out", 1)
        planning.digest_of(plan)  # before anything is begun, a hook included
    delivery = open_environment(branch, cloud, prepare=True)
    report = console.quiet if json else console.step
    found = front.find(delivery, prepare=True)  # first, so that a right that is missing stops nothing that is half done
    _announce_wait(delivery, wait)
    with reporting_release("deploy", delivery) as reported:
        if resume:
            outcome = reported(deploying.resume(delivery, report, wait=wait, detach=detach))
        else:
            again = f"invoke deploy{'' if plan is None else f' --plan {plan}'} {_where(delivery)}"
            before = partial(hooks.run, delivery.config, "pre_deploy", again, **_facts(delivery))
            done = deploying.deploy(delivery, report, approved=plan, wait=wait, detach=detach, before=before)
            outcome = reported(done)
    if not found.address:  # until the first release is live, there is nothing to call
        found = front.find(delivery, prepare=True)
    if json:
        console.document({**vars(outcome), "address": found.address})
    elif outcome.release:
        console.outcome(outcome, delivery)
    else:
        live = f"release {outcome.live} {'has already deployed this plan and ' if outcome.repeated else ''}is live"
        says = f"nothing to do: {live if outcome.live else 'no release is live'} in {delivery.environment.name}"
        console.say(says)
        console.summary(says)
    if not json:
        console.front(found, delivery)
    if outcome.release and outcome.weight == 100:
        hooks.run(delivery.config, "post_deploy", **_facts(delivery, outcome.release))


@action(help={"branch": BRANCH, "cloud": CLOUD, "wait": WAIT, "detach": DETACH})
def ship(context: Any, branch: str = "", cloud: str = "", wait: int = 0, detach: bool = False) -> None:
    """Build, push and deploy: the whole way from the branch's commit to a verified release."""
    artifacts.build(context, branch=branch)
    artifacts.push(context, branch=branch, cloud=cloud)
    deploy(context, branch=branch, cloud=cloud, wait=wait, detach=detach)


@action(
    help={
        "branch": BRANCH,
        "cloud": CLOUD,
        "to": "a release's number, or its semantic version, such as v1.4.2; default: the last verified one",
        "wait": WAIT,
        "json": JSON,
    }
)
def rollback(_: Any, branch: str = "", cloud: str = "", to: str = "", wait: int = 0, json: bool = False) -> None:
    """Roll back to the last verified release: code, configuration and model."""
    from ml_delivery import hooks
    from ml_delivery.release import deploy as deploying
    from ml_delivery.release import front, numbers

    numbers.require(to)
    delivery = open_environment(branch, cloud)
    number = numbers.numbered(delivery, to)
    found = front.find(delivery)
    _announce_wait(delivery, wait)
    with reporting_release("rollback", delivery) as reported:
        outcome = reported(deploying.rollback(delivery, number, console.quiet if json else console.step, wait=wait))
    if json:
        console.document({**vars(outcome), "address": found.address})
    else:
        console.outcome(outcome, delivery)
        console.front(found, delivery)
    hooks.run(delivery.config, "post_rollback", **_facts(delivery, outcome.release))


@action(help={"branch": BRANCH, "cloud": CLOUD, "yes": "don't ask for confirmation", "wait": WAIT})
def retire(_: Any, branch: str = "", cloud: str = "", yes: bool = False, wait: int = 0) -> None:
    """Remove what serves and costs while idle, after asking; the ledger and artifacts stay, and deploy brings it back."""
    from ml_delivery.release import retiring

    delivery = open_environment(branch, cloud)
    idle, name = retiring.find(delivery), delivery.environment.name
    console.say(f"this takes down {name} on {delivery.cloud.name}: {', '.join(idle.names)}; {console.ended(idle)}")
    if not yes and not console.agrees(f"retire {name}?"):
        raise Exit(f"nothing was retired\n  next: invoke retire --yes {_where(delivery)}", 1)
    _announce_wait(delivery, wait)
    with reporting("retire", delivery.config, delivery.environment, delivery.cloud) as report:
        number = retiring.retire(delivery, wait=wait)
        says = f"release {number} is retired" if number else "what was not verified is removed"
        report(result=says, undo=f"invoke deploy {_where(delivery)}")
    console.say(f"{says}; to bring it back: invoke deploy {_where(delivery)}")


def _announce_wait(delivery: Delivery, wait: int) -> None:
    """Print what is waited for, if something is."""
    from ml_delivery.release import words

    holder = delivery.ledger.head().holder if wait else None
    if holder and not holder.gone():
        console.warn(f"waiting up to {wait} s for {words.holder(holder)}")


def _where(delivery: Delivery) -> str:
    """The options that select the environment."""
    return f"--branch {delivery.environment.branch}{delivery.where}"


def _facts(delivery: Delivery, release: Release | None = None) -> dict[str, str]:
    """The variables that are passed to hooks."""
    environment = delivery.environment
    where = {"RELEASE_ENVIRONMENT": environment.name, "RELEASE_BRANCH": environment.branch}
    what = {"RELEASE_NUMBER": str(release.number), "RELEASE_VERSION": release.deployed} if release else {}
    return {**where, "RELEASE_CLOUD": delivery.cloud.name, **what}


@action(help={"reason": "why; it is recorded", "branch": BRANCH, "cloud": CLOUD})
def unlock(_: Any, reason: str = "", branch: str = "", cloud: str = "") -> None:
    """Release the lock by force; the next deploy or rollback continues or undoes what was under way."""
    from ml_delivery import source
    from ml_delivery.release import words

    if not reason.strip():
        where = "".join(f" --{name} {value}" for name, value in (("branch", branch), ("cloud", cloud)) if value)
        raise Exit(f"✗ --reason is missing; it is recorded\n  next: invoke unlock --reason WHY{where}", 1)
    delivery = open_environment(branch, cloud)
    held = delivery.ledger.unlock(source.author(delivery.config.root), reason)
    console.say(
        f"unlocked; it was held by {words.holder(held)}" if held else f"{delivery.environment.name} is not locked"
    )
