"""After a service's first hour every panel has something to show, to Grafana's role and to no role with less."""

from __future__ import annotations

import dataclasses
import json
import re
import time
import xml.etree.ElementTree
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import browsed
import pytest
from botocore.exceptions import ClientError
from botocore.session import Session
from emulated import get_by_url
from watched import Watched

from ml_delivery import emulator
from ml_delivery.artifact import codebuild
from ml_delivery.cloud import Cloud
from ml_delivery.errors import BuildError, CloudError
from ml_delivery.monitoring import data
from ml_delivery.monitoring.definition import observed
from ml_delivery.monitoring.template import rights
from ml_delivery.observed import Observed, Panel, Place
from ml_delivery.release.delivery import Delivery
from ml_delivery.tasks import console

BUILDSPEC = "version: 0.2\nphases:\n  build:\n    commands:\n      - {command}\n"
GRAFANA = '\n[monitoring]\ngrafana_principal = "user"\ngrafana_external_id = "an-external-id"\n'
ROLE = "arn:aws:iam::123456789012:role/seen-production-grafana"


# Drags from a quarter to three quarters of the first plot: what the axes of all say before, then, and after a double-click.
ZOOMED = """\
const plots = [...f.contentDocument.querySelectorAll("svg[data-begin]")];
const labels = () => plots.map(plot => [...plot.querySelectorAll(".level")].map(text => text.textContent));
const place = plots[0].getBoundingClientRect();
const send = (type, share) => plots[0].dispatchEvent(new f.contentWindow.PointerEvent(
  type, { clientX: place.left + (46 + share * 364) / 420 * place.width, pointerId: 1 }));
const found = [labels()];
for (const [type, share] of [["pointerdown", 0.75], ["pointermove", 0.5], ["pointerup", 0.25]]) send(type, share);
found.push(labels());
send("dblclick", 0.5);
found.push(labels());
return found"""


@dataclass(frozen=True)
class Seen:
    """A service that has been used: two releases, traffic, a build that succeeded and one that failed."""

    service: Watched
    delivery: Delivery
    observed: Observed

    def rows(self, cloud: Cloud, panel: Panel) -> dict[str, int]:
        """How many points, or rows of a log, each line of a panel has."""
        if panel.log:
            query = self.observed.logs[panel.log]
            return {panel.log: len(data.ask_log(cloud, self.observed.log_group, query, 60))}
        now = time.time()
        return {s.label: len(s.points) for s in data.read(cloud, panel, now - 3600, now + 60, 60)}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Seen:
    service = Watched(tmp_path_factory.mktemp("seen") / "service", shared, "seen")
    toml = service.root / "pipeline.toml"
    toml.write_text(toml.read_text() + GRAFANA)
    service.write("buildspec.yml", BUILDSPEC.format(command="echo built"))
    service.commit("Build")
    delivery = service.stand()
    use(delivery)
    service.deploy()
    use(delivery)
    environment = service.config.environment("main")
    codebuild.run(service.config, environment, delivery.cloud, console.quiet, lambda _: None)
    service.write("buildspec.yml", BUILDSPEC.format(command="exit 1"))
    service.commit("Break the build")
    with pytest.raises(BuildError):
        codebuild.run(service.config, environment, delivery.cloud, console.quiet, lambda _: None)
    time.sleep(1)
    return Seen(service, delivery, observed(Place(service.config, environment, delivery.cloud.account)))


def use(delivery: Delivery) -> None:
    for path in ("/healthz", "/v1/predict", "/v1/backup", "/fails", "/raises"):
        for _ in range(2):
            delivery.deployer.call(path)


