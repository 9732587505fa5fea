"""An A/B on the emulator: two releases share the traffic, their outcomes are compared, and one of them gets all of it."""

from __future__ import annotations

import json
import re
import signal
import time
from dataclasses import replace
from typing import Any

import json_shapes
import pytest
from compared import RULE, events, pushed, service, start, stop, weights
from faults import faults, kill
from faults.harness import Service, apart

from ml_delivery.errors import Refused
from ml_delivery.experiments import reading as readings
from ml_delivery.records import STARTING, STOPPED, VERIFIED

__all__ = ["pushed", "service"]  # fixtures


def call(service: Service, count: int) -> list[int]:
    """Ask what is live so often; the releases that answered."""
    deployer = service.open().deployer
    return [json.loads(deployer.call("/").body)["release"] for _ in range(count)]


def report(service: Service, values: list[tuple[int, float]]) -> None:
    """Report outcomes to the service, a hundred at once, each twice, as a client that retries."""
    deployer = service.open().deployer
    listed = [{"request": f"r{n}", "release": release, "revenue": value} for n, (release, value) in enumerate(values)]
    for begin in range(0, len(listed), 100):
        for _ in range(2):
            answer = deployer.call("/v1/outcomes", method="POST", body=json.dumps(listed[begin : begin + 100]).encode())
            assert (answer.status, json.loads(answer.body)) == (202, {"recorded": len(listed[begin : begin + 100])})


def test_calls_before_its_start_are_not_counted(service: Service) -> None:
    """Of calls of what is live in the second before, and so mostly in the same minute, none is the A/B's."""
    call(service, 40)
    time.sleep(1 - time.time() % 1)  # the emulator's metrics are by the second
    experiment = start(service)
    answered = call(service, 20)
    reading = readings.read(service.open(), experiment, None)
    assert (reading.control.units, reading.challenger.units) == (answered.count(2), answered.count(1))
    stop(service)


def test_from_start_to_winner_as_typed(service: Service) -> None:
    """Started, asked, outcomes reported, read, decided by the rule, stopped: the winner serves, and all of it is recorded."""
    tiny = service.tiny
    printed = tiny.invoke("ab", "--start", "--challenger", "1", "--metric", "revenue")
    assert "A/B 1 of release 2 (control) and release 1 (challenger), 50 % to 50 %, is running" in printed
    assert "rule: revenue per request, two-sided, alpha 0.05, 50 % of the traffic to the challenger" in printed
    assert weights(service) == {"2": 50, "1": 50}
    assert "A/B 1 of release 2 (control)" in tiny.invoke("status")
    assert json.loads(tiny.invoke("status", "--json"))["experiment"]["rule"]["alpha"] == 0.05
    answered = call(service, 60)
    assert 10 < answered.count(1) < 50
    assert "undecided: at least 100 outcomes" in tiny.invoke("ab")
    report(service, [(1 + n % 2, (9.0 + n % 5) * (2 - n % 2)) for n in range(280)])
    document = json.loads(tiny.invoke("ab", "--status", "--json"))
    json_shapes.check("ab", document)
    reading = document["reading"]
    assert (reading["verdict"], reading["unusable"], reading["earlier"]) == ("challenger", 0, 0)
    assert (reading["control"]["reported"], reading["challenger"]["reported"]) == (140, 140)
    printed = tiny.invoke("ab", "--status")
    assert "verdict: release 1 has more revenue per request than release 2" in printed
    assert "95 % confidence sequence +" in printed
    (command,) = re.findall(r"^next: invoke (.*)$", printed, re.M)
    printed = tiny.invoke(*command.split())
    assert "live: deployed version 2 → 1" in printed
    assert "release 1 got all traffic as the winner" in printed
    assert (service.live(), service.problems(), weights(service)) == (1, [], {"1": 100})
    ended = service.open().ledger.head().experiment
    assert ended
    assert (ended.state, ended.winner, ended.reading and ended.reading.verdict) == (STOPPED, 1, "challenger")
    assert events(service) == ["1 starting", "1 running", "1 stopping", "1 stopped"]
    assert "release 1 got all traffic as the winner" in tiny.invoke("ab")
    assert "has ended; it is judged by its last reading" in tiny.invoke("ab", "--outcomes", "x.csv", code=1)
    assert [one.state for one in service.open().ledger.latest(2, [])] == [VERIFIED, VERIFIED]


