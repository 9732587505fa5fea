"""The verbs of delivery: deploy, resume, rollback. The sequence of steps that they share is in ``machine.py``; an A/B's verbs,
which share it too, are in ``comparing.py``.

A deploy succeeds only if the release is *verified*: it gets traffic only after it answered as itself, and if anything stops
the deploy, Ctrl-C included, all traffic goes back to what served before.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ml_delivery import source
from ml_delivery.errors import CloudError, Interrupted, LockHeld, PipelineError, Refused
from ml_delivery.records import RETIRED, ROLLED_BACK, VERIFIED
from ml_delivery.release import foreign, rollout, words
from ml_delivery.release import plan as planning
from ml_delivery.release.head import COMPARE, DECIDE, Previous
from ml_delivery.release.machine import Machine
from ml_delivery.release.results import Outcome, Planned, Run
from ml_delivery.signals import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.records import Live, Release
    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.head import Head, Work
    from ml_delivery.release.results import Plan, Restored, Step

__all__ = ["carry_out", "deploy", "goal", "resume", "rollback"]

# Among how many of the newest releases an approved plan is looked for, and in which states they were live.
RECENT, DEPLOYED = 20, (VERIFIED, ROLLED_BACK)


def deploy(
    delivery: Delivery,
    report: Callable[[Step], None],
    *,
    approved: str | None = None,
    wait: float = 0.0,
    detach: bool = False,
    before: Callable[[], None] = lambda: None,
) -> Outcome:
    """Plan and carry out the plan while holding the environment's lock, so that what the plan was based on can't change.

    An interrupted deploy of the same release is continued; an interrupted deploy of another release is rolled back first.
    Deploying an approved plan again does nothing while its release is live.

    Args:
        delivery: the environment.
        report: called after each step.
        approved: the only plan that may be carried out: its digest, or a file that ``invoke plan --json`` wrote; None: any.
        wait: seconds to wait for a deploy that is under way.
        detach: return at the first pause; ``resume`` continues.
        before: called once there is something to do, before anything is changed; what it raises stops the deploy.

    Raises:
        Refused: a gate stopped it; what served before still serves, and the ledger records why.
        LockHeld: another deploy is under way.
        Interrupted: Ctrl-C; what served before still serves, or the release, if it was verified already.
        CloudError: the cloud failed after the release was verified.
    """
    where = f"--branch {delivery.environment.branch}{delivery.where}"
    if not delivery.foundation.current:
        raise Refused(f"the stack of {delivery.environment.name} is not up to date", next=f"invoke bootstrap {where}")
    who, run = source.author(delivery.config.root), Run(report)
    with delivery.ledger.locked(who, "deploy", wait) as lease:
        machine, left = Machine(delivery, lease, run), lease.head.work
        if left and left.detached:
            raise Refused(
                f"a {words.work(left)} is paused", next=f"invoke deploy --resume {where}, or invoke rollback {where}"
            )
        if left and _same(delivery, left, approved):
            return carry_out(machine, run, delivery, detach)
        if left:
            machine.put_back("abandoned: its command exited without reporting a result", abandoned=True)
        if (compared := lease.head.experiment) and compared.open:
            raise Refused(
                f"{words.experiment(compared)}, and its traffic stays split", next=f"invoke ab --stop {where}"
            )
        with run.step("plan") as results:
            plan = planning.make(delivery)
            repeated = approved is not None and _repeated(delivery, plan, approved)
            if approved is not None and not repeated:
                planning.check(approved, plan, where)
            results.append(Planned(len(plan.changes)))
        if not plan.changes:
            machine.prune()  # the command that made this deploy may have exited before pruning
            live, took = plan.live.release if plan.live else 0, time.perf_counter() - run.began
            return Outcome(delivery.environment.name, None, live, took, steps=tuple(run.steps), repeated=repeated)
        if plan.live and plan.live.traffic.weights:
            raise Refused(
                f"traffic is split, which this pipeline did not do: {words.split(plan.live)}",
                next="end that split with the tool that made it, then run this again",
            )
        if delivery.cloud.name == "aws" and os.environ.get("GITHUB_ACTIONS") and not detach and plan.live:
            rollout.require_time_in_workflow(delivery)
        if plan.live:
            rollout.require_time_for_alarms(delivery)
        before()
        machine.begin_deploy(plan, who)
        return carry_out(machine, run, delivery, detach)


def resume(delivery: Delivery, report: Callable[[Step], None], *, wait: float = 0.0, detach: bool = False) -> Outcome:
    """Continue a deploy or rollback that was paused by ``--detach`` or interrupted; there may be nothing to do.

    Raises:
        Refused, LockHeld, Interrupted: as ``deploy``.
    """
    run = Run(report)
    with delivery.ledger.locked(source.author(delivery.config.root), "resume", wait) as lease:
        if lease.head.work is None:
            live = delivery.deployer.live()
            return Outcome(
                delivery.environment.name, None, live.release if live else 0, time.perf_counter() - run.began
            )
        return carry_out(Machine(delivery, lease, run), run, delivery, detach)


def rollback(delivery: Delivery, to: int, report: Callable[[Step], None], *, wait: float = 0.0) -> Outcome:
    """Roll back to a verified release: code, configuration and model, which are all in its deployed version.

    A deploy that is under way is undone first. If it already had traffic, undoing it is the rollback. So is the end of an A/B,
    by which its control gets all traffic.

    Args:
        delivery: the environment.
        to: the release's number; 0 means the newest one before the live one that was verified and not rolled back.
        report: called after each step.
        wait: seconds to wait for a deploy that is under way.

    Raises:
        Refused: there is no such release, or it no longer answers as itself; what is live stays live.
    """
    who, run = source.author(delivery.config.root), Run(report)
    where = f"--branch {delivery.environment.branch}{delivery.where}"
    with delivery.ledger.locked(who, "rollback", wait) as lease:
        machine, left = Machine(delivery, lease, run), lease.head.work
        if left and left.verb == "rollback" and to in (0, left.release.number):
            return carry_out(machine, run, delivery, detach=False)
        if left is None and (compared := lease.head.experiment) and compared.open:
            machine.begin_decide(compared, delivery.ledger.read(compared.control.release), 0, None)
            left = machine.work
        if left:
            restored = machine.put_back(f"rolled back by {who}", abandoned=True)
            if restored.unread or not restored.whole:
                back = (
                    f"invoke rollback --to {lease.head.live} {where}" if lease.head.live else f"invoke status {where}"
                )
                raise Refused(_serves(restored), next=back)
            previous = left.previous.release if left.previous else 0
            if left.verb != "rollback" and left.weight and previous and to in (0, previous):
                return _outcome(delivery, previous, run)
        with run.step("plan") as results:
            live = delivery.deployer.live()
            if live is None:
                raise Refused("nothing is live, so there is nothing to roll back", next=f"invoke deploy {where}")
            release = goal(delivery, lease.head, live, to)
            results.append(Planned(live=live.release, wanted=release.number))
        machine.begin_rollback(release, Previous(live.deployed, live.release))
        return carry_out(machine, run, delivery, detach=False)


def carry_out(machine: Machine, run: Run, delivery: Delivery, detach: bool) -> Outcome:
    """Carry out all of the work, or restore everything on any error.

    Raises:
        Refused, LockHeld, Interrupted, CloudError: as ``deploy``.
    """
    begun = machine.work
    previous = begun.previous.release if begun.previous else 0
    verb = {"rollback": f"rollback --to {begun.release.number}", COMPARE: "ab --start", DECIDE: "ab --status"}.get(
        begun.verb, "deploy"
    )
    again = f"invoke {verb} --branch {delivery.environment.branch}{delivery.where}"
    try:
        if machine.carry_out(detach):
            weight = machine.experiment.rule.split if begun.verb == COMPARE else 100
            return _outcome(delivery, begun.release.number, run, previous=previous, weight=weight)
        work = machine.work
        return _outcome(delivery, begun.release.number, run, previous=previous, weight=work.weight, due=work.due)
    except LockHeld:
        raise  # the work now belongs to the new holder of the lock
    except BaseException as fault:
        interrupted = isinstance(fault, KeyboardInterrupt)
        foreign.learn(delivery)  # whatever wrote the message
        cause = "interrupted" if interrupted else _cause(fault)
        with uninterrupted():
            try:
                restored = machine.put_back(cause)
            except LockHeld as taken:  # that may be why it failed; the work now belongs to the new holder
                raise taken from fault
            except PipelineError as second:
                raise Refused(
                    f"{cause}; then what served before could not be restored: {second.message}; "
                    "the step where it stopped is recorded",
                    next=f"{second.next or 'check that the cloud answers'}, then {again}",
                ) from fault
        if restored.verified and begun.verb != "deploy":  # which would be refused, since it is live; a deploy prunes
            again = f"invoke status --branch {delivery.environment.branch}{delivery.where}"
        if interrupted:
            raise Interrupted(f"interrupted; {_serves(restored)}", next=again) from fault
        if restored.verified and isinstance(fault, PipelineError):
            raise CloudError(f"{fault.message}; {_serves(restored)}", next=again) from fault
        if isinstance(fault, PipelineError):
            raise Refused(f"refused: {fault.message}; {_serves(restored)}", next=fault.next) from fault
        raise


def _cause(fault: BaseException) -> str:
    """A fault's own words; of a bug its type too, since a KeyError's text is a name alone."""
    if isinstance(fault, PipelineError):
        return fault.message
    return str(fault) if isinstance(fault, OSError) else f"{type(fault).__name__}: {fault}"


def _serves(restored: Restored) -> str:
    """What serves after the previous state was restored, as read from the target."""
    verified = ""
    if restored.verified:
        verified = f"release {restored.verified} was verified already, and the next deploy prunes; "
    if restored.unread:
        return f"{verified}what serves could not be read: {restored.unread}"
    serves = words.serving(restored.release, restored.deployed)
    if not restored.whole:
        return f"{verified}{serves}, which is not what {'was deployed' if verified else 'served before'}"
    return f"{verified}{serves}" if verified else f"{serves} as before"


def _same(delivery: Delivery, left: Work, approved: str | None) -> bool:
    """Whether the unfinished deploy is the one that would be started now."""
    return left.verb == "deploy" and (
        planning.wants(delivery, left.release) if approved is None else planning.digest_of(approved) == left.plan
    )


def _repeated(delivery: Delivery, plan: Plan, approved: str) -> bool:
    """Whether the approved plan was carried out before, and nothing has changed since.

    Raises:
        Refused: its release is no longer live.
    """
    digest = planning.digest_of(approved)
    if digest == plan.digest:
        return False
    done = next(
        (one for one in delivery.ledger.latest(RECENT, []) if one.plan == digest and one.state in DEPLOYED), None
    )
    live = plan.live.release if plan.live else 0
    if done and done.number != live:
        where = f"--branch {delivery.environment.branch}{delivery.where}"
        raise Refused(
            f"this plan was carried out before, as release {done.number}, which is no longer live; release {live} is",
            next=f"invoke plan {where}, and have it approved; or invoke rollback --to {done.number} {where}",
        )
    return done is not None and not plan.changes


def goal(delivery: Delivery, head: Head, live: Live, to: int) -> Release:
    """The release to roll back to.

    Raises:
        Refused: there is none, or it can't be rolled back to.
    """
    name = delivery.environment.name
    where = f"--branch {delivery.environment.branch}{delivery.where}"
    releases = f"invoke releases {where}"
    if to == 0:
        verified = [one.number for one in head.kept if one.state == VERIFIED]
        to = next((number for number in verified if number < live.release or not live.release), 0)
        if to == 0:
            raise Refused(f"{name} has no verified release before {live.release} to roll back to", next=releases)
    if to == live.release:
        raise Refused(f"release {to} is live already", next=releases)
    release = delivery.ledger.read(to)
    if release.state not in (VERIFIED, ROLLED_BACK):
        never = "" if release.state == RETIRED else "was never verified, it "
        raise Refused(f"release {to} {never}is {release.state}", next=releases)
    if to not in [one.number for one in head.kept]:
        raise Refused(
            f"release {to} was pruned; its deployed version no longer exists",
            next=f"git revert --no-edit {release.artifact.commit}..{delivery.environment.branch}, then invoke build "
            f"--branch {delivery.environment.branch} && invoke push {where} && invoke deploy {where}",
        )
    return release


def _outcome(
    delivery: Delivery, number: int, run: Run, previous: int = 0, weight: int = 100, due: float = 0.0
) -> Outcome:
    release = delivery.ledger.read(number)
    seconds = time.perf_counter() - run.began
    live = number if weight == 100 else previous
    return Outcome(delivery.environment.name, release, live, seconds, previous, weight, due, tuple(run.steps))
