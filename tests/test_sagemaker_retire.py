"""An endpoint that is not called costs all the same: its alarm, and ``invoke retire``."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from functools import partial

import endpointed
import pytest
from endpointing import ask, based, root, sagemaker, service
from faults import Fault, kill
from faults.harness import apart
from tiny import Tiny

from ml_delivery.account import change_sets
from ml_delivery.errors import Refused
from ml_delivery.monitoring import data, grafana, stack
from ml_delivery.monitoring.template import metric_query
from ml_delivery.observed import Place
from ml_delivery.records import RUNNING, Arm, Experiment, Rule
from ml_delivery.release import deploy, plan, retiring
from ml_delivery.release.head import Work
from ml_delivery.targets.sagemaker import observing
from ml_delivery.waiting import wait

__all__ = ["based", "root", "service"]  # fixtures


def test_endpoint_is_retired_and_brought_back(service: Tiny) -> None:
    """Asked with its cost, it goes with models and configurations; the ledger says so, and a deploy without a build undoes it."""
    opened, alarm = service.open(), f"{service.name}-production-idle"
    change_sets.ensure(stack.wanted(opened.config, opened.environment), opened.cloud)
    service.push()
    with pytest.raises(Refused, match="nothing is live, so there is nothing to retire"):
        retiring.retire(service.open())
    _becomes(service, alarm, "ALARM")
    deploy.deploy(service.open(), report=lambda step: None)
    _becomes(service, alarm, "OK")  # the deploy's own calls are calls
    _refused_while_something_is_under_way(service)
    printed = service.invoke("retire", code=1)  # there is no terminal to answer at
    assert (
        f"the endpoint {service.name}-production (1 × ml.t2.medium), the model {service.name}-production-r1" in printed
    )
    assert "this ends a cost of about 40.32 USD a month" in printed
    assert ask(service, "/version")["release"] == 1
    _killed_and_continued(service)
    deployer = sagemaker(service)
    assert deployer.endpoint.read() is None
    assert not deployer.models.all()
    assert not deployer.client.list_endpoint_configs(NameContains=deployer.names.endpoint)["EndpointConfigs"]
    assert "release 1 is retired; next: invoke deploy --branch main" in service.invoke("status")
    shown = json.loads(service.invoke("status", "--json"))
    assert (shown["live"], shown["retired"]) == (None, 1)
    (listed,) = json.loads(service.invoke("releases", "--json"))
    assert (listed["state"], listed["cause"]) == ("retired", "retired by tests@localhost")
    deploy.deploy(service.open(), report=lambda step: None)  # what was pushed is still there
    assert ask(service, "/version")["release"] == 2
    assert service.open().ledger.head().retired == 0
    with pytest.raises(Refused, match="release 1 is retired"):
        service.rollback(1)


def test_alarm_for_an_idle_endpoint_is_one_for_any_variant(tiny: Tiny) -> None:
    """CloudWatch and Grafana ask for the calls of all variants, for so many hours as the setting says; 0 means no alarm."""
    endpointed.endpoint(tiny)
    at = Place(tiny.config, tiny.config.environment("main"), "123456789012")
    (alarm,) = observing.observe(at).alarms
    assert (alarm.period * alarm.periods, alarm.needed, alarm.missing) == (3 * 3600, 3, "breaching")
    assert "invoke retire --branch main" in alarm.runbook
    (query,) = alarm.queries
    asked = metric_query(query, alarm.period)
    assert asked["Expression"].endswith(f"WHERE EndpointName = '{tiny.name}-production'")
    assert asked["Period"] == 3600
    (rule,) = grafana.rules(at, observing.observe(at), "")["rules"]
    model = next(one["model"] for one in rule["data"] if one["refId"] == "calls_all")
    assert (model["metricQueryType"], model["sqlExpression"]) == (1, asked["Expression"])
    assert rule["noDataState"] == "Alerting"
    tiny.replace("pipeline.toml", "start = 60", "start = 60\nidle_hours = 0")
    at = Place(tiny.config, tiny.config.environment("main"), "123456789012")
    assert observing.observe(at).alarms == ()


def _becomes(service: Tiny, alarm: str, state: str) -> None:
    cloud = service.open().cloud
    states = partial(data.alarm_states, cloud, f"{service.name}-production")
    wait(lambda: states().get(alarm) == state or None, what=f"{alarm} in {state}", seconds=20)


def _refused_while_something_is_under_way(service: Tiny) -> None:
    """A deploy that was left unfinished and an A/B are ended first."""
    opened = service.open()
    release = opened.ledger.read(1)
    arms = Arm(1, "r1"), Arm(1, "r1")
    rule = Rule("value", "request", "requests", "no difference", 0.05, 5.0, 50, 1000, 1)
    running = Experiment(1, RUNNING, rule, *arms, "tests", 0.0)
    for changes, says in (
        ({"work": Work("deploy", release, None)}, "is under way"),
        ({"experiment": running}, "A/B 1 of release 1"),
    ):
        name = next(iter(changes))
        with opened.ledger.locked("tests", "look") as lease:
            lease.write(**changes)
        with pytest.raises(Refused, match=says):
            retiring.retire(opened)
        with opened.ledger.locked("tests", "look") as lease:
            lease.write(**{name: None})


def _killed_and_continued(service: Tiny) -> None:
    """kill -9 after the record, then after the endpoint is gone: each time what remains is named, and the next one continues."""
    opened = service.open()
    assert apart(lambda: retiring.retire(opened), _kill("PutObject", 3))[0] == -signal.SIGKILL
    printed = service.invoke("status")
    assert "release 1 serves as deployed version r1" in printed
    assert "continue with invoke retire --branch main" in printed
    assert [(one.what, one.old) for one in plan.make(service.open()).changes] == [("traffic", "1")]
    assert apart(lambda: retiring.retire(service.open()), _kill("DeleteEndpoint$", 1))[0] == -signal.SIGKILL
    assert apart(lambda: retiring.retire(service.open()), _kill("DeleteEndpointConfig", 1))[0] == -signal.SIGKILL
    assert "release 1 is retired; to bring it back: invoke deploy --branch main" in service.invoke("retire", "--yes")


def _kill(on: str, at: int) -> Fault:
    return replace(kill(at), on=on)
