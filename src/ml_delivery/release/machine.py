"""The one state machine of deploys, rollbacks and A/Bs: stage, health check, shift and watch, shift all, check again, record.

Each step is recorded in the environment's head before it starts, and each is idempotent. So a command on any machine that
finds unfinished work of a process that has ended continues from the recorded step, or restores the previous state. One
atomic write decides whether a release is verified.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ml_delivery.errors import CloudError, LockHeld, Moved, Refused
from ml_delivery.records import (
    FAILED,
    ROLLED_BACK,
    RUNNING,
    STAGED,
    STOPPED,
    STOPPING,
    VERIFIED,
    Experiment,
    Reading,
    Release,
    Traffic,
)
from ml_delivery.release import retention, rollout, words
from ml_delivery.release.head import COMPARE, DECIDE, Kept, Previous, Work
from ml_delivery.release.probing import probe, send
from ml_delivery.release.results import Pruned, Restored, Shifted, Staged, Watched
from ml_delivery.release.serving import serving
from ml_delivery.release.watch import look

if TYPE_CHECKING:
    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.ledger import Lease
    from ml_delivery.release.results import Plan, Run

__all__ = ["Machine"]

SHIFT_TRIES = 8
# A shift may not be visible everywhere at once, since AWS's copies follow each other; usually it is within a second.
SETTLE_SECONDS = 2.0


class Machine:
    """Carries out work while holding the lock; ``work`` is the head's, as of the last write."""

    def __init__(self, delivery: Delivery, lease: Lease, run: Run) -> None:
        self._delivery = delivery
        self._lease = lease
        self._run = run
        self._rollout = rollout.plan(delivery)

    @property
    def work(self) -> Work:
        """What is under way."""
        found = self._lease.head.work
        assert found is not None
        return found

    @property
    def experiment(self) -> Experiment:
        """The newest A/B."""
        found = self._lease.head.experiment
        assert found is not None
        return found

    def begin_deploy(self, plan: Plan, who: str) -> None:
        """Claim the next number and record its release as staged."""
        number, live = self._lease.head.newest + 1, plan.live
        release = Release(
            number, STAGED, plan.artifact, plan.settings, plan.variables, who, time.time(), plan=plan.digest
        )
        previous = Previous(live.deployed, live.release) if live else None
        work = Work("deploy", release, previous, plan.digest, plan.dropped, step="stage")
        owned = tuple(sorted({*self._lease.head.owned, *plan.variables}))
        self._lease.write(release, newest=number, work=work, owned=owned, swept=False)

    def begin_rollback(self, release: Release, previous: Previous) -> None:
        """Record that ``release`` is to serve again."""
        self._lease.write(work=Work("rollback", release, previous, step="probe version"), swept=False)

    def begin_compare(self, experiment: Experiment, release: Release) -> None:
        """Record an A/B by its rule, before ``release``, its challenger, gets any traffic."""
        previous = Previous(experiment.control.deployed, experiment.control.release)
        self._lease.write(experiment, work=Work(COMPARE, release, previous, step="probe version"), swept=False)

    def begin_decide(self, experiment: Experiment, release: Release, winner: int, reading: Reading | None) -> None:
        """Record that an A/B ends, and that ``release``, one of its two, is to get all traffic."""
        control, split = experiment.control, experiment.rule.split
        work = Work(DECIDE, release, Previous(control.deployed, control.release), step="shift", weight=split)
        stopping = replace(experiment, state=STOPPING, winner=winner, reading=reading)
        self._lease.write(stopping, work=replace(work, since=experiment.since), swept=False)

    def carry_out(self, detach: bool) -> bool:
        """Do the rest of the work. Returns True when it is finished, False when it is paused until ``--resume``.

        Raises:
            Refused: a gate stopped it. Nothing is undone; the caller must call ``put_back``.
            LockHeld: the lock was taken over, and the work with it.
        """
        if self.work.detached:
            self._note(detached=False)
        if not self.work.release.deployed:
            with self._run.step("stage") as results:
                self._require_stored()
                deployed = self._delivery.deployer.stage(self.work.release, self.work.dropped)
                results.append(Staged(self.work.release.number, deployed))
            self._note(step="probe version", release=replace(self.work.release, deployed=deployed))
        if not self.work.weight:
            with self._run.step("probe version") as results:
                release = self.work.release
                probed = probe(self._delivery, release, release.deployed, alive=self._note)
                sent = send(self._delivery, release.deployed, alive=self._note)
                results.append(replace(probed, asked=(*probed.asked, *sent)))
        if self.work.verb == COMPARE:
            self._shift(self.experiment.rule.split)
            self._started()
            return True
        for weight in self._weights():
            if weight >= self.work.weight:
                self._shift(weight)
                if not self._watch(weight, detach):
                    return False
        self._shift(100)
        self._note(step="probe live")
        with self._run.step("probe live") as results:
            before = self.work.previous.release if self.work.previous else 0
            if before == self.work.release.number:  # the control of an A/B: it is the challenger that may still answer
                before = self.experiment.challenger.release
            results.append(probe(self._delivery, self.work.release, previous=before, alive=self._note))
        self._finish()
        self.prune()
        return True

    def _require_stored(self) -> None:
        """Check that what is to be staged is what was pushed, before the target gets it.

        Raises:
            Refused: what is stored there has another digest, or does not exist.
        """
        artifact, branch = self.work.release.artifact, f"--branch {self._delivery.environment.branch}"
        if (found := self._delivery.deployer.stored(artifact)) != artifact.digest:
            where = f"{branch}{self._delivery.where}"
            raise Refused(
                f"{artifact.location} is {found or 'missing'}, what was pushed for {artifact.version} is {artifact.digest}",
                next=f"invoke build {branch} && invoke push {where} && invoke deploy {where}",
            )

    def put_back(self, cause: str, *, abandoned: bool = False) -> Restored:
        """Return all traffic to what served before, and record why the work failed.

        Args:
            cause: why.
            abandoned: whether the work was another command's, which exited without reporting a result.
        """
        if self._lease.head.work is not None:
            self._lease.refresh()
        if self._lease.head.work is None:  # the error came after the write that made the release verified
            number = self._lease.head.live
            deployed = next(one.deployed for one in self._lease.head.kept if one.number == number)
            return replace(serving(self._delivery, deployed, whole=True, settle=0.0), verified=number)
        work, previous, whole = self.work, self.work.previous, True
        number = work.release.number
        with self._run.step("recover" if abandoned else "restore") as results:
            if work.weight:
                try:
                    self._route(Traffic(previous.deployed) if previous else None)
                except Refused:
                    whole = False
            failed: Release | Experiment
            if work.verb == "deploy":
                failed = replace(work.release, state=FAILED, cause=cause, steps=self._run.took)
            elif work.verb in (COMPARE, DECIDE):
                failed = replace(self.experiment, state=STOPPED, ended=time.time(), winner=0, cause=cause)
            else:
                failed = replace(work.release, cause=f"a rollback to it was refused: {cause}")
            self._lease.write(failed, work=None)
            settle = SETTLE_SECONDS if work.weight and whole else 0.0
            restored = serving(self._delivery, previous.deployed if previous else "", whole, settle)
            restored = replace(restored, abandoned=number if abandoned and work.verb == "deploy" else 0)
            results.append(restored)
        if not work.weight:  # else requests to it may still be in flight; the next deploy removes it
            self.prune()
        return restored

    # -- traffic

    def _weights(self) -> tuple[int, ...]:
        """The percentages before 100: none for a first release, for a rollback, which must be quick, or after an A/B."""
        work = self.work
        return self._rollout.weights if work.verb == "deploy" and work.previous else ()

    def _shift(self, weight: int) -> None:
        work, now = self.work, time.time()
        old, new = work.previous.deployed if work.previous else "", work.release.deployed
        # A resumed step continues its pause; a new one starts a full pause.
        due = work.due if weight == work.weight else now + self._rollout.pause
        wanted = Traffic(new) if weight == 100 else Traffic(old, {new: weight})
        with self._run.step("shift", weight) as results:
            self._route(wanted, step="shift", weight=weight, since=work.since or now, due=due)
            results.append(Shifted(old, new, weight))

    def _route(self, wanted: Traffic | None, **changes: Any) -> None:
        """Split traffic as ``wanted``, if the split is still as this deploy left it.

        The split is read, then the lock is confirmed by recording ``changes``, then traffic is shifted on condition that the
        split has not changed since it was read. A command that took over the lock in the meantime shifts traffic too, so a
        late holder fails at one or the other.

        Raises:
            Refused: the traffic split was changed by something else.
            LockHeld: the lock was taken over.
        """
        deployer, work = self._delivery.deployer, self.work
        ours = {work.release.deployed, work.previous.deployed if work.previous else ""}
        if work.verb in (COMPARE, DECIDE):
            ours |= {self.experiment.control.deployed, self.experiment.challenger.deployed}
        where = f"--branch {self._delivery.environment.branch}{self._delivery.where}"
        for turn in range(SHIFT_TRIES):
            seen = deployer.traffic()
            if seen and (others := sorted(seen.all - ours)):
                raise Refused(
                    f"deployed version {', '.join(others)} has traffic, which this {words.verb(work)} did not shift to it",
                    next=f"invoke plan {where}",
                )
            self._note(**changes)
            if wanted is None and seen is None:
                return
            try:
                deployer.shift(wanted, seen, f"release {work.release.number}, lock {self._lease.head.token}")
            except Moved:  # or it was this very shift, and its response was lost; or the read was stale
                self._lease.refresh()  # fails if the command that shifted traffic took over the lock
                time.sleep(0.05 * 2**turn)
                continue
            return
        raise Refused("something else keeps changing the traffic split", next=f"invoke status {where}")

    def _watch(self, weight: int, detach: bool) -> bool:
        """Check the metrics until the weight's pause is over. Returns False when the deploy is paused until ``--resume``.

        Raises:
            Refused: a metric exceeded its limit.
        """
        deployed = self.work.release.deployed
        with self._run.step("watch", weight) as results:
            while True:
                seen = look(self._delivery, deployed, weight, self.work.since)
                before = tuple(one for one in self.work.release.watched if one.weight != weight)
                self._note(release=replace(self.work.release, watched=(*before, seen)))
                if seen.breach:
                    branch, where = self._delivery.environment.branch, self._delivery.where
                    raise Refused(seen.breach, next=f"invoke logs --branch {branch}{where}")
                send(self._delivery, deployed, alive=self._note)
                left = self.work.due - time.time()
                if seen.requests <= (before[-1].requests if before else 0):  # those at the previous weights don't count
                    left = rollout.without_traffic(self._delivery, deployed, left)
                if left <= 0:
                    results.append(Watched(seen))
                    return True
                if detach:
                    self._note(detached=True)
                    results.append(Watched(seen, paused=left))
                    return False
                time.sleep(min(self._rollout.period, left))

    # -- the record

    def _started(self) -> None:
        """Record that the A/B runs. What was requested before traffic was split, by metrics of its minute too, doesn't count."""
        now, period = time.time(), self._delivery.deployer.least_period
        since = (now + SETTLE_SECONDS) // period * period + period if period else now
        self._lease.write(replace(self.experiment, state=RUNNING, since=since), work=None)

    def _note(self, **changes: Any) -> None:
        self._lease.write(work=replace(self.work, **changes))

    def _finish(self) -> None:
        """Record in one atomic write that the release is verified and the work is finished."""
        head, work = self._lease.head, self.work
        verified = replace(work.release, state=VERIFIED, steps=self._run.took)
        events: list[Release | Experiment] = [verified]
        owned = head.owned
        if work.verb == "deploy":
            owned = tuple(sorted(work.release.variables))
        else:
            verified = replace(verified, cause="", steps=work.release.steps)
            events = [verified] if work.release.state != VERIFIED else []
            if work.verb == DECIDE:
                events.append(replace(self.experiment, state=STOPPED, ended=time.time()))
            elif work.previous and (left := self._delivery.ledger.find(work.previous.release)):
                who = head.holder.who if head.holder else "an unknown user"
                cause = f"rolled back to release {verified.number} by {who}"
                events.append(replace(left, state=ROLLED_BACK, cause=cause))
        kept = {one.number: one for one in head.kept}
        if work.verb == "rollback" and work.previous and work.previous.release in kept:
            kept[work.previous.release] = replace(kept[work.previous.release], state=ROLLED_BACK)
        kept[verified.number] = Kept.of(verified)
        self._lease.write(
            *events,
            work=None,
            live=verified.number,
            kept=tuple(kept[number] for number in sorted(kept, reverse=True)),
            owned=owned,
        )

    def prune(self) -> None:
        """Remove what retention does not keep; what can't be removed now is postponed to the next deploy."""
        if self._lease.head.swept:
            return
        with self._run.step("prune") as results:
            try:
                removed, postponed = retention.prune(self._delivery, self._lease), ""
            except (CloudError, LockHeld) as error:  # the release is verified, or has failed, already
                removed, postponed = (), error.message
            if removed or postponed:
                results.append(Pruned(removed, postponed))
