"""The verbs of delivery: deploy, resume, rollback. What they have in common, and its order, is ``machine.py``'s.

Exit is *verified* or nothing: a version gets traffic only after it answered as itself, and whatever stops the deploy
on the way, Ctrl-C included, puts all traffic back to what served before.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_delivery import source
from ml_delivery.errors import Interrupted, LockHeld, PipelineError, Refused
from ml_delivery.release import plan as planning
from ml_delivery.release.head import ROLLED_BACK, VERIFIED, Former, Release
from ml_delivery.release.machine import Machine, Run, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.head import Head, Work
    from ml_delivery.release.plan import Plan
    from ml_delivery.release.targets import Live

# What the session of a workflow's role (an hour) leaves for pauses.
SESSION_SECONDS = 2700

__all__ = ["Outcome", "Step", "deploy", "resume", "rollback"]


@dataclass(frozen=True)
class Outcome:
    """Where a deploy or rollback has come to: the release, its version, and the steps that led there.

    ``former`` is the release that served before; 0 when none of ours did. ``weight`` is 100, or, of a deploy that was left
    to ``--resume``, its percent of the traffic; then ``due`` says when that goes on (seconds since 1970).
    """

    environment: str
    release: Release
    version: str
    seconds: float
    former: int = 0
    weight: int = 100
    due: float = 0.0
    steps: list[Step] = field(default_factory=list)


def deploy(
    delivery: Delivery, tell: Callable[[Step], None], *, approved: str = "", wait: float = 0.0, detach: bool = False
) -> Outcome | Plan:
    """Plan, and carry the plan out, under the environment's lock, so that what it compares with stays true.

    What a deploy of the same release that died has left is gone on with; what another one has left is put back first.

    Args:
        delivery: the environment.
        tell: called after each step.
        approved: the plan that may be carried out: its digest, or a file that ``invoke plan --json`` wrote.
        wait: seconds to wait for a deploy that is at work.
        detach: leave the pauses to ``resume``.

    Returns:
        The outcome; or the plan itself when it has no changes.

    Raises:
        Refused: a gate said no; the old version serves, and the ledger says why.
        LockHeld: another deploy is at work.
        Interrupted: Ctrl-C; the old version serves.
    """
    if not delivery.foundation.current:
        raise Refused(
            f"what {delivery.environment.name} stands on differs from infra/service.yaml",
            next=f"invoke bootstrap --branch {delivery.environment.branch} --cloud {delivery.cloud.name}",
        )
    who, run = source.author(delivery.config.root), Run(tell)
    with delivery.ledger.locked(who, "deploy", wait) as lease:
        machine, left = Machine(delivery, lease, run), lease.head.work
        if left and left.detached:
            raise Refused(f"a {left} is under way", next="invoke deploy --resume, or invoke rollback")
        if left and _same(delivery, left, approved):
            return _carry_out(machine, run, delivery, detach)
        if left:
            machine.put_back("abandoned: its deploy ended without a word", abandoned=True)
        with run.step("plan") as result:
            plan = planning.make(delivery)
            if approved:
                planning.check(approved, plan)
            result.append(f"{len(plan.changes)} changes" if len(plan.changes) != 1 else "1 change")
        if not plan.changes:
            machine.prune()  # whoever did this deploy may have died before
            return plan
        if plan.live and plan.live.traffic.weights:
            shared = ", ".join(f"version {v} has {p} %" for v, p in plan.live.traffic.weights.items())
            raise Refused(f"someone else is moving the traffic: {shared}", next="invoke status")
        if delivery.cloud.name == "aws" and os.environ.get("GITHUB_ACTIONS") and not detach and plan.live:
            _fits_a_session(machine)
        machine.begin_deploy(plan, who)
        return _carry_out(machine, run, delivery, detach)


def resume(
    delivery: Delivery, tell: Callable[[Step], None], *, wait: float = 0.0, detach: bool = False
) -> Outcome | None:
    """Go on with what ``--detach``, or a process that died, has left; None when there is nothing.

    Raises:
        Refused, LockHeld, Interrupted: as ``deploy``.
    """
    run = Run(tell)
    with delivery.ledger.locked(source.author(delivery.config.root), "resume", wait) as lease:
        if lease.head.work is None:
            return None
        return _carry_out(Machine(delivery, lease, run), run, delivery, detach)


def rollback(delivery: Delivery, to: int, tell: Callable[[Step], None], *, wait: float = 0.0) -> Outcome:
    """Put a verified release back: code, configuration and model, which are all in its version.

    A deploy that is on its way is put back, and that is all, if it had traffic already.

    Args:
        delivery: the environment.
        to: the release's number; 0 means the newest one before the live one that was verified and not rolled back.
        tell: called after each step.
        wait: seconds to wait for a deploy that is at work.

    Raises:
        Refused: there is no such release, or it no longer answers as itself; what is live stays.
    """
    who, run = source.author(delivery.config.root), Run(tell)
    with delivery.ledger.locked(who, "rollback", wait) as lease:
        machine, left = Machine(delivery, lease, run), lease.head.work
        if left and left.verb == "rollback" and to in (0, left.release.number):
            return _carry_out(machine, run, delivery, detach=False)
        if left:
            serves, restored = machine.put_back(f"taken back by {who}", abandoned=True)
            if not restored:
                raise Refused(serves, next="invoke status")
            former = left.former.release if left.former else 0
            if left.verb == "deploy" and left.weight and former and to in (0, former):
                return _outcome(delivery, former, run)
        with run.step("plan") as result:
            live = delivery.target.live()
            if live is None:
                raise Refused("nothing is live, so there is nothing to roll back", next="invoke deploy")
            release = _goal(delivery, lease.head, live, to)
            result.append(f"release {live.release} → {release.number}")
        machine.begin_rollback(release, Former(live.version, live.release))
        return _carry_out(machine, run, delivery, detach=False)


def _carry_out(machine: Machine, run: Run, delivery: Delivery, detach: bool) -> Outcome:
    """All of it, or on any fault all back."""
    begun = machine.work
    former, again = begun.former.release if begun.former else 0, f"invoke {begun.verb}"
    try:
        if machine.carry_out(detach):
            return _outcome(delivery, begun.release.number, run, former=former)
        work = machine.work
        return _outcome(delivery, begun.release.number, run, former=former, weight=work.weight, due=work.due)
    except LockHeld:
        raise  # so is the work
    except BaseException as fault:
        cause = "interrupted" if isinstance(fault, KeyboardInterrupt) else str(fault).split("\n  next: ")[0]
        with _uninterrupted():
            try:
                serves, _ = machine.put_back(cause)
            except LockHeld as taken:  # that may well be why it failed, and now it is not ours to put back
                raise taken from fault
            except PipelineError as second:
                raise Refused(
                    f"{cause}; then what served before could not be put back: {second.message}; "
                    "where it stopped is on record",
                    next=f"{second.next or 'see that the cloud answers'}, then {again}",
                ) from fault
        if isinstance(fault, KeyboardInterrupt):
            raise Interrupted(f"interrupted; {serves}", next=again) from fault
        if isinstance(fault, PipelineError):
            raise Refused(f"refused: {fault.message}; {serves}", next=fault.next) from fault
        raise


def _fits_a_session(machine: Machine) -> None:
    """A workflow's credentials end after an hour, and with them the means to put anything back."""
    if machine.pauses > SESSION_SECONDS:
        raise Refused(
            f"the pauses between traffic steps take {machine.pauses / 60:.0f} minutes, a workflow's session ends after 60",
            next="shorten deploy.pause in pipeline.toml, or invoke deploy --detach, and --resume later",
        )


