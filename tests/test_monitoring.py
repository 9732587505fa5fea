"""One definition of what matters: rendered the same each time, true to what the service measures, taken by CloudFormation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models import dashboard as model
from tiny import INFRA, PRICING, Tiny

from ml_delivery.account import stacks
from ml_delivery.errors import ConfigError
from ml_delivery.keys import Monitoring
from ml_delivery.monitoring import files, grafana
from ml_delivery.monitoring.alarms import alarms
from ml_delivery.monitoring.definition import panels
from ml_delivery.monitoring.queries import NAMESPACE, place
from ml_delivery.monitoring.template import ANYWHERE, dashboard
from ml_service.telemetry import METRICS
from ml_service.telemetry import NAMESPACE as WRITTEN
from service import telemetry

QUERIES = files.queries(PRICING)


def test_the_template_is_what_the_definition_says() -> None:
    """``infra/monitoring.yaml`` is not written by hand, and not too large for CloudFormation to take as it is."""
    text = (INFRA / "monitoring.yaml").read_text()
    from ml_delivery.monitoring.template import template

    assert text == files._written("infra/monitoring.yaml", template(QUERIES))
    assert len(text.encode()) <= 51_200


def test_rendering_twice_gives_the_same_bytes(tiny: Tiny) -> None:
    """What is rendered a second time is the same, and nothing is written then."""
    (tiny.root / "infra").unlink()
    tiny.write("infra/queries/slow.txt", QUERIES["slow"])
    tiny.write("infra/queries/errors.txt", QUERIES["errors"])
    missing = json.loads(tiny.invoke("monitor", "--json", code=2))["differences"]
    assert "infra/grafana/dashboards/production.json is missing" in missing
    assert "wrote infra/grafana/dashboards/production.json" in tiny.invoke("monitor", "--render")
    first = {path: path.read_bytes() for path in (tiny.root / "infra").rglob("*") if path.is_file()}
    assert tiny.invoke("monitor", "--render") == "nothing to write\n"
    assert {path: path.read_bytes() for path in (tiny.root / "infra").rglob("*") if path.is_file()} == first
    assert tiny.invoke("monitor") == "the files are as their definition says\n"
    board = tiny.root / "infra/grafana/dashboards/production.json"
    board.write_text(board.read_text().replace("Requests by version", "Mine"))
    said = tiny.invoke("monitor", code=2)
    assert '-      "title": "Mine",' in said
    assert "next: invoke monitor --render" in said


def test_panels_ask_for_what_the_service_measures() -> None:
    """Each of the service's own metrics is on a panel, and no panel asks for one that it doesn't write."""
    asked = {
        (query.namespace, query.metric)
        for listed in panels(ANYWHERE).values()
        for panel in listed
        for query in panel.queries
        if query.metric
    }
    assert NAMESPACE == WRITTEN
    assert {metric for namespace, metric in asked if namespace == NAMESPACE} | {"Latency"} == {
        *METRICS,
        *telemetry.METRICS,
    }


def test_panels_refer_to_their_own_queries() -> None:
    """Ids are unique; an expression names only queries of its panel; a log panel's query is in ``infra/queries``."""
    listed = [panel for row in panels(ANYWHERE).values() for panel in row]
    assert len({panel.id for panel in listed}) == len(listed)
    for panel in listed:
        ids = [query.id for query in panel.queries]
        assert len(set(ids)) == len(ids), panel.id
        for query in panel.queries:
            if "SEARCH" not in query.expression:
                words = set(re.findall(r"\b[a-z]\w*\b", query.expression.replace("${Memory}", "1")))
                assert words <= set(ids), panel.id
        assert bool(panel.queries) != bool(panel.log)
        assert not panel.log or panel.log in QUERIES


def test_alarms_have_a_runbook_of_commands_that_exist() -> None:
    """Each alarm says what it means and what to type; the queries that it names exist."""
    for alarm in alarms(ANYWHERE):
        assert alarm.means.endswith("."), alarm.id
        assert re.search(r"invoke (logs|call|status|report)\b", alarm.then), alarm.id
        for name in re.findall(r"--query (\w+)", alarm.then):
            assert name in QUERIES


def at(tiny: Tiny) -> Any:
    return place(tiny.config, tiny.config.environment("main"), "123456789012")


