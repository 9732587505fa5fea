"""A health check that is one: what a watch counts, what it does without traffic, and requests with expected answers."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import replace
from typing import Any

import pytest
from emulated import client
from faults.harness import HANDLER as UNMEASURED
from faults.harness import Service, Users
from tiny import TEMPLATE, Tiny

from ml_delivery import config, emulator
from ml_delivery.errors import ConfigError, Refused
from ml_delivery.keys import Deploy, Probe, Request
from ml_delivery.records import Look
from ml_delivery.release import plan as planning
from ml_delivery.release import probing, rollout, words
from ml_delivery.waiting import wait

CANARY = Deploy(strategy="canary", weight=50, pause=6, period=1)
# As the starters do: exceptions are caught, answered with 500, and reported in the line of the request.
HANDLER = """\
import json, os, pathlib

from ml_service.telemetry import line

RELEASE = json.loads((pathlib.Path(__file__).parent.parent / "release.json").read_text())
BAD = os.environ.get("BAD", "")


def handler(event, context):
    path, number = event["rawPath"], int(os.environ["RELEASE_NUMBER"])
    given = json.loads(event["body"]) if event.get("body") else {}
    status = 500 if BAD == "500" and path == "/" else 200
    print(line("info", path=path, status=status, Failures=int(status >= 500), Release=number))
    price = 2 * given.get("quantity", 0) + (1 if BAD == "price" else 0)
    body = {"release": number, "price": price, "lines": [{"ok": True}], "given": given, **RELEASE}
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
"""
PREDICT = Request("/v1/predict", "POST", {"quantity": 3}, expect={"price": 6, "lines": [{"ok": True}]})


@pytest.fixture
def measured(tiny: Tiny) -> Service:
    """A service that reports its own failures, as the starters do."""
    shutil.copytree(TEMPLATE / "src/ml_service", tiny.root / "src/ml_service", ignore=shutil.ignore_patterns("__*__"))
    (tiny.root / "src/ml_service/__init__.py").touch()
    service = Service(tiny, CANARY, HANDLER)
    service.deploy(NOTE="good")
    return service


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
    began, numbers = time.monotonic(), type(opened.deployer).numbers

    def one_late(self: object, deployed: str, since: float) -> Any:
        if time.monotonic() - began > 5:
            for _ in range(3):
                opened.deployer.call("/")
        return numbers(self, deployed, since)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(opened.deployer), "numbers", one_late)
        outcome = measured.deploy(NOTE="better")
    assert outcome.release.watched[-1].requests >= 1
    assert time.monotonic() - began < 8
    assert measured.live() == 2


def test_wrong_answer_is_refused_before_traffic(measured: Service) -> None:
    """A request with a body and an expected answer decides before any user meets the release; the difference is said."""
    probed(measured, PREDICT)
    outcome = measured.deploy(NOTE="better")
    asked = [[one.path for one in step.result.asked] for step in outcome.steps if step.name.startswith("probe")]
    assert asked == [["/version", "/readyz", "/v1/predict"], ["/version", "/readyz"]]
    with pytest.raises(Refused, match=r"version 3 answers POST /v1/predict with price = 7, not 6; release 2 serves as"):
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
            Refused, match=r"version 2 answers POST /v1/predict with price = 8, not 6; release 1 serves"
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


def alarm(tiny: Tiny, name: str, period: int, periods: int, **more: Any) -> None:
    client(emulator.up(tiny.root), "cloudwatch").put_metric_alarm(
        AlarmName=name,
        Namespace="test",
        MetricName="x",
        Statistic="Sum",
        ComparisonOperator="GreaterThanThreshold",
        Threshold=1,
        Period=period,
        EvaluationPeriods=periods,
        TreatMissingData="notBreaching",
        **more,
    )


def test_pause_too_short_for_an_alarm_is_refused(measured: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alarm that can't be in alarm within the pause watches nothing: the deploy is refused, with the least pause."""
    tiny = measured.tiny
    alarm(tiny, f"{tiny.name}-slow", 60, 3)
    alarm(tiny, f"{tiny.name}-two-of-three", 10, 3, DatapointsToAlarm=2)
    client(emulator.up(tiny.root), "cloudwatch").put_composite_alarm(
        AlarmName=f"{tiny.name}-both",
        AlarmRule=f'ALARM("{tiny.name}-slow") OR ALARM({tiny.name}-two-of-three)',
    )
    measured.rules = replace(CANARY, alarms=(f"{tiny.name}-two-of-three", f"{tiny.name}-slow"))
    with pytest.raises(
        Refused, match=r"deploy.pause is 6 s, in which the alarm .*-slow can't be in alarm: .* 180 s"
    ) as no:
        measured.deploy(NOTE="better")
    assert no.value.next == "set deploy.pause of production in pipeline.toml to 180 or more"
    assert measured.open().ledger.head().newest == 1
    measured.rules = replace(CANARY, alarms=(f"{tiny.name}-both",))
    with pytest.raises(Refused, match=r"the alarm .*-both can't be in alarm: .* 180 s"):
        rollout.require_time_for_alarms(measured.open())
    measured.rules = replace(CANARY, pause=20, alarms=(f"{tiny.name}-two-of-three",))
    rollout.require_time_for_alarms(measured.open())
    measured.rules = replace(measured.rules, pause=19)
    with pytest.raises(Refused, match="to 20 or more"):
        rollout.require_time_for_alarms(measured.open())
    measured.rules = replace(measured.rules, pause=199)
    opened = measured.open()
    monkeypatch.setattr(opened.cloud, "name", "aws")
    with pytest.raises(Refused, match=r"arrive up to 180 s late.*\n.*to 200 or more"):
        rollout.require_time_for_alarms(opened)
    monkeypatch.undo()