def _same(delivery: Delivery, left: Work, approved: str) -> bool:
    """Whether what was left is what would be begun now."""
    return left.verb == "deploy" and (
        planning.digest_of(approved) == left.plan if approved else planning.wants(delivery, left.release)
    )


def _goal(delivery: Delivery, head: Head, live: Live, to: int) -> Release:
    """The release that a rollback goes to.

    Raises:
        Refused: there is none, or it is not one to go to.
    """
    name = delivery.environment.name
    if to == 0:
        verified = [one.number for one in head.kept if one.state == VERIFIED]
        to = next((number for number in verified if number < live.release or not live.release), 0)
        if to == 0:
            raise Refused(
                f"{name} has no verified release before {live.release} to roll back to", next="invoke releases"
            )
    if to == live.release:
        raise Refused(f"release {to} is live already", next="invoke releases")
    release = delivery.ledger.read(to)
    if release.state not in (VERIFIED, ROLLED_BACK):
        raise Refused(f"release {to} was never verified, it is {release.state}", next="invoke releases")
    if to not in [one.number for one in head.kept]:
        raise Refused(f"release {to} was pruned; its version is gone", next="deploy its commit again")
    return release


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let nobody stop what puts things right: a second Ctrl-C, or CI's SIGTERM after it, changes nothing."""
    # Not SIG_IGN, which Python reports as an error when it races with a signal.
    former = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _outcome(delivery: Delivery, number: int, run: Run, **more: Any) -> Outcome:
    found = delivery.ledger.read(number)
    seconds = time.perf_counter() - run.began
    return Outcome(delivery.environment.name, found, found.version, seconds, steps=run.steps, **more)
