"""The one state machine of deploys and rollbacks: stage, probe, shift and watch, shift all, probe again, record.

Each step is written into the environment's head before it begins, and each can be done again without harm. So whoever
finds work that a dead process has left, on any machine, goes on from the step that is written there, or puts all back.
What is told apart by a single write is whether a release is verified.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ml_delivery.errors import CloudError, Moved, Refused
from ml_delivery.release import retention
from ml_delivery.release.head import FAILED, ROLLED_BACK, STAGED, VERIFIED, Former, Kept, Release, Work
from ml_delivery.release.probing import probe
from ml_delivery.release.targets import Traffic
from ml_delivery.release.watch import look, weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.ledger import Lease
    from ml_delivery.release.plan import Plan

__all__ = ["Machine", "Run", "Step"]

SHIFT_TRIES = 8
# AWS publishes Lambda's metrics by the minute.
AWS_PERIOD = 60
# They come some minutes late, and are stamped with the beginning of their calls: to move on sooner is to look at nothing.
AWS_PAUSE = 180


@dataclass(frozen=True)
class Step:
    """One thing that was done: its name, what came of it, and how many seconds it took."""

    name: str
    result: str
    seconds: float


class Run:
    """Times steps and tells the caller of each."""

    def __init__(self, tell: Callable[[Step], None]) -> None:
        self.steps: list[Step] = []
        self.began = time.perf_counter()
        self._tell = tell

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step; what the body appends to the list is its result. A step that did nothing is not told."""
        result: list[str] = []
        began = time.perf_counter()
        try:
            yield result
        except BaseException:
            result.append("stopped here")
            raise
        finally:
            if result:
                done = Step(name, ", ".join(result), time.perf_counter() - began)
                self.steps.append(done)
                self._tell(done)

    @property
    def seconds(self) -> dict[str, float]:
        return {step.name: round(step.seconds, 3) for step in self.steps}


