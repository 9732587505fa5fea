"""One definition of what is observed: the target's, the service's own and the delivery's part, rendered the same each time."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models import dashboard as model
from tiny import PRICING, Tiny

from ml_delivery.account import change_sets
from ml_delivery.errors import ConfigError
from ml_delivery.monitoring import definition, files, grafana, stack
from ml_delivery.monitoring.template import dashboard
from ml_delivery.observed import NAMESPACE, Observed, Place
from ml_service.telemetry import METRICS
from ml_service.telemetry import NAMESPACE as WRITTEN
from service import telemetry


@pytest.fixture
def priced(tiny: Tiny) -> Tiny:
    """A tiny service with what the pricing starter observes."""
    shutil.copytree(PRICING / "infra", tiny.root / "infra")
    return tiny


def at(tiny: Tiny) -> Place:
    return Place(tiny.config, tiny.config.environment("main"), "123456789012")


def seen(tiny: Tiny) -> Observed:
    return definition.observed(at(tiny))


def test_rendering_twice_gives_the_same_bytes(priced: Tiny) -> None:
    """The templates and Grafana's files are written once; the same again is nothing to write."""
    printed = priced.invoke("monitor", "--render")
    for path in ("production.json", "grafana/dashboards/production.json", "grafana/alerting/contact-points.yaml"):
        assert f"wrote build/monitoring/{path}\n" in printed
    first = {path: path.read_bytes() for path in (priced.root / "build").rglob("*") if path.is_file()}
    assert priced.invoke("monitor", "--render") == "nothing to write\n"
    assert {path: path.read_bytes() for path in (priced.root / "build").rglob("*") if path.is_file()} == first
    body = stack.wanted(priced.config, priced.config.environment("main")).body
    assert (priced.root / "build/monitoring/production.json").read_text() == body


def test_deployed_dashboard_is_compared_with_its_definition(priced: Tiny) -> None:
    """``invoke monitor`` exits 0 for no difference and 2 for one, which it names with the command that puts it back."""
    opened = priced.open()
    missing = f"stack {priced.name}-production-monitoring: missing; next: invoke bootstrap --branch main\n"
    assert priced.invoke("monitor", code=2) == missing
    change_sets.ensure(stack.wanted(priced.config, priced.config.environment("main")), opened.cloud)
    assert priced.invoke("monitor") == "the deployed alarms and dashboards are as defined\n"
    assert json.loads(priced.invoke("monitor", "--json")) == {"differences": []}
    name = f"{priced.name}-production"
    opened.cloud.client("cloudwatch").put_dashboard(DashboardName=name, DashboardBody='{"widgets": []}')
    printed = priced.invoke("monitor", code=2)
    assert printed == f"CloudWatch dashboard {name}: changed; next: invoke monitor --upload --branch main\n"
    (found,) = json.loads(priced.invoke("monitor", "--json", code=2))["differences"]
    assert (found["name"], found["how"]) == (name, "changed")
    priced.replace("infra/metrics.toml", "threshold = 5", "threshold = 6")
    assert f"stack {name}-monitoring: outdated; next: invoke bootstrap --branch main" in priced.invoke(
        "monitor", code=2
    )


def test_panels_ask_for_what_the_service_measures(priced: Tiny) -> None:
    """Each of the service's own metrics is on a panel, and no panel asks for one that it doesn't write."""
    asked = {
        (query.namespace, query.metric) for panel in seen(priced).panels for query in panel.queries if query.metric
    }
    assert NAMESPACE == WRITTEN
    assert {metric for namespace, metric in asked if namespace == NAMESPACE} | {"Latency"} == {
        *METRICS,
        *telemetry.METRICS,
    }


def test_service_without_a_metrics_file_has_no_domain(tiny: Tiny) -> None:
    """Rows and alarms are the target's and the delivery's, and ask for nothing of a model or a price."""
    found = seen(tiny)
    assert list(found.rows) == ["Requests", "Capacity and cost", "Delivery", "Log"]
    assert [alarm.id for alarm in found.alarms] == ["errors", "slow", "throttled", "quiet"]
    own = {query.metric for panel in found.panels for query in panel.queries if query.namespace == NAMESPACE}
    assert own == {"Failures", "ColdStarts", "Release"}
    text = stack.wanted(tiny.config, tiny.config.environment("main")).body
    assert not re.search("backup|predict|drift|recommended", text, re.IGNORECASE)


