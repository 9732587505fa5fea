"""The one way to production: lock, stage, probe, shift, probe again, record; and back again on any fault.

Exit is *verified* or nothing: a version gets traffic only after it answered as itself, and whatever stops the deploy
on the way, Ctrl-C included, puts all traffic back to what served before.
"""

from __future__ import annotations

import json
import signal
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from pipeline import plan as planning
from pipeline import source
from pipeline.errors import Interrupted, PipelineError, Refused
from pipeline.ledger import FAILED, ROLLED_BACK, STAGED, VERIFIED, Release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.delivery import Delivery
    from pipeline.plan import Plan
    from pipeline.targets import Live

__all__ = ["Outcome", "Step", "deploy", "rollback"]


@dataclass(frozen=True)
class Step:
    """One thing that was done: its name, what came of it, and how many seconds it took."""

    name: str
    result: str
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What serves after a deploy or rollback: the release, its version, and the steps that led there."""

    environment: str
    release: Release
    version: str
    seconds: float
    steps: list[Step] = field(default_factory=list)


class _Run:
    """Times steps and tells the caller of each."""

    def __init__(self, tell: Callable[[Step], None]) -> None:
        self.steps: list[Step] = []
        self.began = time.perf_counter()
        self._tell = tell

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step; what the body appends to the list is its result."""
        result: list[str] = []
        began = time.perf_counter()
        yield result
        done = Step(name, ", ".join(result), time.perf_counter() - began)
        self.steps.append(done)
        self._tell(done)

    @property
    def seconds(self) -> dict[str, float]:
        return {step.name: round(step.seconds, 3) for step in self.steps}