def test_every_panel_has_data(seen: Seen) -> None:
    """Each line of each panel has rows; printed as a table. A panel that can't have data fails this."""
    found = {panel.id: seen.rows(seen.delivery.cloud, panel) for panel in seen.observed.panels}
    for name, rows in found.items():
        print(f"{name:<20} {rows}")
    for panel in seen.observed.panels:
        lines = [query for query in panel.queries if query.shown]
        assert len(found[panel.id]) >= max(1, len(lines)), f"{panel.id} shows {found[panel.id]}"
        assert all(found[panel.id].values()), panel.id
    assert set(found["requests"]) >= {"1", "2"}  # a line for each version


def test_panel_without_data_is_noticed(seen: Seen) -> None:
    """The test above can fail: a metric that is never written gives no row."""
    panel = next(panel for panel in seen.observed.panels if panel.id == "cold-starts")
    (query,) = panel.queries
    wrong = dataclasses.replace(panel, queries=(dataclasses.replace(query, metric="ColdStart"),))
    assert seen.rows(seen.delivery.cloud, wrong) == {}


@pytest.fixture(scope="module")
def grafana(seen: Seen) -> Cloud:
    """CloudWatch as Grafana sees it: as the user that was chosen explicitly, through the role."""
    key = seen.delivery.cloud.client("iam").create_access_key(UserName="seen-production-grafana")["AccessKey"]
    user = signed(seen, key["AccessKeyId"], key["SecretAccessKey"])
    sts = user.client("sts")
    with pytest.raises(ClientError, match="AccessDenied"):
        sts.assume_role(RoleArn=ROLE, RoleSessionName="grafana")
    with pytest.raises(ClientError, match="AccessDenied"):
        sts.assume_role(RoleArn=ROLE, RoleSessionName="grafana", ExternalId="another")
    with pytest.raises(CloudError, match="AccessDenied"):  # the user itself can do nothing
        data.ask_log(user, "/aws/lambda/seen-production", "limit 1", 1)
    taken = sts.assume_role(RoleArn=ROLE, RoleSessionName="grafana", ExternalId="an-external-id")["Credentials"]
    return signed(seen, taken["AccessKeyId"], taken["SecretAccessKey"], taken["SessionToken"])


def signed(seen: Seen, *credentials: str) -> Cloud:
    session = Session()
    session.set_config_variable("region", "eu-west-1")
    session.set_credentials(*credentials)
    return Cloud("embedded", "eu-west-1", "123456789012", session, seen.delivery.cloud._endpoint)


def everything(seen: Seen, cloud: Cloud) -> None:
    """All that Grafana calls: each panel's queries, a query that is stopped, and the data source's own health check.

    The last is ``CheckHealth`` of Grafana's CloudWatch data source.
    """
    for panel in seen.observed.panels:
        assert seen.rows(cloud, panel), panel.id
    logs, cloudwatch = cloud.client("logs"), cloud.client("cloudwatch")
    with cloud.faults():
        now = int(time.time())
        started = logs.start_query(
            logGroupName="/aws/lambda/seen-production", startTime=now - 60, endTime=now, queryString="limit 1"
        )
        logs.stop_query(queryId=started["queryId"])
        cloudwatch.list_metrics(Namespace="AWS/Billing", MetricName="EstimatedCharges")
        logs.describe_log_groups(limit=1)


def test_grafanas_role_reads_every_panel(seen: Seen, grafana: Cloud) -> None:
    """The role takes an external id, and then reads all panels and passes the health check."""
    everything(seen, grafana)


RIGHTS = (
    "cloudwatch:GetMetricData",
    "cloudwatch:ListMetrics",
    "logs:DescribeLogGroups",
    "logs:StartQuery",
    "logs:GetQueryResults",
    "logs:StopQuery",
)


def test_rights_are_those_that_are_tested(seen: Seen) -> None:
    """The list above is the role's own."""
    at = Place(seen.service.config, seen.delivery.environment, "123456789012")
    assert tuple(action for _, actions, _ in rights(at, seen.observed) for action in actions) == RIGHTS


