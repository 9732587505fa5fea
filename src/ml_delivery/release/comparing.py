"""An A/B: two verified releases share the traffic, by a rule that is recorded before, until one of them gets all of it.

It begins and ends by the state machine that deploys and rollbacks share, so that after any interruption the next command
continues it, or gives all traffic back to the control, which was live before.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from ml_delivery import source
from ml_delivery.errors import ConfigError, Refused
from ml_delivery.records import STARTING, VERIFIED, Arm, Experiment, Rule
from ml_delivery.release import words
from ml_delivery.release.deploy import carry_out, goal
from ml_delivery.release.head import COMPARE
from ml_delivery.release.machine import Machine
from ml_delivery.release.results import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.records import Reading
    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.head import Head
    from ml_delivery.release.results import Step

__all__ = ["find", "require", "start", "stop"]

# The metrics of a target are kept by the minute for so many days; https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html
MOST_DAYS = 14


def require(rule: Rule) -> None:
    """Check a rule, which needs no cloud.

    Raises:
        ConfigError: it can't be used; lists every problem.
    """
    limits = {"split": (1, 99), "requests": (1000, 1_000_000_000), "days": (1, MOST_DAYS)}
    problems = [
        f"--{name}: {found}; write a number from {low} to {high}"
        for name, (low, high) in limits.items()
        if not low <= (found := getattr(rule, name)) <= high
    ]
    if not 0 < rule.alpha <= 0.2:
        problems.append(
            f"--alpha: {rule.alpha:g}; write how often a difference may be reported by mistake: 0.05, at most 0.2"
        )
    if not 0 < rule.effect <= 100:
        problems.append(f"--effect: {rule.effect:g}; write percent: 5")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", rule.metric) or rule.metric in ("request", "user", "release", "at"):
        problems.append(f"--metric: {rule.metric!r}; write the name of a number that outcomes have: value")
    for name, choices in (("unit", ("request", "user")), ("count", ("requests", "outcomes"))):
        if getattr(rule, name) not in choices:
            problems.append(f"--{name}: {getattr(rule, name)!r}; write {' or '.join(choices)}")
    if rule.unit == "user" and rule.count == "requests":
        problems.append("--unit user: the target counts requests, not users; add --count outcomes")
    if problems:
        raise ConfigError("the rule of an A/B", problems)


def find(delivery: Delivery) -> Experiment:
    """The environment's newest A/B, which may have ended.

    Raises:
        Refused: there was none yet.
    """
    if found := delivery.ledger.head().experiment:
        return found
    raise Refused(f"{delivery.environment.name} had no A/B yet", next=f"invoke ab --start {_where(delivery)}")


def start(
    delivery: Delivery, rule: Rule, challenger: int, report: Callable[[Step], None], *, wait: float = 0.0
) -> Experiment:
    """Record the rule, then split traffic between what is live, the control, and another verified release.

    A start that was interrupted is continued if it has the same rule.

    Args:
        delivery: the environment.
        rule: as ``require`` accepts it.
        challenger: the other release's number; 0 means the newest other one that was verified and not rolled back.
        report: called after each step.
        wait: seconds to wait for a deploy that is under way.

    Raises:
        Refused: there are no two such releases, something else is under way, or the challenger does not pass its health check.
        LockHeld, Interrupted: as ``deploy``; the control has all traffic.
    """
    who, run, where = source.author(delivery.config.root), Run(report), _where(delivery)
    with delivery.ledger.locked(who, "ab", wait) as lease:
        machine, work, last = Machine(delivery, lease, run), lease.head.work, lease.head.experiment
        if last and last.open and not (work and work.verb == COMPARE and _same(last, rule, challenger)):
            raise Refused(words.experiment(last), next=f"invoke ab --status {where}, or invoke ab --stop {where}")
        if work and work.verb != COMPARE:
            raise Refused(
                f"a {words.work(work)} is under way", next=f"invoke deploy --resume {where}, or invoke rollback {where}"
            )
        if work is None:
            if not delivery.deployer.weighted():
                raise Refused("the target can't split traffic here", next="invoke doctor, which names what it lacks")
            if rule.count == "requests" and not delivery.deployer.counts_since:
                raise Refused(
                    "the target counts requests from the start of a pod, not from the start of an A/B",
                    next=f"invoke ab --start --count outcomes {where}, with the rule's other options",
                )
            live = delivery.deployer.live()
            if live is None:
                raise Refused("nothing is live, so there is nothing to compare", next=f"invoke deploy {where}")
            if live.traffic.weights or live.release != lease.head.live:
                raise Refused(f"{words.split(live)}: not as this pipeline left it", next=f"invoke plan {where}")
            release = goal(delivery, lease.head, live, challenger or _other(delivery, lease.head))
            arms = Arm(live.release, live.deployed), Arm(release.number, release.deployed)
            number = last.number + 1 if last else 1
            machine.begin_compare(Experiment(number, STARTING, rule, *arms, who, time.time()), release)
        carry_out(machine, run, delivery, detach=False)
        return machine.experiment


def stop(
    delivery: Delivery, winner: int, reading: Reading | None, report: Callable[[Step], None], *, wait: float = 0.0
) -> Experiment:
    """End the A/B: its winner gets all traffic, and without a winner its control does.

    An end that was interrupted is continued.

    Args:
        delivery: the environment.
        winner: the number of one of its releases; 0 for none.
        reading: what was measured; it is recorded.
        report: called after each step.
        wait: seconds to wait for a deploy that is under way.

    Raises:
        Refused: no A/B is running, ``winner`` is none of its releases, or the winner does not answer as itself once it has all
            traffic: then the control gets it.
        LockHeld, Interrupted: as ``deploy``.
    """
    who, run, where = source.author(delivery.config.root), Run(report), _where(delivery)
    with delivery.ledger.locked(who, "ab", wait) as lease:
        machine, work, last = Machine(delivery, lease, run), lease.head.work, lease.head.experiment
        if last is None or not last.open:
            raise Refused(f"no A/B is running in {delivery.environment.name}", next=f"invoke ab --start {where}")
        releases = last.control.release, last.challenger.release
        if winner not in (0, *releases):
            raise Refused(
                f"release {winner} is not in A/B {last.number}, which compares {releases[0]} and {releases[1]}",
                next=f"invoke ab --status {where}",
            )
        if work and work.verb == COMPARE:
            machine.put_back(f"stopped by {who} before its start was finished", abandoned=True)
            return machine.experiment
        if work and winner not in (0, last.winner):
            ending = f"with release {last.winner} as its winner" if last.winner else "without a winner"
            raise Refused(f"A/B {last.number} is ending {ending} already", next=f"invoke ab --stop {where}")
        if work is None:
            release = delivery.ledger.read(winner or last.control.release)
            machine.begin_decide(last, release, winner, reading)
        carry_out(machine, run, delivery, detach=False)
        return machine.experiment


def _same(last: Experiment, rule: Rule, challenger: int) -> bool:
    return last.rule == rule and challenger in (0, last.challenger.release)


def _other(delivery: Delivery, head: Head) -> int:
    """The newest verified release but the live one.

    Raises:
        Refused: there is none.
    """
    for one in head.kept:  # newest first
        if one.state == VERIFIED and one.number != head.live:
            return one.number
    raise Refused(
        f"{delivery.environment.name} has one verified release, {head.live}, and an A/B compares two",
        next=f"invoke releases {_where(delivery)}",
    )


def _where(delivery: Delivery) -> str:
    return f"--branch {delivery.environment.branch}{delivery.where}"
