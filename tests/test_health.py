"""A health check that is one: what a watch counts, what it does without traffic, and requests with expected answers."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from faults.harness import HANDLER as UNMEASURED
from faults.harness import Service, Users
from measured import CANARY, serve
from tiny import Tiny

from ml_delivery import config
from ml_delivery.errors import ConfigError, Refused
from ml_delivery.keys import Probe, Request
from ml_delivery.records import Look
from ml_delivery.release import probing, words

PREDICT = Request("/v1/predict", "POST", {"quantity": 3}, expect={"price": 6, "lines": [{"ok": True}]})


@pytest.fixture
def measured(tiny: Tiny) -> Service:
    """A service that reports its own failures."""
    return serve(tiny)


def probed(service: Service, *requests: Request) -> None:
    """Let every later deploy of ``service`` send these."""
    opened = service._opened
    environment = replace(opened.environment, probe=Probe(("/readyz",), requests))
    service._opened = replace(opened, environment=environment)


def test_canary_that_answers_500_is_stopped(measured: Service) -> None:
    """Without any alarm: answers of 500 and above are failures, and the refusal says what was counted."""
    users = Users(measured, rate=20, path="/")
    with pytest.raises(
        Refused,
        match=r"100.0 % of requests fail \((\d+) of \1 requests answered 5xx, 0 raised an exception or timed out\); "
        r"deploy.max_errors is 1 %; release 1 serves as before",
    ):
        measured.deploy(BAD="500")
    users.stop()
    seen = measured.open().ledger.read(2).watched[-1]
    assert (seen.failures, seen.errors) == (seen.requests, 0)
    assert (measured.live(), measured.problems()) == (1, [])


def test_healthy_canary_says_what_was_counted(measured: Service) -> None:
    """Failures of the version that served before don't count."""
    measured.rules = replace(CANARY, strategy="all-at-once")
    measured.deploy(BAD="500")
    measured.rules = CANARY
    users = Users(measured, rate=20, path="/")
    outcome = measured.deploy(NOTE="better")
    users.stop()
    seen = outcome.release.watched[-1]
    assert (seen.failures, seen.errors) == (0, 0)
    assert f"0 of {seen.requests} requests answered 5xx, 0 raised an exception or timed out" in words.look(seen)


def test_service_without_the_metric_falls_back_and_says_so(tiny: Tiny) -> None:
    """Exceptions are counted, and that answers of 5xx are not is said."""
    service = Service(tiny, CANARY, UNMEASURED)
    service.deploy(NOTE="good")
    users = Users(service, rate=20, path="/")
    seen = service.deploy(NOTE="better").release.watched[-1]
    assert seen.failures is None
    assert "status 5xx is not counted, since no metric Failures names the version" in words.look(seen)
    with pytest.raises(Refused, match=r"raised an exception or timed out of \d+ requests; status 5xx is not counted"):
        service.deploy(BAD="half")
    users.stop()


@pytest.mark.parametrize(("no_traffic", "waited"), [("pass", 0), ("wait", 2), ("refuse", 1)])
def test_no_traffic_is_not_health(measured: Service, no_traffic: str, waited: int) -> None:
    """Without a request the key decides; none is said in any case."""
    measured.rules = replace(CANARY, pause=2, no_traffic=no_traffic)
    if not waited:
        seen = measured.deploy(NOTE="better").release.watched[-1]
        assert words.look(seen) == "0 requests, so nothing was measured"
        return
    began = time.monotonic()
    with pytest.raises(Refused, match=rf'got 0 requests in {2 * waited} s, .*deploy.no_traffic is "{no_traffic}"; rel'):
        measured.deploy(NOTE="better")
    assert time.monotonic() - began >= 2 * waited
    assert (measured.live(), measured.problems()) == (1, [])


def test_traffic_of_an_earlier_step_does_not_count(measured: Service) -> None:
    """Each step of a linear deploy needs a request of its own."""
    measured.rules = replace(CANARY, strategy="linear", weight=40, pause=2, no_traffic="refuse")
    opened = measured.open(NOTE="better")
    numbers = type(opened.deployer).numbers

    def early(self: object, deployed: str, since: float) -> Any:
        return replace(numbers(self, deployed, since), requests=5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(opened.deployer), "numbers", early)
        with pytest.raises(Refused, match="got 0 requests in 2 s"):
            measured.deploy(NOTE="better")
    assert [look.weight for look in measured.open().ledger.read(2).watched] == [40, 80]


def test_first_request_ends_the_wait(measured: Service) -> None:
    """A request that arrives after the pause is enough."""
    measured.rules = replace(CANARY, weight=99, pause=4, no_traffic="wait")
    opened = measured.open(NOTE="better")
    looks, numbers = [], type(opened.deployer).numbers

    def one_late(self: object, deployed: str, since: float) -> Any:
        looks.append(time.monotonic())
        if looks[-1] - looks[0] > 5:
            for _ in range(3):
                opened.deployer.call("/")
        return numbers(self, deployed, since)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(opened.deployer), "numbers", one_late)
        outcome = measured.deploy(NOTE="better")
    assert outcome.release.watched[-1].requests >= 1
    assert 5 < looks[-1] - looks[0] < 8
    assert measured.live() == 2


