"""Cancels and faults at the end of a deploy or rollback: what is verified stays so, is reported so, and holds no lock."""

from __future__ import annotations

import os
import pty
import signal
from typing import Any

import pytest
from faults import Call, Fault, cut, faults
from faults.harness import Service
from tiny import Tiny

from ml_delivery.errors import CloudError, Interrupted, PipelineError, Refused
from ml_delivery.release import deploy, retention
from ml_delivery.release.head import Head
from ml_delivery.release.machine import Machine
from ml_delivery.signals import CANCELS, uninterrupted


def cancelled(*_: Any) -> None:
    raise KeyboardInterrupt


def act(service: Service, verb: str) -> deploy.Outcome:
    """A deploy of something new, or a rollback from the second release to the first; the third, or the first, is to serve."""
    outcome: deploy.Outcome = service.deploy(NOTE="third") if verb == "deploy" else service.rollback()
    return outcome


@pytest.mark.parametrize("verb", ["deploy", "rollback"])
def test_cancel_while_pruning_reports_a_verified_release(
    tiny: Tiny, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 130 and what serves; the lock is free, and the next deploy prunes."""
    service = Service(tiny)
    service.deploy(NOTE="first")
    service.deploy(NOTE="second")
    number = 3 if verb == "deploy" else 1
    monkeypatch.setattr(retention, "prune", cancelled)
    with pytest.raises(Interrupted) as error:
        act(service, verb)
    monkeypatch.undo()
    message = f"interrupted; release {number} was verified already, and the next deploy prunes; release {number} serves"
    assert (error.value.message, error.value.exit_code) == (message, 130)
    assert error.value.next == f"invoke {'deploy' if verb == 'deploy' else 'status'} --branch main"
    head = service.open().ledger.head()
    assert (head.live, head.holder, head.work, head.swept) == (number, None, None, False)
    service.deploy(**service.open().ledger.read(number).variables)  # nothing to do, but to prune
    assert (service.open().ledger.head().swept, service.problems()) == (True, [])


@pytest.mark.parametrize("verb", ["deploy", "rollback"])
def test_fault_after_the_verdict_reports_a_verified_release(tiny: Tiny, verb: str) -> None:
    """The network fails between the write that verifies the release and the copy of its event: no traceback, and the truth."""
    service = Service(tiny)
    service.deploy(NOTE="first")
    service.deploy(NOTE="second")
    number, down = (3 if verb == "deploy" else 1), cut("PutObject", at=10**6, times=2)

    def verdict(call: Call) -> Any:
        response = call.send()
        if service.open().ledger.head().live == number and not down.struck:
            down.at = down.seen + 1
        return response

    after = Fault("verdict", verdict, "PutObject", 1, 10**6)
    with faults(down, after), pytest.raises(CloudError) as error:
        act(service, verb)
    assert down.struck == ["PutObject"] * 2
    assert error.value.message.startswith("the embedded AWS stopped answering: ")
    assert f"; release {number} was verified already, and the next deploy prunes; release {number} serves" in str(
        error.value
    )
    assert (service.live(), service.open().ledger.head().holder) == (number, None)
    service.deploy(**service.open().ledger.read(number).variables)
    assert service.problems() == []


def test_cancels_are_ignored_while_what_served_is_restored() -> None:
    """Each of them, and afterwards they are what they were."""
    seen: list[int] = []
    handlers = {number: signal.signal(number, lambda got, _: seen.append(got)) for number in CANCELS}
    try:
        with uninterrupted():
            for number in CANCELS:
                os.kill(os.getpid(), number)
        assert seen == []
        for number in CANCELS:
            os.kill(os.getpid(), number)
        assert seen == list(CANCELS)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_bug_is_named_where_nothing_can_be_restored_either(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of a KeyError is a key alone, which explains nothing."""

    def bug(*_: object, **__: object) -> None:
        raise KeyError("MemorySize")

    def gone(*_: object) -> None:
        raise CloudError("the cloud does not answer")

    monkeypatch.setattr(Machine, "_route", bug)
    monkeypatch.setattr(Machine, "put_back", gone)
    with pytest.raises(
        Refused, match=r"^KeyError: 'MemorySize'; then what served before could not be restored: the cloud"
    ):
        Service(tiny).deploy(NOTE="bug")


def test_lock_taken_over_while_pruning_does_not_fail_a_verified_release(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release is verified, so the deploy succeeds; the rest of the pruning is postponed."""
    service = Service(tiny)
    service.deploy(NOTE="first")
    prune = retention.prune

    def unlocked(delivery: Any, lease: Any) -> Any:
        delivery.ledger.unlock("me", "in a hurry")
        lease.write()  # as retention does when it forgets a release
        return prune(delivery, lease)

    monkeypatch.setattr(retention, "prune", unlocked)
    outcome = service.deploy(NOTE="second")
    assert (outcome.release.number, outcome.release.state) == (2, "verified")
    assert "was taken over" in outcome.steps[-1].result.postponed


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("fails", [False, True])
def test_cancel_while_the_lock_is_released_leaves_none(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals, fails: bool
) -> None:
    """A signal in the very write that releases the lock is ignored, whether the command succeeds or fails."""
    tiny.deploy()
    ledger = tiny.open().ledger
    swap, struck = ledger.swap, []

    def signalled(new: Head, etag: str) -> str | None:
        if new.holder is None:
            struck.append(new.revision)
            os.kill(os.getpid(), signum)
        return swap(new, etag)

    previous = signal.signal(signum, cancelled)
    monkeypatch.setattr(ledger, "swap", signalled)
    try:
        with pytest.raises(PipelineError) if fails else monkeypatch.context(), ledger.locked("me", "test"):
            if fails:
                raise PipelineError("it fails")
    except KeyboardInterrupt:
        pytest.fail("the signal was not ignored")
    finally:
        signal.signal(signum, previous)
    assert (len(struck), ledger.head().holder) == (1, None)


def test_closed_terminal_ends_a_deploy_like_a_cancel(tiny: Tiny) -> None:
    """The terminal's window is closed in mid-deploy: all is restored, though nothing can be printed any more."""
    tiny.deploy()
    tiny.replace("src/service/handler.py", '    print("asked', '    import time; time.sleep(2.5)\n    print("asked')
    tiny.commit()
    tiny.push()
    words, environment = tiny.command("deploy"), tiny.environment
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tiny.root)
        os.execvpe(words[0], words, environment)
    seen = b""
    while b"is deployed version" not in seen:
        seen += os.read(terminal, 1000)
    os.close(terminal)
    os.waitpid(child, 0)
    head = tiny.open().ledger.head()
    assert (tiny.live(), head.holder, head.work) == (1, None, None)
    failed = tiny.open().ledger.read(2)
    assert (failed.state, failed.cause) == ("failed", "interrupted")
