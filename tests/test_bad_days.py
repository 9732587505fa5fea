"""Deploys that are stopped, killed, doubled, or lose their cloud: the old version serves, a second run puts it right."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from dataclasses import replace

import pytest
from tiny import ANSWER, Tiny

from ml_delivery import emulator
from ml_delivery.errors import LockHeld
from ml_delivery.release import head, words
from ml_delivery.release.head import LOCK_SECONDS, Head, Holder
from ml_delivery.release.ledger import Lease, Ledger
from ml_delivery.release.results import Restored

SLOW = (ANSWER, "    import time; time.sleep(2.5)\n" + ANSWER)


def start_slow_deploy(tiny: Tiny) -> subprocess.Popen[str]:
    """Start the deploy of a version whose probe takes seconds; returns once that probe is under way."""
    tiny.deploy()
    tiny.replace("src/service/handler.py", *SLOW)
    tiny.commit()
    tiny.push()
    process = subprocess.Popen(
        tiny.command("deploy"),
        cwd=tiny.root,
        env={**tiny.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "is deployed version" in line:
            return process
    raise AssertionError("the deploy ended before it staged")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_deploy_puts_all_back(tiny: Tiny, signum: signal.Signals) -> None:
    """Ctrl-C, CI's cancel or a closed terminal in mid-deploy: exit 130, the old version serves, the lock is free."""
    process = start_slow_deploy(tiny)
    os.killpg(process.pid, signum)
    for _ in range(5):  # an impatient user, or a CI that means it
        os.killpg(process.pid, signal.SIGTERM if signum == signal.SIGINT else signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "release 1 serves as before" in output
    assert "Traceback" not in output
    opened = tiny.open()
    assert (tiny.live(), opened.ledger.head().holder) == (1, None)
    assert (opened.ledger.read(2).state, opened.ledger.read(2).cause) == ("failed", "interrupted")


def test_killed_deploy_is_finished_by_the_next(tiny: Tiny) -> None:
    """After kill -9 the lock of the dead process is taken over and its release is recorded as failed."""
    process = start_slow_deploy(tiny)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert tiny.live() == 1
    assert tiny.open().ledger.head().holder is not None
    tiny.repair()
    outcome = tiny.deploy()
    assert (outcome.steps[0].name, outcome.steps[0].result) == ("recover", Restored(1, "1", abandoned=2))
    assert tiny.live() == 3
    assert tiny.open().ledger.read(2).state == "failed"


def test_killed_deploy_is_gone_on_with_by_the_same(tiny: Tiny) -> None:
    """After kill -9 the same deploy, typed again, goes on with the release that it had staged."""
    process = start_slow_deploy(tiny)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    outcome = tiny.deploy()
    assert [step.name for step in outcome.steps[-3:]] == ["probe version", "shift", "probe live"]
    assert (outcome.release.number, outcome.release.state, tiny.live()) == (2, "verified", 2)


def test_second_deploy_is_refused_and_names_the_holder(tiny: Tiny) -> None:
    """While one deploy is at work, another is refused with who holds the lock, and leaves it alone."""
    process = start_slow_deploy(tiny)
    output = tiny.invoke("deploy", code=1)
    assert f"locked by tests@localhost on {socket.gethostname()} (pid {process.pid}, deploy)" in output
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert tiny.live() == 2


def hold(tiny: Tiny, seconds: float) -> None:
    """Let somebody on another machine hold the lock of the tiny service for so long."""
    ledger = tiny.open().ledger
    head, tag = ledger.load()
    holder = Holder("ci", "deploy", "elsewhere", 1, time.time(), time.time() + seconds)
    assert ledger.swap(replace(head, revision=head.revision + 1, token=head.token + 1, holder=holder), tag)


def test_lock_of_another_host_holds_until_its_time_is_up(tiny: Tiny) -> None:
    """A holder elsewhere is believed until its lock expires; then the lock is taken over, and it can't write."""
    tiny.deploy()
    ledger = tiny.open().ledger
    hold(tiny, LOCK_SECONDS)
    with pytest.raises(LockHeld, match="locked by ci on elsewhere"), ledger.locked("me", "test"):
        pass
    assert "locked by ci on elsewhere" in tiny.invoke("status")
    hold(tiny, -1)
    with ledger.locked("me", "test") as late:
        token = late.head.token
        hold(tiny, -1)
        with ledger.locked("other", "test") as mine:
            assert mine.head.token > token
            with pytest.raises(LockHeld, match="taken over by other"):
                late.write(newest=99)
    assert ledger.head().newest == 1


def test_wait_for_the_lock(tiny: Tiny) -> None:
    """--wait waits for the holder to end, and no longer than it says."""
    tiny.deploy()
    ledger = tiny.open().ledger
    hold(tiny, 5)
    with pytest.raises(LockHeld), ledger.locked("me", "test", wait=0.2):
        pass
    with ledger.locked("me", "test", wait=30) as lease:
        assert lease.head.holder.who == "me"


@pytest.mark.parametrize("verb", ["deploy", "rollback"])
def test_lock_that_stays_held_is_named(tiny: Tiny, verb: str) -> None:
    """Who is waited for is printed at once; when the time is over, so is how the lock can be released."""
    tiny.push()
    with tiny.open().ledger.locked("another runner", "deploy"):
        output = tiny.invoke(verb, "--wait", "1", code=1)
    assert "! waiting up to 1 s for another runner on " in output
    assert "production is still locked after 1 s by another runner on " in output
    assert "or is released by invoke unlock --reason WHY --branch main" in output


def test_unlock_takes_the_lock_with_a_reason(tiny: Tiny) -> None:
    """A lock is taken by hand only with a reason, which the record of what was under way keeps."""
    process = start_slow_deploy(tiny)
    held = tiny.open().ledger.unlock("me", "stuck")
    assert words.holder(held).startswith(f"tests@localhost on {socket.gethostname()} (pid {process.pid}, deploy)")
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "was taken over, and released again" in output
    assert "unlocked by me: stuck; was held by tests@localhost" in tiny.open().ledger.read(2).cause
    outcome = tiny.deploy()
    assert (outcome.release.number, outcome.release.state, tiny.live()) == (2, "verified", 2)
    assert "--reason is missing" in tiny.invoke("unlock", code=1)
    assert "is not locked" in tiny.invoke("unlock", "--reason", "again")


def test_cloud_killed_in_mid_deploy(tiny_alone: Tiny) -> None:
    """The embedded AWS dies under a deploy: one clear message; started again, a second deploy puts things right."""
    process = start_slow_deploy(tiny_alone)
    running = emulator.status(tiny_alone.root)
    os.kill(running.pid, signal.SIGKILL)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert "next: " in output
    tiny_alone.repair()
    tiny_alone.invoke("build")
    tiny_alone.invoke("push")
    tiny_alone.invoke("deploy")
    assert '"note": "fixed"' in tiny_alone.invoke("call", "/version")


def test_no_request_fails_during_deploys(tiny: Tiny) -> None:
    """A hundred requests a second through the alias, during ten deploys of which one is broken: all are answered."""
    tiny.deploy()
    target = tiny.open().deployer
    target.call("/version")
    stop = threading.Event()
    failures: list[str] = []
    counts = [0] * 4

    def caller(index: int) -> None:
        mine = tiny.open().deployer
        due = time.monotonic()
        while not stop.is_set():
            answer = mine.call("/version")
            counts[index] += 1
            if answer.status != 200:
                failures.append(answer.fault or str(answer.status))
            due = max(due + 0.04, time.monotonic() - 1)  # 4 callers x 25 a second
            stop.wait(max(0.0, due - time.monotonic()))

    threads = [threading.Thread(target=caller, args=(i,)) for i in range(len(counts))]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    try:
        for i in range(10):
            if i == 5:
                tiny.fault("answers 500")
                tiny.push()
                tiny.invoke("deploy", code=1)
            tiny.repair(f"number {i}")
            tiny.deploy()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    rate = sum(counts) / (time.monotonic() - began)
    print(f"{sum(counts)} requests, {rate:.0f} a second")
    assert tiny.live() == 12


def test_holder_on_another_machine_of_the_same_name_is_not_taken_for_dead() -> None:
    """A process that is not here may be on a clone of this machine; only one that was here can be known to be gone."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    here = replace(Holder.me("someone", "deploy"), pid=ended.pid)
    assert here.gone()
    assert not replace(here, boot="another").gone()
    assert not replace(here, space="pid:[4026531999]").gone()  # a container of its own numbers its processes itself
    me = Holder.me("someone", "deploy")
    assert not me.gone()
    assert replace(me, began="1").gone()  # another process has its number now


def test_zombie_has_ended() -> None:
    """A process that ended and that nothing has waited for, as in many containers, holds no lock."""
    process = subprocess.Popen(["sleep", "60"])
    holder = replace(Holder.me("someone", "deploy"), pid=process.pid, began=head._began(process.pid))
    assert not holder.gone()
    process.kill()
    waited = time.monotonic() + 10
    while not holder.gone() and time.monotonic() < waited:
        time.sleep(0.01)
    assert holder.gone()
    process.wait()


@pytest.mark.parametrize("when", ["before the write", "after the write", "between the write and its response"])
def test_lock_whose_taking_is_cancelled_is_free(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Ctrl-C at any moment of taking the lock leaves none behind, neither for 20 minutes nor for a second."""
    tiny.deploy()
    ledger = tiny.open().ledger
    swap = ledger.swap

    def cancelled(new: Head, etag: str) -> str | None:
        monkeypatch.setattr(ledger, "swap", swap)
        if when != "before the write":
            swap(new, etag)
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger, "swap", cancelled)
    if when == "after the write":
        monkeypatch.setattr(ledger, "swap", swap)

        def taken(*words: str) -> Lease:
            monkeypatch.undo()
            Ledger._take(ledger, *words)
            raise KeyboardInterrupt

        monkeypatch.setattr(ledger, "_take", taken)
    with pytest.raises(KeyboardInterrupt), ledger.locked("me", "test"):
        pytest.fail("it was not cancelled")
    assert ledger.head().holder is None
    with ledger.locked("me", "again"), pytest.raises(LockHeld), ledger.locked("me", "in another thread"):
        pytest.fail("it was locked twice")
    assert ledger.head().holder is None