def test_panels_refer_to_their_own_queries(priced: Tiny) -> None:
    """Ids are unique; an expression names only queries of its panel; a log panel's query exists."""
    found = seen(priced)
    assert list(found.rows) == ["Requests", "Capacity and cost", "Model", "Delivery", "Log"]
    assert len({panel.id for panel in found.panels}) == len(found.panels) == 21
    for panel in found.panels:
        ids = [query.id for query in panel.queries]
        assert len(set(ids)) == len(ids), panel.id
        for query in panel.queries:
            if "SEARCH" not in query.expression:
                assert set(re.findall(r"\b[a-z]\w*\b", query.expression)) <= set(ids), panel.id
        assert bool(panel.queries) != bool(panel.log)
        assert not panel.log or panel.log in found.logs


def test_alarms_have_a_runbook_of_commands_that_exist(priced: Tiny) -> None:
    """Each alarm says what it means and what to type; the log queries that it names exist."""
    found = seen(priced)
    assert [alarm.id for alarm in found.alarms] == ["errors", "slow", "throttled", "quiet", "backup", "drift"]
    for alarm in found.alarms:
        assert alarm.means.endswith("."), alarm.id
        assert re.search(r"invoke (logs|call|status|report)\b", alarm.then), alarm.id
        assert "--branch main" in alarm.then
        for name in re.findall(r"--query (\w+)", alarm.then):
            assert name in found.logs


def test_log_queries_of_the_service_win(tiny: Tiny) -> None:
    """The package's, the target's and the service's own; of the same name the nearest to the service."""
    known = seen(tiny).logs
    assert set(known) == {"errors", "latency", "releases", "slow"}
    assert "Task timed out" in known["errors"]  # the target's
    tiny.write("infra/queries/errors.txt", "# Mine.\nlimit 1\n")
    assert seen(tiny).logs["errors"] == "# Mine.\nlimit 1\n"


def test_grafanas_own_types_take_the_dashboard(priced: Tiny) -> None:
    """Read by Grafana's SDK and written again, nothing of the dashboard is lost; uid and title are within its limits."""
    board = grafana.board(at(priced), seen(priced))
    again = json.loads(grafana.JSONEncoder(sort_keys=True).encode(model.Dashboard.from_json(board)))
    assert again == board
    assert len(board["uid"]) <= 40
    assert {panel.title for panel in seen(priced).panels} <= {panel["title"] for panel in board["panels"]}


def test_both_dashboards_show_the_same_panels(priced: Tiny) -> None:
    """CloudWatch's dashboard and Grafana's have the same plots, with the same number of queries each."""
    shown = dashboard(at(priced), seen(priced))["widgets"]
    cloudwatch = {
        w["properties"]["title"]: len(w["properties"].get("metrics", [1])) for w in shown if w["type"] != "text"
    }
    cloudwatch.pop("Alarms")
    board = grafana.board(at(priced), seen(priced))["panels"]
    assert cloudwatch == {panel["title"]: len(panel["targets"]) for panel in board if panel["type"] != "row"}


def test_provisioning_escapes_what_grafana_would_expand(priced: Tiny) -> None:
    """In the files a dollar of an expression is doubled; only the webhook and the account are variables."""
    rendered = files.rendered(priced.config)
    rules = rendered["build/monitoring/grafana/alerting/production.yaml"]
    assert "100 * ($$thrown + $$answered) / $$requests" in rules
    assert not re.search(r"(?<!\$)\$(?!\$)", rules)
    assert yaml.safe_load(rules)["groups"][0]["interval"] == "60s"
    found = set(
        re.findall(r"\$\w+", "".join(t for p, t in rendered.items() if "alerting/c" in p or "datasources" in p))
    )
    assert found == {"$SLACK_WEBHOOK_URL", "$AWS_ACCOUNT_ID"}
    uids = [rule["uid"] for rule in yaml.safe_load(rules)["groups"][0]["rules"]]
    assert len(uids) == len(set(uids)) == len(seen(priced).alarms)


