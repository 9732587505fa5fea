"""Deploys under faults: what serves goes on serving, and a second run ends as if nothing had happened."""

from __future__ import annotations

import signal

import pytest
from faults import altered, conflict, cut, error500, expired, faults, kill, lag, lost, refused, throttle, timeout
from faults.campaign import campaign
from faults.harness import Service, Users, apart
from tiny import Tiny

from ml_delivery import objects
from ml_delivery.errors import CloudError, LockHeld, Refused


def test_kill_at_every_write_of_a_deploy(tiny: Tiny) -> None:
    """kill -9 after each write, then the same deploy again: always one new verified release, nothing lost, nobody noticed."""
    service = Service(tiny)
    service.deploy(NOTE="0")
    users = Users(service)
    at, killed = 0, True
    while killed:
        at += 1
        before = service.open().ledger.head().newest
        code, _ = apart(lambda at=at: service.deploy(NOTE=str(at)), kill(at))
        killed = code == -signal.SIGKILL
        service.deploy(NOTE=str(at))
        assert service.open().ledger.head().newest == before + 1, at  # the same release, gone on with
        assert service.problems() == [], at
        assert service.orphans() == set(), at
    met = users.stop()
    assert at > 12
    assert (met.failures, met.requests > 20) == ([], True)


def test_kill_at_every_write_of_a_rollback(tiny: Tiny) -> None:
    """The same for a rollback: it ends where it would have ended."""
    service = Service(tiny)
    at, killed = 0, True
    service.deploy(NOTE="base")
    users = Users(service)
    while killed:
        at += 1
        goal = service.live()
        service.deploy(NOTE=str(at))
        code, _ = apart(lambda: service.rollback(), kill(at))
        killed = code == -signal.SIGKILL
        if service.live() != goal or service.open().ledger.head().work:
            service.rollback()
        with service.open().ledger.locked("the next", "look"):
            pass
        assert service.live() == goal, at
        assert service.problems() == [], at
    assert at > 6
    assert users.stop().failures == []


@pytest.mark.parametrize("on", ["UpdateAlias", "PutObject", "UpdateFunctionConfiguration", "PublishVersion"])
def test_one_fault_is_not_noticed(tiny: Tiny, on: str) -> None:
    """A single fault of the network or of AWS costs a second try, and nothing else."""
    service = Service(tiny)
    service.deploy(NOTE="0")
    for number, fault in enumerate((cut, throttle, error500, timeout, lost), start=2):
        with faults(planned := fault(on, at=1)):
            service.deploy(NOTE=planned.name)
        assert planned.struck == [on]
        assert (service.live(), service.problems()) == (number, []), planned.name


def test_reads_that_lag(tiny: Tiny) -> None:
    """Lambda's reads may show the past: a deploy takes its time, and a rollback too, and both end right."""
    service = Service(tiny)
    service.deploy(NOTE="0")
    with faults(lag(0.3)):
        service.deploy(NOTE="1")
    assert (service.live(), service.problems()) == (2, [])
    with faults(lag(0.3)):
        service.rollback()
    assert (service.live(), service.problems()) == (1, [])


def test_credentials_that_expire_in_mid_deploy(tiny: Tiny) -> None:
    """What can't be put back for want of credentials is on record; with new ones the same deploy goes on."""
    service = Service(tiny)
    service.deploy(NOTE="0")
    code, said = apart(lambda: service.deploy(NOTE="1"), expired(on="UpdateAlias"))
    assert code == 1
    assert "ExpiredToken" in said[0]
    assert service.live() == 1
    service.deploy(NOTE="1")
    assert (service.live(), service.problems()) == (2, [])


def test_version_that_lambda_has_put_to_sleep_is_waited_for(tiny: Tiny) -> None:
    """A version that nobody called for weeks refuses the first calls; a rollback to it goes through all the same."""
    service = Service(tiny)
    service.deploy(NOTE="1")
    service.deploy(NOTE="2")
    with faults(refused("CodeArtifactUserPendingException", on="Invoke", times=3)) as called:
        assert service.rollback().release.number == 1
    assert called.count("Invoke") > 3
    assert (service.live(), service.problems()) == (1, [])