def deploy(delivery: Delivery, tell: Callable[[Step], None]) -> Outcome | Plan:
    """Plan, and carry the plan out, under the environment's lock, so that what it compares with stays true.

    Args:
        delivery: the environment.
        tell: called after each step.

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
    who = source.author(delivery.config.root)
    run = _Run(tell)
    with delivery.ledger.locked(who, "deploy") as lock:
        _recover(delivery, run)
        with run.step("plan") as result:
            plan = planning.make(delivery)
            result.append(f"{len(plan.changes)} changes" if len(plan.changes) != 1 else "1 change")
        if not plan.changes:
            return plan
        release = delivery.ledger.stage(
            Release(0, STAGED, asdict(plan.artifact), plan.settings, plan.variables, who, time.time())
        )
        version = ""
        with _all_or_nothing(delivery, plan.live, release.number, run):
            with run.step("stage") as result:
                version = delivery.target.stage(release.number, plan.artifact, plan.variables, set(plan.dropped))
                result.append(f"release {release.number} is version {version}")
            with run.step("probe version") as result:
                result += _probe(delivery, release, version)
            delivery.ledger.confirm(lock)
            with run.step("shift") as result:
                delivery.target.shift(version, plan.live)
                result.append(f"live: version {plan.live.version if plan.live else 'none'} → {version}")
            with run.step("probe live") as result:
                result += _probe(delivery, release)
            delivery.ledger.record(release.number, VERIFIED, version=version, seconds=run.seconds)
        return _outcome(delivery, release.number, version, run)


def rollback(delivery: Delivery, to: int, tell: Callable[[Step], None]) -> Outcome:
    """Put a verified release back: code, configuration and model, which are all in its version.

    Args:
        delivery: the environment.
        to: the release's number; 0 means the newest one before the live one that was verified and not rolled back.
        tell: called after each step.

    Raises:
        Refused: there is no such release, or it no longer answers as itself; what is live stays.
    """
    who = source.author(delivery.config.root)
    run = _Run(tell)
    with delivery.ledger.locked(who, "rollback") as lock:
        _recover(delivery, run)
        with run.step("plan") as result:
            live = delivery.target.live()
            if live is None:
                raise Refused("nothing is live, so there is nothing to roll back", next="invoke deploy")
            states = delivery.ledger.states()
            number = to or _newest_verified(states, before=live.release)
            _check(number, states, live, delivery.environment.name)
            release = delivery.ledger.read(number)
            result.append(f"release {live.release} → {number}")
        with _all_or_nothing(delivery, live, 0, run):
            with run.step("probe version") as result:
                result += _probe(delivery, release, release.version)
            delivery.ledger.confirm(lock)
            with run.step("shift") as result:
                delivery.target.shift(release.version, live)
                result.append(f"live: version {live.version} → {release.version}")
            with run.step("probe live") as result:
                result += _probe(delivery, release)
            if live.release in states:
                cause = f"rolled back to release {number} by {who}"
                delivery.ledger.record(live.release, ROLLED_BACK, cause=cause)
            if states[number][-1] != VERIFIED:
                delivery.ledger.record(number, VERIFIED, version=release.version, seconds=run.seconds)
        return _outcome(delivery, number, release.version, run)


def _probe(delivery: Delivery, release: Release, version: str = "") -> list[str]:
    """Ask ``version``, or what is live, whether it is ``release`` and works; what it answered, in words.

    Raises:
        Refused: it raised, timed out, answered another status than 200, or is something else than ``release``.
    """
    place = f"version {version}" if version else "live"
    answers = []
    for path in ("/version", *delivery.config.probe.paths):
        answer = delivery.target.call(path, version)
        if answer.fault:
            raise Refused(f"{place} does not answer {path}: {answer.fault}", next=_logs(delivery))
        if answer.status != 200:
            raise Refused(f"{place} answers {path} with {answer.status}: {answer.body[:300]}", next=_logs(delivery))
        if path == "/version":
            _same(place, answer.body, release)
        answers.append(f"{path} {answer.status} in {answer.seconds * 1000:.0f} ms")
    return answers


def _same(place: str, body: str, release: Release) -> None:
    """Whether ``body``, the answer to /version, names this very release."""
    try:
        said = json.loads(body)
    except ValueError as error:
        raise Refused(f"{place} answers /version with {body[:100]!r}, which is not JSON") from error
    wanted = {
        "release": release.number,
        "commit": release.artifact["commit"],
        "model": release.artifact["model"],
        "content": release.artifact["content"],
    }
    for name, value in wanted.items():
        if not isinstance(said, dict) or said.get(name) != value:
            found = said.get(name) if isinstance(said, dict) else said
            raise Refused(
                f"{place} is another release: /version says {name} {found!r}, release {release.number} has {value!r}",
                next="invoke build && invoke push, then invoke deploy",
            )


@contextmanager
def _all_or_nothing(delivery: Delivery, live: Live | None, number: int, run: _Run) -> Iterator[None]:
    """On any fault put all traffic back to ``live``, record why ``number`` (if one was staged) failed, and say so."""
    try:
        yield
    except BaseException as fault:
        cause = "interrupted" if isinstance(fault, KeyboardInterrupt) else str(fault).split("\n  next: ")[0]
        with _uninterrupted():
            with run.step("restore") as result:
                delivery.target.restore(live)
                result.append(f"version {live.version} serves" if live else "nothing serves, as before")
            if number:
                delivery.ledger.record(number, FAILED, cause=cause, seconds=run.seconds)
        serves = f"release {live.release} serves as before" if live else "nothing serves, as before"
        if isinstance(fault, KeyboardInterrupt):
            raise Interrupted(f"interrupted; {serves}", next="invoke deploy") from fault
        if isinstance(fault, PipelineError):
            raise Refused(f"refused: {fault.message}; {serves}", next=fault.next) from fault
        raise


def _recover(delivery: Delivery, run: _Run) -> None:
    """Finish what a deploy that died has left: its release failed; if it was live, the last verified one is again.

    Called with the lock held, so a release that is still ``staged`` belongs to nobody.
    """
    states = delivery.ledger.states()
    left = [number for number, reached in states.items() if reached[-1] == STAGED]
    if not left:
        return
    with run.step("recover") as result:
        live = delivery.target.live()
        if live is not None and live.release in left:
            last = _newest_verified(states, before=live.release)
            version = delivery.ledger.read(last).version if last else ""
            if version:
                delivery.target.shift(version, live)
                result.append(f"release {last} is live again")
            else:
                delivery.target.restore(None)
        for number in left:
            delivery.ledger.record(number, FAILED, cause="abandoned: its deploy ended without a word")
            result.append(f"release {number} was abandoned")


def _newest_verified(states: dict[int, list[str]], before: int) -> int:
    return max((n for n, reached in states.items() if reached[-1] == VERIFIED and n < before), default=0)


def _check(number: int, states: dict[int, list[str]], live: Live, environment: str) -> None:
    """Whether a rollback may go to ``number``."""
    if number == 0:
        raise Refused(
            f"{environment} has no verified release before {live.release} to roll back to", next="invoke releases"
        )
    if number not in states:
        raise Refused(f"{environment} has no release {number}", next="invoke releases")
    if number == live.release:
        raise Refused(f"release {number} is live already", next="invoke releases")
    if VERIFIED not in states[number]:
        raise Refused(f"release {number} was never verified, it is {states[number][-1]}", next="invoke releases")


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


def _logs(delivery: Delivery) -> str:
    return f"invoke logs --branch {delivery.environment.branch}"


def _outcome(delivery: Delivery, number: int, version: str, run: _Run) -> Outcome:
    release = delivery.ledger.read(number)
    return Outcome(delivery.environment.name, release, version, time.perf_counter() - run.began, run.steps)
