"""How a release gets its traffic: pauses long enough for alarms, shown in the plan, and seen in the status."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from emulated import client
from faults.harness import Service
from measured import CANARY, serve
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.errors import Refused
from ml_delivery.release import plan as planning
from ml_delivery.release import rollout, words
from ml_delivery.waiting import wait


@pytest.fixture
def measured(tiny: Tiny) -> Service:
    """A service that reports its own failures."""
    return serve(tiny)


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
    assert "deployed version 2 (release 2) has 10 % of the traffic" in printed
    assert "a deploy of release 2, at shift, 10 % of the traffic is paused; continue with invoke deploy" in printed
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