def test_grafanas_own_types_take_the_dashboard(tiny: Tiny) -> None:
    """Read by Grafana's SDK and written again, nothing of the dashboard is lost; uid and title are within its limits."""
    board = grafana.board(at(tiny), QUERIES)
    again = json.loads(grafana.JSONEncoder(sort_keys=True).encode(model.Dashboard.from_json(board)))
    assert again == board
    assert len(board["uid"]) <= 40
    titles = {panel["title"] for panel in board["panels"]}
    assert {panel.title for row in panels(at(tiny)).values() for panel in row} <= titles


def test_both_dashboards_show_the_same_panels(tiny: Tiny) -> None:
    """CloudWatch's dashboard and Grafana's have the same plots, with the same number of queries each."""
    shown = dashboard(at(tiny), QUERIES)["widgets"]
    cloudwatch = {
        w["properties"]["title"]: len(w["properties"].get("metrics", [1])) for w in shown if w["type"] != "text"
    }
    cloudwatch.pop("Alarms")
    board = grafana.board(at(tiny), QUERIES)["panels"]
    assert cloudwatch == {panel["title"]: len(panel["targets"]) for panel in board if panel["type"] != "row"}


def test_provisioning_escapes_what_grafana_would_expand(tiny: Tiny) -> None:
    """In the files a dollar of an expression is doubled; only the webhook and the account are variables."""
    rendered = files.rendered(tiny.config)
    rules = rendered["infra/grafana/alerting/production.yaml"]
    assert "100 * ($$thrown + $$answered) / $$requests" in rules
    assert not re.search(r"(?<!\$)\$(?!\$)", rules)
    assert yaml.safe_load(rules)["groups"][0]["interval"] == "60s"
    found = set(
        re.findall(r"\$\w+", "".join(t for p, t in rendered.items() if "alerting/c" in p or "datasources" in p))
    )
    assert found == {"$SLACK_WEBHOOK_URL", "$AWS_ACCOUNT_ID"}
    uids = [rule["uid"] for rule in yaml.safe_load(rules)["groups"][0]["rules"]]
    assert len(uids) == len(set(uids)) == len(alarms(at(tiny)))


@pytest.mark.parametrize("principal", ["user", "arn:aws:iam::111122223333:root"])
def test_role_without_external_id_is_refused(tiny: Tiny, principal: str) -> None:
    """Nobody takes Grafana's role without an external id, but the service that has none."""
    toml = tiny.root / "pipeline.toml"
    toml.write_text(toml.read_text() + f'\n[monitoring]\ngrafana_principal = "{principal}"\n')
    with pytest.raises(ConfigError, match="grafana_external_id: empty"):
        stacks.monitoring(tiny.config, tiny.config.environment("main"))


def test_managed_grafana_takes_no_role(tiny: Tiny) -> None:
    """Amazon Managed Grafana has the role as its workspace's own; the data source of any other Grafana takes it."""
    taken = {"assumeRoleArn", "externalId"}
    assert taken <= set(grafana.data_source(tiny.config, at(tiny))["jsonData"])
    toml = tiny.root / "pipeline.toml"
    toml.write_text(toml.read_text() + '\n[monitoring]\ngrafana_principal = "grafana.amazonaws.com"\n')
    assert not taken & set(grafana.data_source(tiny.config, at(tiny))["jsonData"])


def test_thresholds_reach_the_stack(tiny: Tiny) -> None:
    """Every number of ``[monitoring]`` is a parameter of the stack that has that parameter."""
    toml: Path = tiny.root / "pipeline.toml"
    toml.write_text(toml.read_text() + "\n[monitoring]\nmax_errors = 7\nmax_drift = 30\nquiet = 5\n")
    stack = stacks.monitoring(tiny.config, tiny.config.environment("main"))
    assert (stack.parameters["MaxErrors"], stack.parameters["MaxDrift"], stack.parameters["QuietPeriods"]) == (
        "7",
        "0.3",
        "5",
    )
    assert stack.parameters["Price"] == "0.0000166667"
    tiny.replace("pipeline.toml", 'region = "eu-west-1"', 'region = "eu-west-1"\narchitecture = "arm64"')
    assert stacks.monitoring(tiny.config, tiny.config.environment("main")).parameters["Price"] == "0.0000133334"
    known = yaml.safe_load(stack.body)["Parameters"]
    assert set(stack.parameters) <= set(known)
    assert {alarm.threshold for alarm in alarms(ANYWHERE) if isinstance(alarm.threshold, str)} <= set(
        Monitoring.__dataclass_fields__
    )
