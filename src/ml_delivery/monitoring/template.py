"""``infra/monitoring.yaml``, made of the definition: alarms, CloudWatch's dashboard, and the role that Grafana takes.

The same for every service and environment: what differs are the stack's parameters.
"""

from __future__ import annotations

import json
from typing import Any

from ml_delivery.monitoring.alarms import Alarm, alarms
from ml_delivery.monitoring.definition import Panel, panels
from ml_delivery.monitoring.queries import Place, Query

__all__ = ["ANYWHERE", "RIGHTS", "dashboard", "metric_query", "template"]

ANYWHERE = Place(
    "${Name}", "${Environment}", "${Branch}", "${AWS::Region}", "${AWS::AccountId}", "${Memory}", "${Price}"
)
TOPIC = "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:${Name}-${Environment}"
LOG_GROUP = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/aws/lambda/${Name}-${Environment}:*"
WIDTH, HEIGHT, COLUMNS = 8, 6, 24
PLOT_SECONDS = 300
UNITS = {"ms": "Milliseconds", "s": "Seconds", "percent": "%", "dollars": "US$", "share": "× usual price"}
# What Grafana calls, and on what. AWS knows no narrower resource for those on "*":
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html and …logs.html
RIGHTS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("ReadMetrics", ("cloudwatch:GetMetricData",), "*"),
    ("TestDataSource", ("cloudwatch:ListMetrics", "logs:DescribeLogGroups"), "*"),
    ("QueryLog", ("logs:StartQuery",), LOG_GROUP),
    ("ReadAnswers", ("logs:GetQueryResults", "logs:StopQuery"), "*"),
)


def template(queries: dict[str, str]) -> dict[str, Any]:
    """The CloudFormation template; ``queries`` are those of ``infra/queries``, by name."""
    resources = {f"{alarm.id.title()}Alarm": _alarm(alarm) for alarm in alarms(ANYWHERE)}
    shown = dashboard(ANYWHERE, queries)
    # A line for each widget: a change is seen for what it is, and the template stays under CloudFormation's 51,200 bytes.
    widgets = ",\n".join(json.dumps(widget, ensure_ascii=False) for widget in shown.pop("widgets"))
    body = json.dumps(shown)[:-1] + f', "widgets": [\n{widgets}\n]}}'
    resources["Dashboard"] = {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {"DashboardName": _sub(ANYWHERE.function), "DashboardBody": _sub(body)},
    }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "How one environment of a service is seen from the outside. Made by `invoke monitor --render`.",
        "Parameters": _parameters(),
        "Conditions": {
            "HasGrafana": {"Fn::Not": [{"Fn::Equals": [{"Ref": "GrafanaPrincipal"}, ""]}]},
            "HasUser": {"Fn::Equals": [{"Ref": "GrafanaPrincipal"}, "user"]},
            "IsService": {"Fn::Equals": [{"Ref": "GrafanaPrincipal"}, "grafana.amazonaws.com"]},
        },
        "Resources": {**resources, **_grafana()},
        "Outputs": {
            "GrafanaRole": {
                "Condition": "HasGrafana",
                "Description": "What Grafana's data source assumes.",
                "Value": {"Fn::GetAtt": ["GrafanaRole", "Arn"]},
            }
        },
    }


def dashboard(at: Place, queries: dict[str, str]) -> dict[str, Any]:
    """CloudWatch's dashboard body.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
    """
    arns = [f"arn:aws:cloudwatch:{at.region}:{at.account}:alarm:{at.function}-{alarm.id}" for alarm in alarms(at)]
    widgets: list[dict[str, Any]] = [_widget("alarm", 0, 0, COLUMNS, 3, {"title": "Alarms", "alarms": arns})]
    y = 3
    for row, listed in panels(at).items():
        widgets.append(_widget("text", 0, y, COLUMNS, 1, {"markdown": f"## {row}"}))
        y, x = y + 1, 0
        for panel in listed:
            width = COLUMNS // 2 if panel.log else WIDTH
            if x + width > COLUMNS:
                y, x = y + HEIGHT, 0
            kind = "log" if panel.log else "metric"
            content = _log(panel, at, queries) if panel.log else _plot(panel, at)
            widgets.append(_widget(kind, x, y, width, HEIGHT, content))
            x += width
        y += HEIGHT
    return {"periodOverride": "inherit", "widgets": widgets}


