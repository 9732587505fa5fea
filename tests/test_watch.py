"""Traffic in steps: a version that is bad slowly is stopped by its numbers, and the rest can wait for --resume."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from emulated import client
from faults.harness import KEEP, Service, Users
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.errors import Refused
from ml_delivery.keys import Deploy
from ml_delivery.records import Look
from ml_delivery.release import deploy, rollout, watch
from ml_delivery.release.rollout import weights

CANARY = Deploy(strategy="canary", weight=10, pause=12, period=3)


def test_weights_of_each_strategy() -> None:
    """All at once gives nothing before all, a canary one share, linear one after the other."""
    assert weights(Deploy()) == []
    assert weights(Deploy(strategy="canary", weight=5)) == [5]
    assert weights(Deploy(strategy="linear", weight=30)) == [30, 60, 90]


QUIET = Look(weight=10, requests=200, errors=0, p95=200.0, throttles=0, alarms=(), command=0, breach="", failures=0)
RULES = Deploy(max_errors=1, max_p95=200, max_throttles=3, command=("check", "it"))


@pytest.mark.parametrize(
    ("seen", "limit"),
    [
        ({}, ""),
        ({"requests": 0}, ""),
        ({"errors": 2}, ""),
        ({"errors": 1, "failures": 1}, ""),
        ({"errors": 2, "failures": None}, ""),
        ({"throttles": 3}, ""),
        ({"errors": 3}, "1.5 % of requests fail"),
        ({"failures": 3}, "1.5 % of requests fail"),
        ({"errors": 1, "failures": 2}, "1.5 % of requests fail"),
        ({"requests": 0, "errors": 1}, "100.0 % of requests fail"),
        ({"p95": 200.5}, "p95 is 200 ms; deploy.max_p95 is 200 ms"),
        ({"throttles": 4}, "4 calls were throttled; deploy.max_throttles is 3"),
        ({"alarms": ("a", "b")}, "the alarm a is in alarm"),
        ({"command": 7}, "check it exited with code 7"),
    ],
)
def test_limit_itself_is_within_it(seen: dict[str, Any], limit: str) -> None:
    """What equals a limit passes, whatever is above one does not; exceptions and answers of 5xx add up."""
    assert watch.breach(replace(QUIET, **seen), RULES).startswith(limit)
    assert bool(watch.breach(replace(QUIET, **seen), RULES)) == bool(limit)
    assert watch.breach(replace(QUIET, p95=9e9), replace(RULES, max_p95=0)) == ""


def test_canary_that_fails_half_its_requests_is_stopped(tiny: Tiny) -> None:
    """It is stopped within two periods, names the number and the line, and costs at most a twentieth of the requests."""
    service = Service(tiny, CANARY)
    service.deploy(NOTE="good")
    users = Users(service, rate=40, path="/")
    time.sleep(1.0)
    with pytest.raises(Refused, match=r"% of requests fail .*; deploy.max_errors is 1 %; release 1 serves as before"):
        service.deploy(BAD="half")
    time.sleep(1.0)
    met = users.stop()
    failed = service.open().ledger.read(2)
    assert (failed.state, failed.watched[-1].weight) == ("failed", 10)
    assert failed.watched[-1].requests > 0
    assert next(one.seconds for one in failed.steps if (one.name, one.weight) == ("watch", 10)) <= 2 * CANARY.period
    share = met.failed / met.requests
    print(f"{met.failed} of {met.requests} requests failed: {share:.1%}")
    assert 0 < share <= 0.05
    assert (service.live(), service.problems()) == (1, [])


def test_linear_deploy_of_a_good_version_ends_verified(tiny: Tiny) -> None:
    """Each share is held, looked at and recorded; no user notices."""
    service = Service(tiny, Deploy(strategy="linear", weight=40, pause=1, period=1))
    service.deploy(NOTE="good")
    users = Users(service)
    outcome = service.deploy(NOTE="better")
    assert users.stop().failures == []
    names = [(step.name, step.weight) for step in outcome.steps if step.weight not in (None, 100)]
    assert names == [("shift", 40), ("watch", 40), ("shift", 80), ("watch", 80)]
    assert [look.weight for look in outcome.release.watched] == [40, 80]
    assert (service.live(), service.problems()) == (2, [])


@pytest.mark.parametrize(
    ("variables", "rules", "says"),
    [
        ({"BAD": "slow"}, {"max_p95": 200}, r"p95 is \d+ ms; deploy.max_p95 is 200 ms"),
        ({"NOTE": "x"}, {"alarms": ("rings",)}, "the alarm rings is in alarm"),
        ({"NOTE": "x"}, {"alarms": ("not-there",)}, r"not-there \(which does not exist\) is in alarm"),
        (
            {"NOTE": "x"},
            {"command": (sys.executable, "-c", "import os, sys; sys.exit(os.environ['RELEASE_WEIGHT'] == '10')")},
            "exited with code 1",
        ),
        ({"NOTE": "x"}, {"command": ("no-such-command",)}, "no-such-command exited with code 127"),
    ],
    ids=["p95", "alarm", "missing alarm", "command", "missing command"],
)
def test_every_line_can_be_crossed(tiny: Tiny, variables: dict[str, str], rules: dict[str, object], says: str) -> None:
    """Latency, an alarm and the user's own command each stop a canary, and say so."""
    service = Service(tiny, replace(CANARY, pause=30, period=2, weight=10, **rules))
    service.deploy(NOTE="good")
    running = emulator.up(tiny.root)
    if "rings" in rules.get("alarms", ()):
        cloudwatch = client(running, "cloudwatch")
        cloudwatch.put_metric_alarm(
            AlarmName="rings",
            Namespace="test",
            MetricName="x",
            ComparisonOperator="GreaterThanThreshold",
            EvaluationPeriods=1,
            Period=10,
            Statistic="Sum",
            Threshold=1,
            TreatMissingData="breaching",
        )
        cloudwatch.set_alarm_state(AlarmName="rings", StateValue="ALARM", StateReason="a test")
    users = Users(service, rate=30, path="/")
    with pytest.raises(Refused, match=says):
        service.deploy(**variables)
    users.stop()
    assert (service.live(), service.problems()) == (1, [])


