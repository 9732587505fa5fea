"""Guards of the shifts and of the record that no accident of the other tests touches; each was red with its guard taken out."""

from __future__ import annotations

import time
from typing import Any

import pytest
from emulated import client
from faults.harness import HANDLER, Service
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.errors import Moved, Refused
from ml_delivery.keys import Deploy
from ml_delivery.release import deploy
from ml_delivery.release.machine import Machine

CANARY = Deploy(strategy="canary", weight=10, pause=60, period=1, no_traffic="pass")


@pytest.fixture
def service(tiny: Tiny) -> Service:
    return Service(tiny, handler=HANDLER)


def test_split_that_changes_just_before_the_shift_is_not_overwritten(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is what is compared: a split by hand after the read makes the shift fail, and is then seen."""
    service.deploy(NOTE="1")
    service.deploy(NOTE="2")
    note, moved = Machine._note, list[str]()
    split = {"AdditionalVersionWeights": {"1": 0.5}}

    def late(self: Machine, **changes: Any) -> None:
        note(self, **changes)
        if changes.get("step") == "shift" and not moved:
            moved.append("by hand")
            client(emulator.up(service.tiny.root), "lambda").update_alias(
                FunctionName=service.name, Name="live", FunctionVersion="2", RoutingConfig=split
            )

    monkeypatch.setattr(Machine, "_note", late)
    with pytest.raises(Refused, match="deployed version 1 has traffic, which this deploy did not shift to it"):
        service.deploy(NOTE="3")
    assert moved == ["by hand"]
    live = service.open().deployer.live()
    assert live
    assert (live.deployed, live.traffic.weights) == ("2", {"1": 50})


def test_shift_that_was_refused_once_is_made_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost compare-and-swap is no shift, and no failure either."""
    service.deploy(NOTE="1")
    deployer = type(service.open().deployer)
    shift, lost = deployer.shift, [Moved("meanwhile")]

    def refused_once(self: Any, *words: Any) -> None:
        if lost:
            raise lost.pop()
        shift(self, *words)

    monkeypatch.setattr(deployer, "shift", refused_once)
    service.deploy(NOTE="2")
    assert (service.live(), lost, service.problems()) == (2, [], [])


def test_resumed_pause_ends_when_it_would_have_ended(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ``--resume`` continues the pause of its weight."""
    service.deploy(NOTE="1")
    service.rules = CANARY
    service.deploy(NOTE="2", detach=True)
    work = service.open().ledger.head().work
    assert work
    assert 0 < work.due - time.time() <= CANARY.pause
    seen = []

    def watch(self: Machine, weight: int, detach: bool) -> bool:
        seen.append((weight, self.work.due, detach))
        return True

    monkeypatch.setattr(Machine, "_watch", watch)
    deploy.resume(service.open(NOTE="2"), lambda _: None)
    assert seen == [(10, work.due, False)]


def test_record_has_what_is_live_what_was_set_and_nothing_under_way(service: Service) -> None:
    """After each kind of end: verified, refused, rolled back."""
    service.deploy(NOTE="1", EXTRA="x")
    assert "EXTRA" in service.open().ledger.head().owned
    service.deploy(NOTE="2")
    head = service.open().ledger.head()
    assert (head.live, head.work, "EXTRA" in head.owned) == (2, None, False)
    with pytest.raises(Refused):
        service.deploy(NOTE="3", BAD="raises")
    head = service.open().ledger.head()
    assert (head.live, head.work, head.newest) == (2, None, 3)
    service.rollback()
    head = service.open().ledger.head()
    assert (head.live, head.work) == (1, None)


def test_rollback_never_goes_forward(service: Service) -> None:
    """Verified releases after the one that serves were left on purpose."""
    for note in "123":
        service.deploy(NOTE=note)
    assert service.rollback(to=1).release.number == 1
    assert service.open().ledger.read(2).state == "verified"
    with pytest.raises(Refused, match="no verified release before 1"):
        service.rollback()
    assert (service.live(), service.problems()) == (1, [])


def test_each_taking_of_the_lock_has_a_token_of_its_own(service: Service) -> None:
    """By which a late holder is known, whatever it wrote last."""
    tokens = []
    for _ in range(3):
        with service.open().ledger.locked("tests", "a test") as lease:
            tokens.append(lease.head.token)
    assert tokens == sorted(set(tokens))