def test_wrong_answer_is_refused_before_traffic(measured: Service) -> None:
    """A request with a body and an expected answer decides before any user meets the release; the difference is said."""
    probed(measured, PREDICT)
    outcome = measured.deploy(NOTE="better")
    asked = [[one.path for one in step.result.asked] for step in outcome.steps if step.name.startswith("probe")]
    assert asked == [["/version", "/readyz", "/v1/predict"], ["/version", "/readyz"]]
    with pytest.raises(
        Refused, match=r"deployed version 3 answers POST /v1/predict with price = 7, not 6; release 2 serves as"
    ):
        measured.deploy(BAD="price")
    assert measured.open().ledger.read(3).watched == ()
    assert (measured.live(), measured.problems()) == (2, [])


def test_answer_that_becomes_wrong_takes_the_traffic_back(measured: Service) -> None:
    """The requests are sent again while the release has a share of the traffic."""
    probed(measured, PREDICT)
    call, calls = type(measured.open().deployer).call, []

    def worse(self: object, path: str, deployed: str = "", **more: Any) -> Any:
        answer = call(self, path, deployed, **more)
        calls.append((path, deployed))
        if calls.count(("/v1/predict", "2")) > 3:
            return replace(answer, body=answer.body.replace('"price": 6', '"price": 8'))
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(measured.open().deployer), "call", worse)
        with pytest.raises(
            Refused, match=r"deployed version 2 answers POST /v1/predict with price = 8, not 6; release 1 serves"
        ):
            measured.deploy(NOTE="better")
    assert measured.open().ledger.read(2).watched[-1].weight == 50
    assert (measured.live(), measured.problems()) == (1, [])


@pytest.mark.parametrize(
    ("expected", "found", "says"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1.0}, {"a": 1}, []),
        ({"a": {"b": [1, {"c": "x"}]}}, {"a": {"b": [1, {"c": "x", "d": 1}]}}, []),
        ({"a": True}, {"a": 1}, ["a = 1, not true"]),
        ({"a": 1, "b": {"c": 2}}, {"b": {}}, ["no a", "no b.c"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a = [1], not [1, 2]"]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, ["a[0].b = 2, not 1"]),
        ({"a": 1}, "<html>", ['a body = "<html>", not {"a": 1}']),
        ({"a": 1}, None, ['a body = null, not {"a": 1}']),
        ({}, {"a": 1}, []),
        ([1], [1], []),
        ({"a": "x" * 300}, {"a": ""}, ['a = "", not "' + "x" * 99 + "…"]),
    ],
)
def test_difference_of_answers(expected: Any, found: Any, says: list[str]) -> None:
    """Members that are expected must be there and equal, at any depth; others may be there."""
    assert probing.differences(expected, found) == says


def test_requests_of_the_configuration(tiny: Tiny) -> None:
    """A request is a table of its own; what is wrong with it is named by its number, an unreadable body file included."""
    text = (tiny.root / "pipeline.toml").read_text()
    good = (
        '\n[[probe.requests]]\npath = "/v1/predict"\nmethod = "POST"\nbody_file = "body.json"\nexpect = {price = 6}\n'
    )
    tiny.write("pipeline.toml", text + good)
    with pytest.raises(ConfigError, match=r"probe.requests\[0\].body_file: can't be read: .*body.json"):
        config.load(tiny.root)
    tiny.write("body.json", '{"quantity": 3}')
    (one,) = tiny.config.environment("main").probe.requests
    assert (one.content(tiny.root), one.expect, one.status) == ('{"quantity": 3}', {"price": 6}, 200)
    assert '"quantity"' not in tiny.invoke("config")
    bad = (
        good + '[[probe.requests]]\nmethod = "FETCH"\nstatus = 500\nbody = 2026-11-26\n[[probe.requests]]\npth = "/"\n'
    )
    tiny.write("pipeline.toml", text + bad)
    with pytest.raises(ConfigError) as refused:
        config.load(tiny.root)
    for place in ("[1].path: missing", "[1].method: 'FETCH'", "[1].status: 500", "[1].body:", "[2].pth: unknown key"):
        assert f"probe.requests{place}" in str(refused.value)
    tiny.write("pipeline.toml", text + '\n[probe]\nrequests = "/v1/predict"\n')
    with pytest.raises(ConfigError, match=r"probe.requests: '/v1/predict' is not a list of tables"):
        config.load(tiny.root)


def test_old_record_is_read(tiny: Tiny) -> None:
    """A look that was recorded before failures were counted says what was counted then."""
    old = Look(10, 6, 0, 12.0, 0, (), 0, "")
    assert words.look(old).startswith("0 raised an exception or timed out of 6 requests; status 5xx is not counted")


def test_answer_of_the_previous_release_is_waited_out(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just after a shift, a request can still reach the version that served before."""
    service = Service(tiny)
    service.deploy(NOTE="1")
    deployer = type(service.open().deployer)
    call, late = deployer.call, [service.open().deployer.call("/version", "")] * 2

    def lagging(self: Any, path: str, deployed: str = "", **words: Any) -> Any:
        return late.pop() if late and not deployed else call(self, path, deployed, **words)

    monkeypatch.setattr(deployer, "call", lagging)
    service.deploy(NOTE="2")
    assert (service.live(), late) == (2, [])