def test_check_that_takes_too_long_stops_a_canary(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own command is ended after its time, and counts as failed."""
    monkeypatch.setattr(watch, "COMMAND_SECONDS", 1)
    sleep = (sys.executable, "-c", "import time; time.sleep(60)")
    service = Service(tiny, replace(CANARY, pause=30, period=2, command=sleep))
    service.deploy(NOTE="good")
    with pytest.raises(Refused, match="exited with code 124"):
        service.deploy(NOTE="better")
    assert (service.live(), service.problems()) == (1, [])


def test_throttled_calls_stop_a_canary(tiny: Tiny) -> None:
    """Calls that ran no version at all count too."""
    service = Service(tiny, replace(CANARY, pause=30, period=2))
    service.deploy(NOTE="good")
    users = Users(service, rate=20, path="/")
    opened = service.open(NOTE="x")
    shift = type(opened.deployer).shift

    def throttling(self: object, *words: object) -> None:
        shift(self, *words)
        client(emulator.up(tiny.root), "lambda").put_function_concurrency(
            FunctionName=service.name, ReservedConcurrentExecutions=0
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(opened.deployer), "shift", throttling)
        with pytest.raises(Refused, match=r"calls were throttled; deploy.max_throttles is 0"):
            service.deploy(NOTE="x")
    client(emulator.up(tiny.root), "lambda").delete_function_concurrency(FunctionName=service.name)
    users.stop()
    assert service.live() == 1


def test_detached_deploy_is_resumed(tiny: Tiny) -> None:
    """--detach ends with the share given; status shows it, a second deploy is refused, --resume ends it verified."""
    tiny.deploy()
    tiny.write(
        "pipeline.toml",
        (tiny.root / "pipeline.toml").read_text() + '\n[deploy]\nstrategy = "canary"\npause = 4\nperiod = 1\n',
    )
    tiny.repair("second")
    tiny.push()
    assert "has 10 % of the traffic of production on embedded, paused until " in tiny.invoke("deploy", "--detach")
    assert tiny.live() == 1
    status = tiny.invoke("status")
    assert "deployed version 2 (release 2) has 10 % of the traffic" in status
    assert "a deploy of release 2, at shift, 10 % of the traffic is paused; continue with invoke deploy" in status
    assert json.loads(tiny.invoke("status", "--json"))["work"]["release"]["number"] == 2
    assert "a deploy of release 2, at shift, 10 %" in tiny.invoke("deploy", code=1)
    resumed = tiny.invoke("deploy", "--resume")
    assert "watch 10 %" in resumed
    assert "release 2 is verified" in resumed
    assert "nothing to do: release 2 is live" in tiny.invoke("deploy", "--resume")


def test_pauses_that_outlast_a_workflow_are_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """On AWS a workflow's credentials end after an hour: a deploy that would need more of it is not begun there."""
    service = Service(tiny, Deploy(strategy="linear", weight=5, pause=300))
    service.rules, slow = KEEP, service.rules
    service.deploy(NOTE="1")
    service.rules = slow
    opened = service.open(NOTE="2")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setattr(opened.cloud, "name", "aws")
    with pytest.raises(Refused, match="take 95 minutes, a workflow's session ends after 60"):
        deploy.deploy(opened, lambda _: None)
    monkeypatch.undo()
    assert (service.live(), service.problems()) == (1, [])


def test_shares_are_held_on_aws_until_their_numbers_have_come(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda's metrics come minutes late: on AWS a shorter pause would look at nothing, and move on."""
    opened = tiny.open()
    opened = replace(opened, environment=replace(opened.environment, deploy=replace(CANARY, pause=1)))
    assert rollout.plan(opened).pause == 1
    monkeypatch.setattr(opened.cloud, "name", "aws")
    held = rollout.plan(replace(opened))
    assert (held.pause, held.period) == (180 + opened.environment.function.timeout, 60)
    monkeypatch.undo()


def test_rollback_says_that_somebody_moved_the_traffic(tiny: Tiny) -> None:
    """A canary is to be taken back, and somebody else has moved the alias meanwhile: that is said, not taken for success."""
    service = Service(tiny, replace(CANARY, pause=60))
    service.deploy(NOTE="1")
    service.deploy(NOTE="2")
    service.deploy(NOTE="3", detach=True)
    aws = client(emulator.up(tiny.root), "lambda")
    aws.update_alias(FunctionName=service.name, Name="live", FunctionVersion="1", RoutingConfig={})
    with pytest.raises(Refused, match="release 1 serves, which is not what served before"):
        service.rollback()
    assert service.open().ledger.read(3).state == "failed"


def test_rollback_takes_a_detached_deploy_back(tiny: Tiny) -> None:
    """A rollback while a release has a share of the traffic takes just that back."""
    service = Service(tiny, replace(CANARY, pause=60))
    service.deploy(NOTE="1")
    service.rules = replace(CANARY, pause=60)
    service.deploy(NOTE="2", detach=True)
    assert service.open().deployer.live().traffic.weights == {"2": 10}
    assert service.rollback(to=1).release.number == 1
    assert (service.live(), service.problems()) == (1, [])
    assert service.open().ledger.read(2).cause == "rolled back by tests@localhost"