@pytest.mark.parametrize("action", RIGHTS)
def test_each_right_is_used(seen: Seen, grafana: Cloud, action: str) -> None:
    """Without any one of its rights something of what Grafana calls is refused."""
    iam = seen.delivery.cloud.client("iam")
    policy = iam.get_role_policy(RoleName="seen-production-grafana", PolicyName="read")["PolicyDocument"]
    less = json.loads(json.dumps(policy))
    for statement in less["Statement"]:
        statement["Action"] = [other for other in statement["Action"] if other != action]
    less["Statement"] = [statement for statement in less["Statement"] if statement["Action"]]
    iam.put_role_policy(RoleName="seen-production-grafana", PolicyName="read", PolicyDocument=json.dumps(less))
    try:
        with pytest.raises((CloudError, ClientError), match="AccessDenied"):
            everything(seen, grafana)
    finally:
        iam.put_role_policy(RoleName="seen-production-grafana", PolicyName="read", PolicyDocument=json.dumps(policy))


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("logs", "start_query", {"logGroupName": "/aws/codebuild/seen-production", "queryString": "limit 1"}),
        ("logs", "filter_log_events", {"logGroupName": "/aws/lambda/seen-production"}),
        ("cloudwatch", "describe_alarms", {}),
        ("cloudwatch", "put_metric_data", {"Namespace": "MLService", "MetricData": [{"MetricName": "Latency"}]}),
        ("lambda", "list_functions", {}),
        ("s3", "list_buckets", {}),
    ],
)
def test_nothing_else_is_granted(grafana: Cloud, service: str, operation: str, parameters: dict[str, Any]) -> None:
    """Other logs, other services and anything that writes are refused."""
    times = {"startTime": 0, "endTime": 1} if operation == "start_query" else {}
    with pytest.raises(ClientError, match="AccessDenied"):
        getattr(grafana.client(service), operation)(**parameters, **times)


def test_report_draws_every_panel(seen: Seen) -> None:
    """One page, that needs nothing else, shows each panel with its data, the alarms, and the releases as marks."""
    assert "build/monitoring.html: 21 panels, each with data" in seen.service.invoke("report", "--days", "2")
    page = (seen.service.root / "build/monitoring.html").read_text()
    assert not re.search(r"https?://|<script |src=|@import", page)
    figures = dict(re.findall(r'<figure id="([a-z0-9-]+)">(.*?)</figure>', page, re.S))
    assert set(figures) == {panel.id for panel in seen.observed.panels}
    for panel in seen.observed.panels:
        assert "no data" not in figures[panel.id], panel.id
        assert "<td" in figures[panel.id] if panel.log else "<svg" in figures[panel.id]
        for drawing in re.findall(r"<svg.*?</svg>.*?</svg>", figures[panel.id], re.S):
            xml.etree.ElementTree.fromstring(drawing)
    assert "<title>release 1, verified</title>" in figures["requests"]
    assert "<title>release 2, verified</title>" in figures["requests"]
    assert "Requests fail" in page.partition("<h2>Requests</h2>")[0]
    assert seen.service.git("rev-parse", "HEAD~1")[:12] in page
    shown = json.loads(seen.service.invoke("report", "--json"))["panels"]
    assert set(shown) == set(figures)
    assert all(sum(lines.values()) for lines in shown.values())


