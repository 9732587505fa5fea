"""The monitoring stack's template, made from the definition: alarms, CloudWatch's dashboard, and Grafana's role.

It is made for each environment, with its real names; only the account is filled in by CloudFormation.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ml_delivery.observed import Alarm, Observed, Panel, Place, Query

if TYPE_CHECKING:
    from ml_delivery.cloudformation import Tree

__all__ = ["dashboard", "metric_query", "rights", "template"]

WIDTH, HEIGHT, COLUMNS = 8, 6, 24
PLOT_SECONDS = 300
UNITS = {"ms": "Milliseconds", "s": "Seconds", "percent": "%", "dollars": "US$", "ratio": "×"}


def template(at: Place, seen: Observed) -> Tree:
    """The template; ``at.account`` must be ``${AWS::AccountId}``."""
    resources = {f"{''.join(map(str.title, alarm.id.split('-')))}Alarm": _alarm(alarm, at) for alarm in seen.alarms}
    body = json.dumps(dashboard(at, seen), ensure_ascii=False, separators=(",", ":"))
    resources["Dashboard"] = {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {"DashboardName": at.name, "DashboardBody": _sub(body)},
    }
    principal = at.config.monitoring.grafana_principal
    outputs = {"GrafanaRole": {"Description": "The role for Grafana's data source.", "Value": _arn("GrafanaRole")}}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Alarms and dashboard of {at.name}.",
        "Resources": {**resources, **(_grafana(at, seen) if principal else {})},
        **({"Outputs": outputs} if principal else {}),
    }


def rights(at: Place, seen: Observed) -> tuple[tuple[str, tuple[str, ...], str], ...]:
    """The permissions of Grafana's role: name, actions and resource. AWS has no narrower resource for those on "*":

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html and …logs.html
    """
    log = f"arn:${{AWS::Partition}}:logs:{at.region}:{at.account}:log-group:{seen.log_group}:*"
    ours = (("QueryLog", ("logs:StartQuery",), log), ("ReadAnswers", ("logs:GetQueryResults", "logs:StopQuery"), "*"))
    return (
        ("ReadMetrics", ("cloudwatch:GetMetricData",), "*"),
        ("TestDataSource", ("cloudwatch:ListMetrics", "logs:DescribeLogGroups"), "*"),
        *(ours if seen.log_group else ()),
    )


def dashboard(at: Place, seen: Observed) -> Tree:
    """The body of CloudWatch's dashboard.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
    """
    arns = [f"arn:aws:cloudwatch:{at.region}:{at.account}:alarm:{at.name}-{alarm.id}" for alarm in seen.alarms]
    widgets: list[Tree] = [_widget("alarm", 0, 0, COLUMNS, 3, {"title": "Alarms", "alarms": arns})] if arns else []
    y = 3
    for row, listed in seen.rows.items():
        widgets.append(_widget("text", 0, y, COLUMNS, 1, {"markdown": f"## {row}"}))
        y, x = y + 1, 0
        for panel in listed:
            width = COLUMNS // 2 if panel.log else WIDTH
            if x + width > COLUMNS:
                y, x = y + HEIGHT, 0
            kind = "log" if panel.log else "metric"
            content = _log(panel, at, seen) if panel.log else _plot(panel, at)
            widgets.append(_widget(kind, x, y, width, HEIGHT, content))
            x += width
        y += HEIGHT
    return {"periodOverride": "inherit", "widgets": widgets}


def metric_query(query: Query, period: Any) -> dict[str, Any]:
    """A query in the form of GetMetricData and of alarms; ``period`` is in seconds."""
    base: dict[str, Any] = {"Id": query.id, **({"Label": query.label} if query.label else {})}
    if query.expression:
        return {**base, "Expression": query.expression.replace("{period}", str(period)), "ReturnData": query.shown}
    if query.select:
        return {**base, "Expression": query.select, "Period": period, "ReturnData": query.shown}
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


def _log(panel: Panel, at: Place, seen: Observed) -> Tree:
    lines = [line for line in seen.logs[panel.log].splitlines() if not line.startswith("#")]
    query = f"SOURCE '{seen.log_group}' | " + "\n".join(lines)
    return {"title": panel.title, "region": at.region, "view": "table", "query": query}


def _widget(kind: str, x: int, y: int, width: int, height: int, properties: Tree) -> Tree:
    return {"type": kind, "x": x, "y": y, "width": width, "height": height, "properties": properties}


def _alarm(alarm: Alarm, at: Place) -> Tree:
    topic = _sub(f"arn:${{AWS::Partition}}:sns:{at.region}:{at.account}:{at.name}")
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": f"{at.name}-{alarm.id}",
            "AlarmDescription": f"{alarm.title}. {alarm.runbook}",
            "Metrics": [metric_query(query, alarm.period) for query in alarm.queries],
            "ComparisonOperator": "LessThanThreshold" if alarm.below else "GreaterThanThreshold",
            "Threshold": alarm.threshold,
            "EvaluationPeriods": alarm.periods,
            "DatapointsToAlarm": alarm.needed,
            "TreatMissingData": alarm.missing,
            "AlarmActions": [topic],
            "OKActions": [topic],
        },
    }


def _grafana(at: Place, seen: Observed) -> Tree:
    """Grafana's role, and, if ``grafana_principal`` is ``user``, a user that can only assume it.

    A principal needs the external id; Amazon Managed Grafana, a service, is restricted to this account's workspaces:
    https://docs.aws.amazon.com/grafana/latest/userguide/cross-service-confused-deputy-prevention.html
    """
    known, name = at.config.monitoring, f"{at.name}-grafana"
    trust: Tree
    if known.grafana_principal == "grafana.amazonaws.com":
        workspaces = _sub(f"arn:${{AWS::Partition}}:grafana:{at.region}:{at.account}:/workspaces/*")
        trust = {
            "Principal": {"Service": known.grafana_principal},
            "Condition": {
                "StringEquals": {"aws:SourceAccount": _sub(at.account)},
                "StringLike": {"aws:SourceArn": workspaces},
            },
        }
    else:
        principal = _arn("GrafanaUser") if known.grafana_principal == "user" else known.grafana_principal
        trust = {
            "Principal": {"AWS": principal},
            "Condition": {"StringEquals": {"sts:ExternalId": known.grafana_external_id}},
        }
    take = {"Resource": _sub(f"arn:${{AWS::Partition}}:iam::{at.account}:role/{name}")}
    statements = [
        {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": _sub(resource)}
        for sid, actions, resource in rights(at, seen)
    ]
    user = {
        "Type": "AWS::IAM::User",
        "Properties": {
            "UserName": name,
            "Policies": [{"PolicyName": "take", "PolicyDocument": _document(_assume(take))}],
        },
    }
    role = {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": name,
            "AssumeRolePolicyDocument": _document(_assume(trust)),
            "Policies": [{"PolicyName": "read", "PolicyDocument": _document(*statements)}],
        },
    }
    return {**({"GrafanaUser": user} if known.grafana_principal == "user" else {}), "GrafanaRole": role}


def _assume(parts: Tree) -> Tree:
    return {"Effect": "Allow", "Action": "sts:AssumeRole", **parts}


def _document(*statements: Tree) -> Tree:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _arn(resource: str) -> Tree:
    return {"Fn::GetAtt": [resource, "Arn"]}


def _sub(text: str) -> Any:
    """``text`` with only CloudFormation's own ``${AWS::…}`` filled in: CloudWatch's ``${…}`` stay."""
    if "${AWS::" not in text:
        return text
    return {"Fn::Sub": re.sub(r"\$\{(?!AWS::)", "${!", text)}