def test_former_failure_does_not_stop_a_deploy(tiny: Tiny) -> None:
    """An update that failed is on record at Lambda until one succeeds; the next deploy is that one, unless it fails too."""
    service = Service(tiny)
    service.deploy(NOTE="1")
    failed = {"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "the image is gone"}
    with faults(altered("GetFunctionConfiguration", times=2, **failed)):  # the first look is of what is live
        service.deploy(NOTE="2")
    with (
        faults(altered("GetFunctionConfiguration", times=100, **failed)),
        pytest.raises(Refused, match="Lambda could not update the function: the image is gone"),
    ):
        service.deploy(NOTE="3")
    with (
        faults(altered("GetFunctionConfiguration", times=100, State="Failed", StateReason="no such role")),
        pytest.raises(Refused, match=r"Lambda could not create .*: no such role") as refusal,
    ):
        service.deploy(NOTE="4")
    assert f"aws lambda delete-function --function-name {service.name}" in refusal.value.next
    assert (service.live(), service.problems()) == (2, [])


def test_bucket_that_is_busy_is_asked_again(tiny: Tiny) -> None:
    """Two writes of one object at once: S3 says so to one of them, which asks again."""
    service = Service(tiny)
    with faults(refused("ConditionalRequestConflict", on="PutObject", times=2)):
        service.deploy(NOTE="1")
    assert (service.live(), service.problems()) == (1, [])


def test_a_fault_is_seen_when_it_lasts(tiny: Tiny) -> None:
    """The faults are real: one that outlasts the retries fails the deploy, and the message says what it was."""
    service = Service(tiny)
    service.deploy(NOTE="0")
    for fault, says in [(cut, "stopped answering"), (throttle, "TooManyRequests"), (error500, "InternalError")]:
        with faults(fault("UpdateAlias", times=2)), pytest.raises((Refused, CloudError), match=says):
            service.deploy(NOTE=says)
        assert (service.live(), service.problems()) == (1, [])


# The head's writes: the note before the shift, and that the release is verified, after which nothing else would see it.
@pytest.mark.parametrize(("on", "at"), [("UpdateAlias", 1), ("PublishVersion", 1), ("PutObject", 6), ("PutObject", 9)])
def test_late_holder_writes_and_moves_nothing(tiny: Tiny, on: str, at: int) -> None:
    """A holder that sleeps through the loss of its lock, just before a call, changes neither traffic nor ledger after it."""
    service = Service(tiny)
    service.deploy(NOTE="0")

    def taken_over() -> None:
        service.open().ledger.unlock("other", "it sleeps")
        assert apart(lambda: service.deploy(NOTE="other"))[0] == 0

    with faults(planned := conflict(taken_over, on, at)), pytest.raises(LockHeld, match="taken over"):
        service.deploy(NOTE="late")
    assert planned.struck == [on]
    live = service.open().deployer.live()
    assert live.variables["NOTE"] == "other"
    assert service.problems() == []


def test_a_slice_of_the_campaign(tiny: Tiny) -> None:
    """Twenty runs, two of each fault, drawn by a seed: no user noticed, and all ended as if there had been none."""
    result = campaign(Service(tiny), runs=20, seed=11)
    print(result.table())
    assert result.problems == []
    assert result.failures == []
    assert sum(result.struck.values()) > 10


def test_without_conditions_the_campaign_would_see_it(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that writes without conditions loses entries when two write at once; the check that finds it does find it."""
    service = Service(tiny)
    service.deploy(NOTE="0")
    put = objects.put
    monkeypatch.setattr(objects, "put", lambda cloud, bucket, key, body, **_: put(cloud, bucket, key, body))
    ledger = service.open().ledger
    with ledger.locked("late", "test") as late:
        head, tag = ledger.load()
        assert ledger.swap(head, tag)  # another command takes over
        late.write(newest=7)  # and nothing stops the late holder
    assert service.problems() != []
