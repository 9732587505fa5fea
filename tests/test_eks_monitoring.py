"""The monitoring of the target eks: what is defined, and on a real cluster what panels show and alarms see."""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import podded
import pytest
from tiny import Tiny

from ml_delivery.cloud import Cloud
from ml_delivery.errors import Refused
from ml_delivery.monitoring import data, files
from ml_delivery.monitoring.definition import observed
from ml_delivery.observed import NAMESPACE, Observed, Place
from ml_delivery.release import deploy
from ml_delivery.targets.eks.deployer import EksDeployer
from ml_delivery.waiting import wait

ALARMS = ["errors", "slow", "restarts", "quiet"]
# Logs each request as the starters do; /hungry needs more memory than the pod has.
APP = podded.APP.replace("\n\nRELEASE", "\n\nfrom ml_service import telemetry\n\nRELEASE", 1).replace(
    "    start_response(",
    """\
    if path == "/hungry":
        bytearray(10**9)
    failed = int(status >= "500")
    print(telemetry.line("info", path=path, Latency=2.5, Failures=failed, ColdStarts=1, Release=body["release"]), flush=True)
    start_response(""",
    1,
)
CANARY = """\
[deploy]
strategy = "canary"
weight = 50
pause = 60
period = 1
alarms = ["watched-{environment}-restarts"]
"""
WITHOUT = {"use"}  # panels that the emulator's cluster has no metrics for, as `invoke cloud.parity` says


@pytest.fixture
def service(tiny: Tiny) -> Tiny:
    podded.pod(tiny, "services")
    return tiny


def seen(service: Tiny) -> Observed:
    return observed(Place(service.config, service.config.environment("main"), "123456789012"))


def test_a_cluster_has_what_a_function_has(service: Tiny) -> None:
    """Rows, alarms, a log, a comparison of versions; no metric is Lambda's, and each panel refers to its own queries."""
    found = seen(service)
    assert list(found.rows) == ["Requests", "Pods", "Delivery", "Log"]
    assert [alarm.id for alarm in found.alarms] == ALARMS
    assert found.log_group == f"/ml-service/{service.name}-production"
    assert found.by_version
    assert set(found.logs) == {"errors", "latency", "releases", "slow"}
    queries = [query for panel in found.panels for query in panel.queries]
    assert {query.namespace for query in queries if query.metric} == {NAMESPACE, "ContainerInsights", "AWS/CodeBuild"}
    for panel in found.panels:
        for query in panel.queries:
            if "SEARCH" not in query.expression:
                assert set(re.findall(r"\b[a-z]\w*\b", query.expression)) <= {one.id for one in panel.queries}, panel.id
    for alarm in found.alarms:
        assert re.search(r"invoke (logs|call)\b.* --branch main", alarm.then), alarm.id
        assert not any("SEARCH" in query.expression for query in alarm.queries), alarm.id  # CloudWatch refuses it


def test_alarms_and_dashboards_are_rendered(service: Tiny) -> None:
    """CloudWatch's stack has the alarms and the dashboard, Grafana's files have the same panels and rules."""
    made = files.rendered(service.config)
    stack = json.loads(made["build/monitoring/production.json"])["Resources"]
    assert {f"{name.title()}Alarm" for name in ALARMS} | {"Dashboard"} == set(stack)
    assert stack["RestartsAlarm"]["Properties"]["AlarmName"] == f"{service.name}-production-restarts"
    grafana = "".join(text for path, text in made.items() if "/grafana/" in path)
    for panel in seen(service).panels:
        assert panel.title in grafana, panel.id
    for alarm in seen(service).alarms:
        assert alarm.title in grafana, alarm.id


def test_panels_show_pods_and_an_alarm_stops_a_canary(
    slim: None, pods_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Users' requests alone are counted, by version; a pod that the kernel ended is on panels and an alarm; it stops a canary."""
    tiny = Tiny(tmp_path_factory.mktemp("watched") / "service", pods_home, "watched")
    podded.pod(tiny, "services")
    tiny.write("src/service/app.py", APP)
    tiny.replace("pipeline.toml", "[promote]", f"{CANARY}\n[promote]")
    tiny.commit("Watched")
    tiny.invoke("bootstrap", "--yes")
    tiny.deploy()
    opened = tiny.open()
    place = urlsplit(opened.deployer.address({})).netloc
    for path in ["/version"] * 20 + ["/broken"] * 5:
        _ask(place, path)
    found = seen(tiny)

    def shown() -> dict[str, dict[str, float]]:
        now = time.time()
        read = {
            panel.id: data.read(opened.cloud, panel, now - 3600, now + 60, data.DAY)
            for panel in found.panels
            if panel.queries
        }
        return {name: {line.label: sum(v for _, v in line.points) for line in lines} for name, lines in read.items()}

    def counted() -> dict[str, dict[str, float]] | None:
        now = shown()
        return now if now["requests"].get("watched-1", 0) >= 25 else None

    requested = wait(counted, what="the metrics", seconds=20)
    assert requested["requests"] == {"watched-1": 25}
    assert requested["failures-by-version"] == {"watched-1": 5}
    assert requested["latency-by-version"]["watched-1"] == pytest.approx(2.5)
    assert requested["errors"] == {"watched-1": 0}
    _ask(place, "/hungry")
    expected = ["watched-production-restarts"]
    wait(lambda: _firing(opened.cloud, "watched-production") == expected or None, what="the alarm", seconds=40)
    now = shown()
    assert (now["errors"], now["out-of-memory"]) == ({"watched-1": 1}, {"watched-1": 1})
    for row in ("Requests", "Pods"):
        for panel in found.rows[row]:
            lines = [query for query in panel.queries if query.shown]
            assert panel.id in WITHOUT or len(now[panel.id]) == len(lines), (panel.id, now[panel.id])
    assert data.ask_log(opened.cloud, found.log_group, found.logs["slow"], 60)
    function = replace(opened.environment.function, variables={"LOG_LEVEL": "DEBUG"})
    canary = replace(opened, environment=replace(opened.environment, function=function))
    with pytest.raises(Refused, match="the alarm watched-production-restarts is in alarm"):
        deploy.deploy(canary, report=lambda step: None)
    live = opened.deployer.live()
    assert live
    assert (live.deployed, live.traffic.weights) == ("watched-1", {})
    assert isinstance(opened.deployer, EksDeployer)
    opened.deployer.client.delete(
        "/api/v1/namespaces/watched-production"
    )  # the node has room for the tests that follow


def _ask(place: str, path: str) -> None:
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://{place}{path}", timeout=10).close()


def _firing(cloud: Cloud, name: str) -> list[str]:
    """The names of the alarms that are in alarm."""
    return sorted(one for one, state in data.alarm_states(cloud, name).items() if state == "ALARM")