class Machine:
    """Carries work out under a held lock; ``work`` is the head's, as of the last write."""

    def __init__(self, delivery: Delivery, lease: Lease, run: Run) -> None:
        self._delivery = delivery
        self._lease = lease
        self._run = run

    @property
    def work(self) -> Work:
        found = self._lease.head.work
        assert found is not None
        return found

    def begin_deploy(self, plan: Plan, who: str) -> None:
        """Claim the next number and record its release as staged."""
        number, live = self._lease.head.newest + 1, plan.live
        release = Release(number, STAGED, asdict(plan.artifact), plan.settings, plan.variables, who, time.time())
        former = Former(live.version, live.release) if live else None
        work = Work("deploy", release, former, plan.digest, plan.dropped, step="stage")
        owned = tuple(sorted({*self._lease.head.owned, *plan.variables}))
        self._lease.write(release, newest=number, work=work, owned=owned, swept=False)

    def begin_rollback(self, release: Release, former: Former) -> None:
        self._lease.write(work=Work("rollback", release, former, step="probe version"), swept=False)

    def carry_out(self, detach: bool) -> bool:
        """Do what is left of the work; whether it is finished, or else waits for ``--resume``.

        Raises:
            Refused: a gate said no. All that was done still is; ``put_back`` is the caller's.
            LockHeld: the lock was taken over, and so was the work.
        """
        if self.work.detached:
            self._note(detached=False)
        if not self.work.release.version:
            with self._run.step("stage") as result:
                version = self._delivery.target.stage(self.work.release, self.work.dropped)
                result.append(f"release {self.work.release.number} is version {version}")
            self._note(step="probe version", release=replace(self.work.release, version=version))
        if not self.work.weight:
            with self._run.step("probe version") as result:
                result += probe(self._delivery, self.work.release, self.work.release.version, alive=self._note)
        for weight in self._weights():
            if weight >= self.work.weight:
                self._shift(weight)
                if not self._watch(weight, detach):
                    return False
        self._shift(100)
        self._note(step="probe live")
        with self._run.step("probe live") as result:
            former = self.work.former
            result += probe(self._delivery, self.work.release, former=former.release if former else 0, alive=self._note)
        self._finish()
        self.prune()
        return True

    def put_back(self, cause: str, *, abandoned: bool = False) -> tuple[str, bool]:
        """Give all traffic to what served before, and record why the work failed.

        Who serves, in words, and whether that is what should: someone else may have moved the traffic.

        ``abandoned`` says that the work was somebody else's, who is gone.
        """
        number = self.work.release.number
        self._lease.refresh()
        if self._lease.head.work is None:  # the fault came after the one write that counts
            return f"release {number} is verified and serves", True
        work, former, restored = self.work, self.work.former, True
        serves = f"{former} serves as before" if former else "nothing serves, as before"
        with self._run.step("recover" if abandoned else "restore") as result:
            if work.weight:
                try:
                    self._route(Traffic(former.version) if former else None)
                except Refused as fault:
                    serves, restored = fault.message, False
                    result.append(serves)
                else:
                    result.append(f"version {former.version} serves" if former else serves)
            else:
                result.append(f"version {former.version} serves" if former else serves)
            if work.verb == "deploy":
                failed = replace(work.release, state=FAILED, cause=cause, seconds=self._run.seconds)
            else:
                failed = replace(work.release, cause=f"a rollback to it was refused: {cause}")
            self._lease.write(failed, work=None)
            if abandoned and work.verb == "deploy":
                result.append(f"release {number} was abandoned")
        if not work.weight:  # else calls may still be on their way to its version, which goes with the next deploy
            self.prune()
        return serves, restored

    # -- traffic

    def _weights(self) -> list[int]:
        """What comes before all: nothing when nothing served before, or when it is to be left quickly."""
        work = self.work
        return weights(self._delivery.config.deploy) if work.verb == "deploy" and work.former else []

    @property
    def _aws(self) -> bool:
        return self._delivery.cloud.name == "aws"

    @property
    def _pause(self) -> int:
        """Seconds that each share of the traffic is held."""
        config = self._delivery.config
        return max(config.deploy.pause, AWS_PAUSE + config.function.timeout) if self._aws else config.deploy.pause

    @property
    def pauses(self) -> int:
        """Seconds that all shares of a new version are held together."""
        return len(weights(self._delivery.config.deploy)) * self._pause

    def _shift(self, weight: int) -> None:
        work, now = self.work, time.time()
        old, new = work.former.version if work.former else "none", work.release.version
        # A step that is taken up again goes on with its pause; one that is begun has all of it before it.
        due = work.due if weight == work.weight else now + self._pause
        wanted = Traffic(new) if weight == 100 else Traffic(old, {new: weight})
        with self._run.step("shift" if weight == 100 else f"shift {weight} %") as result:
            self._route(wanted, step=f"shift {weight} %", weight=weight, since=work.since or now, due=due)
            result.append(f"live: version {old} → {new}" if weight == 100 else f"version {new} beside {old}")

    def _route(self, wanted: Traffic | None, **changes: Any) -> None:
        """Give the traffic to ``wanted``, if it is where we left it.

        It is looked at, then the lock is confirmed by writing ``changes`` down, then it is moved on condition that it
        still is as it was seen. Who took the lock over meanwhile moves it too, so a late holder fails at one or the other.

        Raises:
            Refused: someone else moved it.
            LockHeld: so did who took the lock over.
        """
        target, work = self._delivery.target, self.work
        ours = {work.release.version, work.former.version if work.former else ""}
        for turn in range(SHIFT_TRIES):
            seen = target.traffic()
            if seen and not seen.versions <= ours:
                raise Refused(f"version {seen.version} serves, by someone else's doing", next="invoke status")
            self._note(**changes)
            if wanted is None and seen is None:
                return
            try:
                target.shift(wanted, seen, f"release {work.release.number}, lock {self._lease.head.token}")
            except Moved:  # or it was us, and the answer was lost; or what was seen is old
                self._lease.refresh()  # who took the lock over is who moved it
                time.sleep(0.05 * 2**turn)
                continue
            return
        raise Refused("the traffic is moved by someone else again and again", next="invoke status")

    def _watch(self, weight: int, detach: bool) -> bool:
        """Look at the numbers until the weight's time is up; False when that is left to ``--resume``.

        Raises:
            Refused: a number crossed its line.
        """
        rules = self._delivery.config.deploy
        period = max(rules.period, AWS_PERIOD) if self._aws else rules.period
        with self._run.step(f"watch {weight} %") as result:
            while True:
                seen = look(self._delivery, self.work.release.version, weight, self.work.since)
                before = [one for one in self.work.release.watched if one["weight"] != weight]
                self._note(release=replace(self.work.release, watched=[*before, asdict(seen)]))
                if seen.breach:
                    raise Refused(seen.breach, next=f"invoke logs --branch {self._delivery.environment.branch}")
                left = self.work.due - time.time()
                if left <= 0:
                    result.append(str(seen))
                    return True
                if detach:
                    self._note(detached=True)
                    result.append(f"{seen}; left to --resume, due in {left:.0f} s")
                    return False
                time.sleep(min(period, left))

    # -- the record

    def _note(self, **changes: Any) -> None:
        self._lease.write(work=replace(self.work, **changes))

    def _finish(self) -> None:
        """The release is verified: one write says so, and ends the work."""
        head, work = self._lease.head, self.work
        verified = replace(work.release, state=VERIFIED, seconds=self._run.seconds)
        events, owned = [verified], head.owned
        if work.verb == "deploy":
            owned = tuple(sorted(work.release.variables))
        else:
            verified = replace(verified, cause="", seconds=work.release.seconds)
            events = [verified] if work.release.state != VERIFIED else []
            if work.former and (left := self._delivery.ledger.find(work.former.release)):
                who = head.holder.who if head.holder else "someone"
                cause = f"rolled back to release {verified.number} by {who}"
                events.append(replace(left, state=ROLLED_BACK, cause=cause))
        kept = {one.number: one for one in head.kept}
        if work.verb == "rollback" and work.former and work.former.release in kept:
            kept[work.former.release] = replace(kept[work.former.release], state=ROLLED_BACK)
        kept[verified.number] = Kept.of(verified)
        self._lease.write(
            *events,
            work=None,
            live=verified.number,
            kept=tuple(kept[number] for number in sorted(kept, reverse=True)),
            owned=owned,
        )

    def prune(self) -> None:
        """Remove what retention does not keep; what can't be removed now is removed the next time."""
        if self._lease.head.swept:
            return
        with self._run.step("prune") as result:
            try:
                result += retention.prune(self._delivery, self._lease)
            except CloudError as error:
                result.append(f"left to the next deploy: {error.message}")
