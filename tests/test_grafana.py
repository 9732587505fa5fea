"""Grafana is brought up to date through its HTTP API; what others changed there, or in CloudWatch, is shown as drift."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from grafana_server import TOKEN, GrafanaServer
from tiny import Tiny

from ml_delivery.account import change_sets
from ml_delivery.monitoring import stack as monitoring


@pytest.fixture
def server() -> Iterator[GrafanaServer]:
    found = GrafanaServer()
    yield found
    found.close()


@pytest.fixture
def connected(tiny: Tiny, server: GrafanaServer, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """A tiny service with a release and a Grafana."""
    toml = tiny.root / "pipeline.toml"
    toml.write_text(toml.read_text() + f'\n[monitoring]\ngrafana_url = "{server.url}"\n')
    tiny.commit("Connect")
    tiny.deploy()
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "http://127.0.0.1:9/hook")
    return tiny


PARTS = ("folder", "data source", "dashboard", "alert rules", "contact point")


def test_upload_makes_all_and_then_nothing(connected: Tiny, server: GrafanaServer) -> None:
    """Everything is made once, releases are marked once; a second upload changes nothing."""
    printed = connected.invoke("monitor", "--upload")
    for part in PARTS:
        assert f"  {part:<14} was missing; written\n" in printed
    assert "releases       1 newly marked" in printed
    function = f"{connected.name}-production"
    (board,) = server.boards.values()
    assert board["dashboard"]["title"] == function
    (source,) = server.sources.values()
    assert source["jsonData"]["assumeRoleArn"] == f"arn:aws:iam::123456789012:role/{function}-grafana"
    assert server.annotations[0]["tags"] == ["release", function, "release-1"]
    calls = list(server.calls)
    again = connected.invoke("monitor", "--upload")
    assert again.count("was up to date") == len(PARTS)
    assert "0 newly marked" in again
    assert server.calls == calls


def test_edited_dashboard_is_drift_until_it_is_uploaded_again(connected: Tiny, server: GrafanaServer) -> None:
    """A dashboard and rules that were edited in Grafana are named by plan, and put back by an upload."""
    connected.invoke("monitor", "--upload")
    assert connected.invoke("plan") == "production: nothing to do\n"
    (board,) = server.boards.values()
    board["dashboard"]["panels"][1]["title"] = "Mine"
    (group,) = server.groups.values()
    group["rules"].pop()
    printed = connected.invoke("plan", code=2)
    assert "drift Grafana dashboard: as defined → changed" in printed
    assert "drift Grafana alert rules: as defined → changed" in printed
    assert "next: invoke monitor --upload" in printed
    found = json.loads(connected.invoke("plan", "--json", code=2))["drift"]
    assert [drift["name"] for drift in found] == ["dashboard", "alert rules"]
    assert connected.invoke("monitor", "--upload").count("was changed; written") == 2
    assert connected.invoke("plan") == "production: nothing to do\n"


def test_dashboard_edited_in_cloudwatch_is_drift(tiny: Tiny) -> None:
    """Without Grafana, CloudWatch's own dashboard is compared; an upload puts it back."""
    tiny.deploy()
    assert tiny.invoke("plan") == "production: nothing to do\n"  # nothing was made yet, so nothing has drifted
    opened = tiny.open()
    stack = monitoring.wanted(tiny.config, tiny.config.environment("main"))
    change_sets.ensure(stack, opened.cloud)
    assert tiny.invoke("plan") == "production: nothing to do\n"
    cloudwatch, name = opened.cloud.client("cloudwatch"), f"{tiny.name}-production"
    body = json.loads(cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"])
    body["widgets"].pop()
    cloudwatch.put_dashboard(DashboardName=name, DashboardBody=json.dumps(body))
    printed = tiny.invoke("plan", code=2)
    assert f"drift CloudWatch dashboard {name}: as defined → changed" in printed
    assert tiny.invoke("deploy").endswith("is live in production\n")  # a dashboard does not hold a deploy up
    assert "CloudWatch     was changed; written" in tiny.invoke("monitor", "--upload")
    assert tiny.invoke("plan") == "production: nothing to do\n"


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "GRAFANA_TOKEN: not set"),
        ({"GRAFANA_TOKEN": "wrong"}, "401: "),
    ],
)
def test_upload_without_the_right_token_is_refused(
    connected: Tiny, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    """No token, or one that Grafana does not know, is printed in words."""
    monkeypatch.delenv("GRAFANA_TOKEN")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert says in connected.invoke("monitor", "--upload", code=1)


def test_grafana_that_does_not_answer_is_named(connected: Tiny, server: GrafanaServer) -> None:
    """A Grafana that is gone is one message, and plan fails rather than finding no drift."""
    server.close()
    for words in (["monitor", "--upload"], ["plan"]):
        assert f"Grafana at {server.url} does not answer" in connected.invoke(*words, code=1)
