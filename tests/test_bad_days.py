"""Deploys that are stopped, killed, doubled, or lose their cloud: the old version serves, a second run puts it right."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
from tiny import ANSWER, Tiny

from pipeline import embedded, plan
from pipeline.errors import LockHeld
from pipeline.ledger import LOCK_SECONDS, STAGED, Release

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
        if "is version" in line:
            return process
    raise AssertionError("the deploy ended before it staged")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_deploy_puts_all_back(tiny: Tiny, signum: signal.Signals) -> None:
    """Ctrl-C, or CI's cancel, in mid-deploy: exit 130, the old version serves, the lock is free, the ledger knows."""
    process = start_slow_deploy(tiny)
    os.killpg(process.pid, signum)
    for _ in range(5):  # an impatient user, or a CI that means it
        os.killpg(process.pid, signal.SIGTERM if signum == signal.SIGINT else signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "release 1 serves as before" in output
    assert "Traceback" not in output
    opened = tiny.open()
    assert (tiny.live(), opened.ledger.holder()) == (1, None)
    assert (opened.ledger.read(2).state, opened.ledger.read(2).cause) == ("failed", "interrupted")


def test_killed_deploy_is_finished_by_the_next(tiny: Tiny) -> None:
    """After kill -9 the lock of the dead process is taken over and its release is recorded as failed."""
    process = start_slow_deploy(tiny)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    opened = tiny.open()
    assert tiny.live() == 1
    assert opened.ledger.holder() is not None
    tiny.mend()
    outcome = tiny.deploy()
    assert (outcome.steps[0].name, outcome.steps[0].result) == ("recover", "release 2 was abandoned")
    assert tiny.live() == 3
    assert tiny.open().ledger.read(2).state == "failed"


def test_deploy_killed_after_the_shift_is_taken_back_by_the_next(tiny: Tiny) -> None:
    """A version that got traffic but was never verified loses it to the last verified one."""
    tiny.deploy()
    tiny.mend("second")
    tiny.push()
    opened = tiny.open()
    made = plan.make(opened)
    release = opened.ledger.stage(Release(0, STAGED, vars(made.artifact), made.settings, made.variables, "x", 0.0))
    version = opened.target.stage(release.number, made.artifact, made.variables, set())
    opened.target.shift(version, made.live)  # and here the process would have died
    assert tiny.live() == 2
    outcome = tiny.deploy()
    assert outcome.steps[0].result == "release 1 is live again, release 2 was abandoned"
    assert tiny.live() == 3


def test_second_deploy_is_refused_and_names_the_holder(tiny: Tiny) -> None:
    """While one deploy is at work, another is refused with who holds the lock, and leaves it alone."""
    process = start_slow_deploy(tiny)
    output = tiny.invoke("deploy", code=1)
    assert f"locked by tests@localhost on {socket.gethostname()} (pid {process.pid}, deploy)" in output
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert tiny.live() == 2


def test_lock_of_another_host_holds_until_its_time_is_up(tiny: Tiny) -> None:
    """A holder elsewhere is believed until its lock expires; then the lock is taken over."""
    tiny.deploy()
    opened = tiny.open()
    key = "locks/production.json"
    holder = {"who": "ci", "reason": "deploy", "host": "elsewhere", "pid": 1, "at": time.time()}
    s3 = opened.cloud.client("s3")
    for expires, held in ((time.time() + LOCK_SECONDS, True), (time.time() - 1, False)):
        body = json.dumps({**holder, "expires": expires}).encode()
        s3.put_object(Bucket=opened.foundation.bucket, Key=key, Body=body)
        if held:
            with pytest.raises(LockHeld, match="locked by ci on elsewhere"), opened.ledger.locked("me", "test"):
                pass
        else:
            with opened.ledger.locked("me", "test") as lock:
                opened.ledger.confirm(lock)
                s3.put_object(Bucket=opened.foundation.bucket, Key=key, Body=body)  # somebody takes it over
                with pytest.raises(LockHeld, match="taken over by ci"):
                    opened.ledger.confirm(lock)


def test_cloud_killed_in_mid_deploy(tiny_alone: Tiny) -> None:
    """The embedded AWS dies under a deploy: one clear message; started again, a second deploy puts things right."""
    process = start_slow_deploy(tiny_alone)
    running = embedded.status(tiny_alone.root)
    os.kill(running.pid, signal.SIGKILL)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert "next: " in output
    tiny_alone.mend()
    tiny_alone.invoke("build")
    tiny_alone.invoke("push")
    tiny_alone.invoke("deploy")
    assert '"note": "mended"' in tiny_alone.invoke("call", "/version")


def test_no_request_fails_during_deploys(tiny: Tiny) -> None:
    """A hundred requests a second through the alias, during ten deploys of which one is broken: all are answered."""
    tiny.deploy()
    target = tiny.open().target
    target.call("/version")
    stop = threading.Event()
    failures: list[str] = []
    counts = [0] * 4

    def caller(index: int) -> None:
        mine = tiny.open().target
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
            tiny.mend(f"number {i}")
            tiny.deploy()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    rate = sum(counts) / (time.monotonic() - began)
    print(f"{sum(counts)} requests, {rate:.0f} a second")
    assert tiny.live() == 12