def test_rule_is_recorded_before_traffic_moves(service: Service) -> None:
    """At the first change of the split, the ledger has the whole rule; none of it can be changed afterwards."""
    code, _ = apart(lambda: start(service, 1), replace(kill(1, after=False), on="UpdateAlias"))
    assert code == -signal.SIGKILL
    found = service.open().ledger.head().experiment
    assert found
    assert (found.state, found.rule, found.challenger.release) == (STARTING, RULE, 1)
    assert weights(service) == {"2": 100}
    with pytest.raises(Refused, match="is starting") as refused:
        start(service, 1, replace(RULE, alpha=0.2))
    assert "invoke ab --stop" in refused.value.next
    printed = service.tiny.invoke("ab")
    assert "invoke deploy --resume --branch main, which continues its start" in printed
    assert "release 1 has 50 % of the traffic of production on embedded, in an A/B" in service.tiny.invoke(
        "deploy", "--resume"
    )
    assert (weights(service), events(service)) == ({"2": 50, "1": 50}, ["1 starting", "1 running"])
    stop(service)
    assert service.problems() == []


def test_kill_at_every_write_of_a_start_and_of_an_end(service: Service) -> None:
    """kill -9 after each write, then the same command again: the A/B runs, and then one release serves; nothing is left."""
    at, killed = 0, True
    while killed:
        at += 1
        code, _ = apart(lambda: start(service, 1), kill(at))
        killed = code == -signal.SIGKILL
        head = service.open().ledger.head()
        if head.work or not (head.experiment and head.experiment.open):
            start(service, 1)
        assert weights(service) == {"2": 50, "1": 50}, at
        stop(service)
        assert (service.live(), service.problems()) == (2, []), at
    assert at > 4
    at, killed = 0, True
    while killed:
        at += 1
        other = 3 - service.live()
        start(service, other)
        code, _ = apart(lambda other=other: stop(service, other), kill(at))
        killed = code == -signal.SIGKILL
        head = service.open().ledger.head()
        if head.experiment and head.experiment.open:
            stop(service, other)
        with service.open().ledger.locked("the next", "look"):
            pass
        assert (service.live(), service.problems()) == (other, []), at
    assert at > 4


def test_interrupted_start_is_undone_by_other_commands(service: Service) -> None:
    """After kill -9 in a start, a stop, a rollback or a deploy gives all traffic back to what was live."""
    dead = replace(kill(1), on="UpdateAlias")
    commands: list[Any] = [lambda: stop(service), lambda: service.rollback(), lambda: service.deploy(NOTE="3")]
    for live, command in zip((2, 2, 3), commands, strict=True):
        code, _ = apart(lambda: start(service, 1), replace(dead))
        assert code == -signal.SIGKILL
        command()
        assert (service.live(), service.problems()) == (live, [])
        found = service.open().ledger.head().experiment
        assert found
        assert (found.state, found.winner, bool(found.cause)) == (STOPPED, 0, True)


def test_rollback_ends_an_ab(service: Service) -> None:
    """All traffic goes to the control at once, without a health check; to another release if that is named."""
    service.deploy(NOTE="3")
    start(service, 1)
    assert service.rollback().live == 3
    assert (service.live(), service.problems()) == (3, [])
    found = service.open().ledger.head().experiment
    assert found
    assert (found.state, found.cause) == (STOPPED, "rolled back by tests@localhost")
    start(service, 1)
    assert service.rollback(2).live == 2
    assert (service.live(), service.problems(), events(service)[-1]) == (2, [], "2 stopped")


def test_end_without_a_winner_leaves_the_control(service: Service) -> None:
    """Its release stays verified, and a later A/B of the same releases has the next number; so does the control as the winner."""
    start(service)
    assert stop(service).winner == 0
    assert (service.live(), service.problems()) == (2, [])
    assert start(service).number == 2
    assert stop(service, 2).winner == 2
    assert (service.live(), service.problems()) == (2, [])
    assert [one.state for one in service.open().ledger.latest(2, [])] == [VERIFIED, VERIFIED]


def test_lost_head_knows_the_ab(service: Service) -> None:
    """It is rebuilt from the events: what runs can be read and stopped."""
    started = start(service, 1)
    opened = service.open()
    opened.cloud.client("s3").delete_object(Bucket=opened.foundation.bucket, Key="releases/production/head.json")
    head = opened.ledger.head()
    assert (head.experiment, head.live) == (started, 0)
    assert readings.read(opened, started, None).verdict == "too few"
    assert stop(service).state == STOPPED
    assert (weights(service), service.open().ledger.head().live) == ({"2": 100}, 2)


def test_reading_before_requests_count(service: Service) -> None:
    """They count from a full minute on, where metrics are by the minute: until then there are none, and nothing is asked."""
    started = start(service, 1)
    call(service, 3)
    with faults() as called:
        reading = readings.read(service.open(), replace(started, since=time.time() + 60), None)
    assert "GetMetricData" not in called  # of no time, which CloudWatch refuses
    assert (reading.verdict, reading.control.units, reading.challenger.units) == ("too few", 0, 0)
    stop(service)