def test_plan_prints_how_traffic_shifts(measured: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause that the target makes longer is printed with the one of pipeline.toml, and is part of what is approved."""
    tiny = measured.tiny
    text = (tiny.root / "pipeline.toml").read_text()
    tiny.write("pipeline.toml", text + '\n[deploy]\nstrategy = "linear"\nweight = 40\npause = 7\nperiod = 2\n')
    tiny.commit()
    tiny.push()
    shown = "traffic shifts: 40 %, 80 % for 7 s each, read every 2 s, then 100 %"
    assert shown in tiny.invoke("plan", code=2)
    document = json.loads(tiny.invoke("plan", "--json", code=2))
    assert document["rollout"]["pause"] == 7
    opened = tiny.open()
    monkeypatch.setattr(opened.cloud, "name", "aws")
    least = 180 + opened.environment.function.timeout
    printed = words.rollout(rollout.plan(replace(opened)))
    monkeypatch.undo()
    assert (
        f"for {least} s each, read every 60 s, then 100 % (deploy.pause is 7 s, in which metrics don't arrive"
        in printed
    )
    rules = replace(opened.environment.deploy, pause=8)
    longer = replace(opened, environment=replace(opened.environment, deploy=rules))
    assert planning.make(opened).digest == document["digest"] != planning.make(longer).digest


def test_status_shows_a_canary(measured: Service) -> None:
    """While a release has a share: the split, what is under way, a row for it before its first request, its failures."""
    measured.rules = replace(CANARY, weight=10, pause=60)
    measured.deploy(NOTE="better", detach=True)
    printed = measured.tiny.invoke("status", "--watch", "--looks", "1")
    assert "version 2 (release 2) has 10 % of the traffic" in printed
    assert "a deploy of release 2, at shift 10 %, 10 % of the traffic is paused; continue with invoke deploy" in printed
    assert re.search(r"^  2 +2 +10 % +0 +0 +0", printed, re.M)
    assert re.search(r"^  1 +1 +90 % +\d+ +0 +0 ", printed, re.M)
    assert "(release 2) has 10 % of the traffic" in measured.tiny.invoke("status")
    measured.rollback()
    measured.rules = replace(CANARY, strategy="all-at-once")
    measured.deploy(BAD="500")
    for _ in range(3):
        measured.open().deployer.call("/")
    watched = lambda: measured.tiny.invoke("status", "--watch", "--looks", "1")  # noqa: E731
    assert wait(lambda: re.search(r"^  3 +3 +100 % +\d+ +0 +3 ", watched(), re.M), what="the row", seconds=20)


def test_status_without_the_metric_shows_no_zero(tiny: Tiny) -> None:
    """Where the service does not report its failures, they are unknown, not zero."""
    tiny.deploy()
    tiny.open().deployer.call("/")
    printed = tiny.invoke("status", "--watch", "--looks", "1")
    assert re.search(r"^  1 +1 +100 % +\d+ +0 +\? ", printed, re.M)
    assert "5xx = ?: the service reports no metric Failures by version" in printed


def test_old_record_is_read(tiny: Tiny) -> None:
    """A look that was recorded before failures were counted says what was counted then."""
    old = Look(10, 6, 0, 12.0, 0, (), 0, "")
    assert words.look(old).startswith("0 raised an exception or timed out of 6 requests; status 5xx is not counted")