def metric_query(query: Query, period: Any) -> dict[str, Any]:
    """A query as GetMetricData and alarms take it; ``period`` in seconds."""
    base: dict[str, Any] = {"Id": query.id, **({"Label": query.label} if query.label else {})}
    if query.expression:
        return {**base, "Expression": query.expression.replace("{period}", str(period)), "ReturnData": query.shown}
    metric = {
        "Namespace": query.namespace,
        "MetricName": query.metric,
        "Dimensions": [{"Name": name, "Value": value} for name, value in query.dimensions],
    }
    stat = {"Metric": metric, "Period": period, "Stat": query.statistic}
    return {**base, "MetricStat": stat, "ReturnData": query.shown}


def _plot(panel: Panel, at: Place) -> dict[str, Any]:
    metrics: list[list[Any]] = []
    for query in panel.queries:
        options: dict[str, Any] = {"id": query.id, "visible": query.shown}
        if query.label and "SEARCH" not in query.expression:
            options["label"] = query.label
        if query.expression:
            metrics.append([{"expression": query.expression.replace("{period}", str(PLOT_SECONDS)), **options}])
        else:
            dimensions = [part for pair in query.dimensions for part in pair]
            metrics.append([query.namespace, query.metric, *dimensions, {"stat": query.statistic, **options}])
    axis = {"min": 0, "showUnits": False, **({"label": UNITS[panel.unit]} if panel.unit in UNITS else {})}
    return {
        "title": panel.title,
        "region": at.region,
        "view": "timeSeries",
        "period": PLOT_SECONDS,
        "metrics": metrics,
        "yAxis": {"left": axis},
    }


def _log(panel: Panel, at: Place, queries: dict[str, str]) -> dict[str, Any]:
    lines = [line for line in queries[panel.log].splitlines() if not line.startswith("#")]
    query = f"SOURCE '{at.log_group}' | " + "\n".join(lines)
    return {"title": panel.title, "region": at.region, "view": "table", "query": query}


def _widget(kind: str, x: int, y: int, width: int, height: int, properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "x": x, "y": y, "width": width, "height": height, "properties": properties}


def _alarm(alarm: Alarm) -> dict[str, Any]:
    direction = "LessThanThreshold" if alarm.below else "GreaterThanThreshold"
    period = {"Ref": alarm.period}
    periods: Any = alarm.periods or {"Ref": "QuietPeriods"}
    threshold: Any = alarm.threshold if isinstance(alarm.threshold, int) else {"Ref": _parameter(alarm.threshold)}
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": _sub(f"{ANYWHERE.function}-{alarm.id}"),
            "AlarmDescription": _sub(f"{alarm.title}. {alarm.runbook}"),
            "Metrics": [_subbed(metric_query(query, period)) for query in alarm.queries],
            "ComparisonOperator": direction,
            "Threshold": threshold,
            "EvaluationPeriods": periods,
            "DatapointsToAlarm": alarm.needed or periods,
            "TreatMissingData": alarm.missing,
            "AlarmActions": [_sub(TOPIC)],
            "OKActions": [_sub(TOPIC)],
        },
    }


def _parameter(key: str) -> str:
    """``max_errors`` is the parameter MaxErrors."""
    return "".join(word.title() for word in key.split("_"))