def test_report_escapes_what_others_wrote(seen: Seen) -> None:
    """What a request put into the log is text on the page, not markup."""
    seen.delivery.deployer.call("/<script>alert(1)</script>")
    seen.service.invoke("report")
    page = (seen.service.root / "build/monitoring.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_report_is_readable_and_zooms(seen: Seen, tmp_path: Path) -> None:
    """In a browser the page fits, and dragging across one plot shows that time in all of them; a double-click undoes it."""
    seen.service.invoke("report")
    page = seen.service.root / "build/monitoring.html"
    browsed.check(page, tmp_path)
    (found,) = browsed.in_frames([page], tmp_path, 1280, ZOOMED)
    whole, zoomed, again = found
    assert whole == again
    assert len(zoomed) == len([panel for panel in seen.observed.panels if not panel.log])
    assert all(labels == zoomed[0] for labels in zoomed)
    times = [datetime.strptime(f"2000-{text}", "%Y-%m-%d %H:%M") for text in (*whole[0], *zoomed[0])]
    assert times[0] < times[3] < times[5] < times[2]
    assert times[2] - times[0] < timedelta(hours=1)  # of the day that was asked for, what there is


@pytest.mark.parametrize("days", ["0", "456"])
def test_report_of_impossible_days_is_refused(seen: Seen, days: str) -> None:
    """CloudWatch keeps nothing longer."""
    assert f"{days} is not between 1 and 455" in seen.service.invoke("report", f"--days={days}", code=1)


def test_report_of_negative_days_is_refused(seen: Seen) -> None:
    """As a negative number is for every option."""
    assert "--days: '-1' is not a number from 0 on" in seen.service.invoke("report", "--days=-1", code=1)


@pytest.mark.parametrize("name", ["backup", "errors", "latency", "releases", "slow"])
def test_every_log_query_finds_something(seen: Seen, name: str) -> None:
    """Each query that is shipped runs, and answers with the columns that it names."""
    assert set(seen.observed.logs) == {"backup", "errors", "latency", "releases", "slow"}
    query = seen.observed.logs[name]
    rows = data.ask_log(seen.delivery.cloud, "/aws/lambda/seen-production", query, 60)
    first = {"slow": "Latency", "errors": "@message", "backup": "predictions", "latency": "p95", "releases": "failed"}
    assert first[name] in rows[0]


def test_log_query_is_a_table_for_people(seen: Seen) -> None:
    """A query prints its rows under their names; an unknown one is refused with those that there are."""
    printed = seen.service.invoke("logs", "--query", "slow", "--minutes", "60").splitlines()
    assert printed[0].split() == ["@timestamp", "Latency", "path", "status", "Release", "model", "trace"]
    assert len(printed) == 21
    refusal = seen.service.invoke("logs", "--query", "fast", code=1)
    assert "there is no query 'fast'" in refusal
    assert "slow: The slowest requests" in refusal


def test_trace_reaches_the_log(seen: Seen) -> None:
    """The trace that the way in gives to a request is the one in the request's line."""
    aws, running = seen.delivery.cloud.client("lambda"), emulator.up(seen.service.root)
    made = aws.create_function_url_config(FunctionName="seen-production", Qualifier="live", AuthType="AWS_IAM")
    status, body = get_by_url(running, made["FunctionUrl"], "/traced")
    given = json.loads(body)["given"]
    rows = json.loads(seen.service.invoke("logs", "--query", "slow", "--minutes", "60", "--json"))
    assert status == 200
    assert [row["trace"] for row in rows if row["path"] == "/traced"] == [given.removeprefix("Root=").partition(";")[0]]
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}.*", given)


def test_watching_shows_who_answers_how_much(seen: Seen) -> None:
    """Each version has a line with its release, traffic, requests, failures and latency, below the alarms."""
    printed = seen.service.invoke("status", "--watch", "--looks", "2")
    assert printed.count("seen-production on embedded") == 2
    row = r"^  (\d+) +(\d+ +(?:\d+ %)? +\d+ +\d+ +\d+ +[\d.,]+ ms)   .*[▁▂▃▄▅▆▇█]$"
    lines = dict(re.findall(row, printed, re.M))
    assert set(lines) == {"1", "2"}
    release, requests, raised, answered, *_ = lines["1"].split()
    assert (release, raised, answered) == ("1", "2", "2")
    assert int(requests) >= 10
    assert lines["2"].split()[:3] == ["2", "100", "%"]
    assert re.search(r"alarms: (none in alarm|seen-production-)", printed)
    assert re.search(r"^     2  verified ", printed, re.M)
