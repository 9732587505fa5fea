"""Random histories of deploys, bad ones, rollbacks, crashes, changes of configuration, pruning and unlocking.

A model of a few lines says what should be live. ``HISTORIES`` sets how many histories are tried; ``nox -s faults``, 300.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from faults import kill
from faults.harness import KEEP, Service, apart
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tiny import Tiny

from ml_delivery.errors import LockHeld, Refused
from ml_delivery.records import VERIFIED
from ml_delivery.release.head import Holder

HISTORIES = int(os.environ.get("HISTORIES", "8"))


class History(RuleBasedStateMachine):
    """``live`` is a release number, ``verified`` those that a rollback may go to, ``variables`` each release's own."""

    service: ClassVar[Service]

    def __init__(self) -> None:
        super().__init__()
        self.service.reset()
        self.service.rules = KEEP
        self.live = self.newest = 0
        self.verified: list[int] = []
        self.variables: dict[int, dict[str, str]] = {}

    # -- the model

    def became_live(self, variables: dict[str, str]) -> None:
        self.newest += 1
        self.live = self.newest
        self.variables[self.live] = variables
        self.verified.append(self.live)
        self.pruned()

    def went_back(self) -> None:
        left, self.live = self.live, self.back()
        self.verified.remove(left)
        self.pruned()

    def back(self) -> int:
        return max((number for number in self.verified if number < self.live), default=0)

    def pruned(self) -> None:
        self.verified = self.needed()

    def needed(self) -> list[int]:
        """What retention would leave of ``verified``."""
        others = sorted(number for number in self.verified if number != self.live)
        return [
            number for number in self.verified if number == self.live or number in others[-self.service.rules.keep :]
        ]

    def fresh(self, extra: bool) -> dict[str, str]:
        return {"NOTE": str(time.time_ns()), **({"EXTRA": "1"} if extra else {})}

    # -- what is done

    @rule(extra=st.booleans())
    def deploy(self, extra: bool) -> None:
        variables = self.fresh(extra)
        assert self.service.deploy(**variables).release.state == VERIFIED
        self.became_live(variables)

    @rule()
    def deploy_the_same(self) -> None:
        if self.live:
            assert self.service.deploy(**self.variables[self.live]).release is None

    @rule()
    def deploy_a_bad_one(self) -> None:
        with pytest.raises(Refused):
            self.service.deploy(BAD="raises", **self.fresh(False))
        self.newest += 1

    @rule()
    def rollback(self) -> None:
        if self.back():
            assert self.service.rollback().release.number == self.back()
            self.went_back()
        else:
            with pytest.raises(Refused):
                self.service.rollback()

    @rule(at=st.integers(1, 16), then=st.sampled_from(["the same", "another", "rollback"]), extra=st.booleans())
    def crash_in_a_deploy(self, at: int, then: str, extra: bool) -> None:
        variables = self.fresh(extra)
        apart(lambda: self.service.deploy(**variables), kill(at))
        head = self.service.open().ledger.head()
        if done := head.live > self.newest:  # the write that counts was made
            self.became_live(variables)
        if then == "the same":
            outcome = self.service.deploy(**variables)
            assert (outcome.release is None) == done
            if not done:
                self.became_live(variables)
        elif then == "another":
            self.newest = head.newest
            self.deploy(extra)
        else:
            self.newest = head.newest
            if head.work and head.work.weight and head.work.previous:
                assert self.service.rollback().release.number == self.live
            else:
                self.rollback()

    @rule(at=st.integers(1, 9))
    def crash_in_a_rollback(self, at: int) -> None:
        if not self.back():
            return
        apart(self.service.rollback, kill(at))
        head = self.service.open().ledger.head()
        if head.live == self.live:
            self.service.rollback()
        self.went_back()

    @rule(keep=st.integers(1, 3))
    def keep_another_number(self, keep: int) -> None:
        self.service.rules = replace(KEEP, keep=keep)

    @rule()
    def unlock(self) -> None:
        ledger = self.service.open().ledger
        head, tag = ledger.load()
        theirs = Holder("ci", "deploy", "elsewhere", 1, time.time(), time.time() + 600)
        assert ledger.swap(replace(head, revision=head.revision + 1, token=head.token + 1, holder=theirs), tag)
        with pytest.raises(LockHeld):
            self.service.deploy(**self.fresh(False))
        assert ledger.unlock("tests", "to go on") == theirs

    # -- what holds after each

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        opened = self.service.open()
        head, live = opened.ledger.head(), opened.deployer.live()
        with opened.ledger.locked("the next", "look"):
            pass
        assert self.service.problems() == []
        assert (live.release if live else 0, head.newest) == (self.live, self.newest)
        if live:
            ours = {"LOG_LEVEL": "INFO", **self.variables[self.live], "RELEASE_NUMBER": str(self.live)}
            assert live.variables == {**ours, "RELEASE_DIGEST": live.digest}
        kept = sorted(one.number for one in head.kept if one.state == VERIFIED)
        assert kept in (self.verified, self.needed())  # what came to nothing may have swept before it ended
        self.verified = kept
        needed = {one.deployed for one in head.kept if one.state == VERIFIED}
        assert needed <= set(opened.deployer.deployed())


def test_random_histories(tiny: Tiny) -> None:
    """Whatever is done, in whatever order: what is live is what the model says, and nothing that is needed is gone."""
    History.service = Service(tiny)
    chosen: Any = settings(
        max_examples=HISTORIES,
        stateful_step_count=6,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    began = time.monotonic()
    run_state_machine_as_test(History, settings=chosen)
    print(f"{HISTORIES} histories in {time.monotonic() - began:.0f} s")