def _parameters() -> dict[str, Any]:
    def number(what: str, default: float) -> dict[str, Any]:
        return {"Type": "Number", "Description": what, "Default": default}

    def text(what: str, **more: Any) -> dict[str, Any]:
        return {"Type": "String", "Description": what, **more}

    return {
        "Name": text("The service's name.", AllowedPattern="^[a-z][a-z0-9-]{2,31}$"),
        "Environment": text("The environment's name.", AllowedPattern="^[a-z][a-z0-9]{1,15}$"),
        "Branch": text("The branch that is delivered to the environment."),
        "Memory": number("Megabytes of the function, for its cost.", 1024),
        "Price": text("US dollars of a gigabyte for a second, of its architecture.", Default="0.0000166667"),
        "MaxErrors": number("Percent of requests.", 1),
        "MaxP95": number("Milliseconds.", 1000),
        "MaxBackup": number("Percent of predictions.", 5),
        "MaxDrift": number("Population stability index.", 0.25),
        "QuietPeriods": number("Periods without a request.", 60),
        "Period": number("Seconds that one look of an alarm covers; Lambda measures by the minute.", 60),
        "DriftPeriod": number("The same, for drift, which needs many predictions.", 3600),
        "GrafanaPrincipal": text(
            "Who may take the role: an ARN, grafana.amazonaws.com, user; empty: nobody.", Default=""
        ),
        "GrafanaExternalId": text("What Grafana must name to take the role.", Default=""),
    }


def _grafana() -> dict[str, Any]:
    """The role, and, only if that is chosen, a user that can do nothing but take it.

    Others name the external id; Amazon Managed Grafana, a service, is held to this account's workspaces instead:
    https://docs.aws.amazon.com/grafana/latest/userguide/cross-service-confused-deputy-prevention.html
    """
    name = f"{ANYWHERE.function}-grafana"
    arn = "arn:${AWS::Partition}:iam::${AWS::AccountId}"
    workspaces = _sub("arn:${AWS::Partition}:grafana:${AWS::Region}:${AWS::AccountId}:/workspaces/*")
    by_service = {
        "Principal": {"Service": "grafana.amazonaws.com"},
        "Condition": {
            "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
            "StringLike": {"aws:SourceArn": workspaces},
        },
    }
    principal = {"Fn::If": ["HasUser", {"Fn::GetAtt": ["GrafanaUser", "Arn"]}, {"Ref": "GrafanaPrincipal"}]}
    by_others = {
        "Principal": {"AWS": principal},
        "Condition": {"StringEquals": {"sts:ExternalId": {"Ref": "GrafanaExternalId"}}},
    }

    def trust(parts: dict[str, Any]) -> dict[str, Any]:
        return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", **parts}]}

    statements = [
        {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": _subbed(resource)}
        for sid, actions, resource in RIGHTS
    ]
    take = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": _sub(arn + f":role/{name}")}
    return {
        "GrafanaUser": {
            "Type": "AWS::IAM::User",
            "Condition": "HasUser",
            "Properties": {
                "UserName": _sub(name),
                "Policies": [
                    {"PolicyName": "take", "PolicyDocument": {"Version": "2012-10-17", "Statement": [take]}},
                ],
            },
        },
        "GrafanaRole": {
            "Type": "AWS::IAM::Role",
            "Condition": "HasGrafana",
            "Properties": {
                "RoleName": _sub(name),
                "AssumeRolePolicyDocument": {"Fn::If": ["IsService", trust(by_service), trust(by_others)]},
                "Policies": [
                    {"PolicyName": "read", "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}}
                ],
            },
        },
    }


def _sub(text: str) -> Any:
    return {"Fn::Sub": text} if "${" in text else text


def _subbed(value: Any) -> Any:
    """``value`` with each text in it that holds a name of CloudFormation's substituted."""
    if isinstance(value, dict):
        return value if "Ref" in value else {key: _subbed(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_subbed(inner) for inner in value]
    return _sub(value) if isinstance(value, str) else value
