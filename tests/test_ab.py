"""An A/B on the emulator: two releases share the traffic, their outcomes are compared, and one of them gets all of it."""

from __future__ import annotations

import json
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import json_shapes
import pytest
from faults import kill
from faults.harness import KEEP, Service, apart
from measured import CANARY
from tiny import TEMPLATE, Tiny

from ml_delivery.errors import LockHeld, Refused
from ml_delivery.experiments import reading as readings
from ml_delivery.records import STARTING, STOPPED, VERIFIED, Experiment, Rule
from ml_delivery.release import comparing, deploy

# As the starters do.
HANDLER = """\
import json, os, pathlib

from ml_service import outcomes

RELEASE = json.loads((pathlib.Path(__file__).parent.parent / "release.json").read_text())
BAD = os.environ.get("BAD", "")


def handler(event, context):
    number = int(os.environ["RELEASE_NUMBER"])
    body, status = {"release": number, **RELEASE}, 500 if BAD == "500" else 200
    if event["rawPath"] == outcomes.PATH:
        body, status = outcomes.record(event["body"])
    headers = {"content-type": "application/json", outcomes.HEADER: str(number)}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}
"""
RULES = replace(KEEP, keep_days=30)
RULE = Rule("revenue", "request", "requests", "two-sided", 0.05, 5.0, 50, 40_000, 14)


@pytest.fixture(scope="module")
def pushed(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service that is built and pushed, for all tests of this file."""
    tiny = Tiny(tmp_path_factory.mktemp("ab") / "service", shared, "compared")
    shutil.copytree(TEMPLATE / "src/ml_service", tiny.root / "src/ml_service", ignore=shutil.ignore_patterns("__*__"))
    (tiny.root / "src/ml_service/__init__.py").touch()
    return Service(tiny, RULES, HANDLER)


@pytest.fixture
def service(pushed: Service) -> Service:
    """The same with two verified releases, of which the second one serves, and nothing else."""
    pushed.reset()
    pushed.rules = RULES
    pushed.deploy(NOTE="1")
    pushed.deploy(NOTE="2")
    return pushed


def start(service: Service, challenger: int = 0, rule: Rule = RULE) -> Experiment:
    return comparing.start(service.open(), rule, challenger, lambda _: None)


def stop(service: Service, winner: int = 0) -> Experiment:
    return comparing.stop(service.open(), winner, None, lambda _: None)


def weights(service: Service) -> dict[str, int]:
    found = service.open().deployer.traffic()
    assert found
    return {found.deployed: 100 - sum(found.weights.values()), **found.weights}


def events(service: Service) -> list[str]:
    """The states of A/Bs that the ledger has, each written once."""
    opened = service.open()
    listed = opened.cloud.client("s3").list_objects_v2(
        Bucket=opened.foundation.bucket, Prefix="releases/production/experiments/"
    )
    return [
        re.sub(r".*/(\d+)/\d+-", r"\1 ", one["Key"]).lstrip("0").removesuffix(".json")
        for one in listed.get("Contents", [])
    ]


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


def test_deploy_is_refused_while_an_ab_runs(service: Service) -> None:
    """It would end the comparison; the message has the command that ends it. A second A/B is refused, too."""
    start(service, 1)
    with pytest.raises(
        Refused, match=r"A/B 1 of release 2 \(control\) and release 1 .* its traffic stays split"
    ) as refused:
        service.deploy(NOTE="3")
    assert refused.value.next == "invoke ab --stop --branch main"
    with pytest.raises(Refused, match="is running") as refused:
        start(service, 1)
    assert refused.value.next == "invoke ab --status --branch main, or invoke ab --stop --branch main"
    assert weights(service) == {"2": 50, "1": 50}
    assert deploy.resume(service.open(), lambda _: None).release is None
    stop(service)
    assert service.deploy(NOTE="3").live == 3


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


def test_what_cannot_be_compared_is_refused(service: Service) -> None:
    """One release, the same one twice, one that was never verified or does not exist, a split that something else made."""
    with pytest.raises(Refused, match="release 2 is live already"):
        start(service, 2)
    with pytest.raises(Refused, match="no release 9"):
        start(service, 9)
    with pytest.raises(Refused):
        service.deploy(NOTE="3", BAD="500")
    with pytest.raises(Refused, match="release 3 was never verified, it is failed"):
        start(service, 3)
    service.rollback()
    with pytest.raises(Refused, match="production has one verified release, 1, and an A/B compares two"):
        start(service)
    opened = service.open()
    assert opened.ledger.head().experiment is None
    assert events(service) == []
    assert start(service, 2).challenger.release == 2  # which was rolled back: only by its name
    with pytest.raises(Refused, match="release 3 is not in A/B 1, which compares 1 and 2"):
        stop(service, 3)
    stop(service)
    with pytest.raises(Refused, match="no A/B is running in production"):
        stop(service)
    opened.cloud.client("lambda").update_alias(
        FunctionName=service.name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 0.2}}
    )
    with pytest.raises(Refused, match="not as this pipeline left it"):
        start(service, 2)


def test_challenger_that_does_not_answer_gets_no_traffic(service: Service) -> None:
    """Its health check comes before the split; the rule that was recorded is ended with the reason."""
    opened = service.open()
    opened.cloud.client("lambda").delete_function(FunctionName=service.name, Qualifier="1")
    with pytest.raises(Refused, match="deployed version 1 does not answer /version"):
        start(service, 1)
    assert (service.live(), weights(service), service.problems()) == (2, {"2": 100}, [])
    found = service.open().ledger.head().experiment
    assert found
    assert (found.state, "does not answer" in found.cause) == (STOPPED, True)


def test_paused_deploy_is_finished_first(service: Service) -> None:
    """An A/B does not begin while a deploy is under way."""
    service.rules = CANARY
    service.deploy(NOTE="3", detach=True)
    with pytest.raises(Refused, match="a deploy of release 3, at shift, 50 % of the traffic is under way") as refused:
        start(service, 1)
    assert refused.value.next == "invoke deploy --resume --branch main, or invoke rollback --branch main"
    with service.open().ledger.locked("another user", "deploy"), pytest.raises(LockHeld):
        start(service, 1)


def test_split_that_something_else_changed_ends_with_a_report(service: Service) -> None:
    """Traffic that another tool moved is left where it is; the A/B has ended all the same."""
    service.deploy(NOTE="3")
    start(service, 2)
    aws = service.open().cloud.client("lambda")
    aws.update_alias(FunctionName=service.name, Name="live", FunctionVersion="1", RoutingConfig={})
    with pytest.raises(Refused, match="deployed version 1 has traffic, which this end of an A/B did not shift to it"):
        stop(service)
    found = service.open().ledger.head().experiment
    assert found
    assert (found.state, weights(service)) == (STOPPED, {"1": 100})


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