def test_grafanas_rules_look_at_as_much_as_the_alarms(priced: Tiny) -> None:
    """An alarm's window, threshold and expressions are those of its rule; an expression of an expression is one, too."""
    priced.write(
        "infra/metrics.toml",
        '[queries]\na = { metric = "A" }\nb = { expression = "2 * a" }\nc = { expression = "FILL(b, 0) + a" }\n'
        "[alarms.x]\ntitle = 'T'\nmeans = 'M.'\nthen = 'invoke status'\nquery = 'c'\n"
        "threshold = 2.5\nperiod = 300\nperiods = 4\nneeded = 3\n",
    )
    rule = grafana.rules(at(priced), seen(priced), "")["rules"][-1]
    by_name = {query["refId"]: query for query in rule["data"]}
    assert list(by_name) == ["a_all", "a", "b", "c", "fires"]
    assert by_name["a_all"]["relativeTimeRange"]["from"] == 1200
    assert (by_name["b"]["model"]["expression"], by_name["c"]["model"]["expression"]) == ("2 * $a", "$b + $a")
    assert by_name["fires"]["model"]["conditions"][0]["evaluator"] == {"params": [2.5], "type": "gt"}


@pytest.mark.parametrize("principal", ["user", "arn:aws:iam::111122223333:root"])
def test_role_without_external_id_is_refused(tiny: Tiny, principal: str) -> None:
    """Grafana's role is never taken without an external id, but by the service that has none."""
    toml = tiny.root / "pipeline.toml"
    toml.write_text(toml.read_text() + f'\n[monitoring]\ngrafana_principal = "{principal}"\n')
    with pytest.raises(ConfigError, match="grafana_external_id: empty"):
        stack.wanted(tiny.config, tiny.config.environment("main"))


def test_managed_grafana_takes_no_role(tiny: Tiny) -> None:
    """Amazon Managed Grafana has the role as its workspace's own; the data source of any other Grafana takes it."""
    taken = {"assumeRoleArn", "externalId"}
    assert taken <= set(grafana.data_source(at(tiny))["jsonData"])
    toml = tiny.root / "pipeline.toml"
    toml.write_text(toml.read_text() + '\n[monitoring]\ngrafana_principal = "grafana.amazonaws.com"\n')
    assert not taken & set(grafana.data_source(at(tiny))["jsonData"])


def test_thresholds_reach_the_alarms(tiny: Tiny) -> None:
    """Every number of ``[monitoring]`` is an alarm's; memory and architecture are in the price of a request."""
    toml = tiny.root / "pipeline.toml"
    toml.write_text(toml.read_text() + "\n[monitoring]\nmax_errors = 7\nmax_p95 = 250\nquiet = 5\n")

    def properties(name: str) -> dict[str, Any]:
        body = json.loads(stack.wanted(tiny.config, tiny.config.environment("main")).body)
        found: dict[str, Any] = body["Resources"][name]["Properties"]
        return found

    assert (properties("ErrorsAlarm")["Threshold"], properties("SlowAlarm")["Threshold"]) == (7, 250)
    assert properties("QuietAlarm")["EvaluationPeriods"] == properties("QuietAlarm")["DatapointsToAlarm"] == 5
    body = properties("Dashboard")["DashboardBody"]["Fn::Sub"]
    assert "256 / 1024 * 0.0000166667 / calls" in body
    tiny.replace("pipeline.toml", 'region = "eu-west-1"', 'region = "eu-west-1"\narchitecture = "arm64"')
    assert "0.0000133334 / calls" in properties("Dashboard")["DashboardBody"]["Fn::Sub"]


def test_runbook_reaches_the_environment_that_it_is_of(priced: Tiny) -> None:
    """What an alarm says to type names the branch, and the real cloud where the environment has an account there."""
    for account, where in (("", "--branch main"), ("123456789012", "--branch main --cloud aws")):
        environment = replace(priced.config.environment("main"), account=account)
        found = definition.observed(Place(priced.config, environment, "123456789012"))
        for alarm in found.alarms:
            assert where in alarm.then, alarm.id
            assert ("--cloud aws" in alarm.then) == bool(account)
