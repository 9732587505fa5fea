"""Grafana's dashboard, alert rules, data source and contact point, built with Grafana's own SDK.

The files are provisioning files, which Grafana's standard container reads from ``/etc/grafana/provisioning``:
https://grafana.com/docs/grafana/latest/administration/provisioning/
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Literal, cast

from ml_delivery import __version__
from ml_delivery.errors import SetupError

try:
    from grafana_foundation_sdk.builders import alerting, cloudwatch, dashboard, expr, table, timeseries
    from grafana_foundation_sdk.cog import builder as cogbuilder
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import alerting as alerts
    from grafana_foundation_sdk.models import cloudwatch as cw
    from grafana_foundation_sdk.models import dashboard as model
except ModuleNotFoundError as error:
    raise SetupError(
        "Grafana's types are not installed",
        next=f"uv pip install 'PATH/ml_delivery-{__version__}-py3-none-any.whl[grafana]'",
    ) from error

if TYPE_CHECKING:
    from ml_delivery.cloudformation import Tree
    from ml_delivery.config import Config
    from ml_delivery.observed import Alarm, Observed, Panel, Place, Query

__all__ = ["CONTACT", "FOLDER", "board", "contact_point", "data_source", "files", "rules", "shared", "uid"]

FOLDER = "Services"
CONTACT = "slack"
HEIGHT, COLUMNS = 8, 24
UNITS = {"count": "short", "ms": "ms", "s": "s", "percent": "percent", "dollars": "currencyUSD", "ratio": "none"}
SECONDS = 60  # between two evaluations of the rules
EXPRESSION = model.DataSourceRef(type_val="__expr__", uid="__expr__")


def uid(at: Place) -> str:
    """The uid of the environment's data source and dashboard; Grafana allows 40 characters."""
    return at.name if len(at.name) <= 40 else hashlib.sha256(at.name.encode()).hexdigest()[:40]


def files(at: Place, seen: Observed) -> dict[str, Tree]:
    """One environment's provisioning files, by path."""
    group, name = rules(at, seen, CONTACT), at.environment.name
    provisioned = {"orgId": 1, "name": group["title"], "folder": FOLDER, "interval": f"{SECONDS}s"}
    document = {"apiVersion": 1, "groups": [{**provisioned, "rules": _literal(group["rules"])}]}
    source = {"apiVersion": 1, "datasources": [{**data_source(at), "editable": False}]}
    return {
        f"datasources/{name}.yaml": source,
        f"dashboards/{name}.json": board(at, seen),
        f"alerting/{name}.yaml": document,
    }


def shared(config: Config) -> dict[str, Tree]:
    """The provisioning files that do not belong to one environment, by path."""
    provider = {
        "name": config.service.name,
        "folder": FOLDER,
        "type": "file",
        "options": {"path": "/etc/grafana/provisioning/dashboards"},
    }
    receiver = contact_point("$SLACK_WEBHOOK_URL")  # Grafana reads it from its environment variables
    point = {"orgId": 1, "name": receiver.pop("name"), "receivers": [receiver]}
    return {
        "dashboards/provider.yaml": {"apiVersion": 1, "providers": [provider]},
        "alerting/contact-points.yaml": {"apiVersion": 1, "contactPoints": [point]},
    }


def data_source(at: Place) -> Tree:
    """CloudWatch as a data source, read with the role that the monitoring stack creates.

    The account comes from Grafana's environment variables if it is not in ``pipeline.toml``.
    """
    account = at.account or "$AWS_ACCOUNT_ID"
    known = at.config.monitoring
    # Amazon Managed Grafana already runs with this role, as its workspace's role, and does not assume it again.
    own = known.grafana_principal == "grafana.amazonaws.com"
    role = f"arn:aws:iam::{account}:role/{at.name}-grafana"
    taken = {} if own else {"assumeRoleArn": role, "externalId": known.grafana_external_id}
    return {
        "name": f"CloudWatch {at.name}",
        "type": "cloudwatch",
        "uid": uid(at),
        "access": "proxy",
        "jsonData": {
            "authType": "grafana_assume_role" if known.grafana_principal.startswith("arn:") else "default",
            **taken,
            "defaultRegion": at.region,
        },
    }


def board(at: Place, seen: Observed) -> Tree:
    """The dashboard of one environment; releases are annotations with the tags ``release`` and the environment's name."""
    built = (
        dashboard.Dashboard(at.name)
        .uid(uid(at))
        .tags([at.config.service.name, at.environment.name])
        .readonly()
        .time("now-6h", "now")
        .refresh("1m")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .annotation(_releases(at))
    )
    for row, listed in seen.rows.items():
        built.with_row(dashboard.Row(row))
        for panel in listed:
            made = _table(panel, at, seen) if panel.log else _plot(panel, at)
            built.with_panel(made.span(COLUMNS // (2 if panel.log else 3)).height(HEIGHT))
    return _plain(built.build())


def rules(at: Place, seen: Observed, receiver: str) -> Tree:
    """The alarms as a group of alert rules, as in Grafana's HTTP API and, except for the interval, its provisioning files.

    ``receiver`` is the contact point to notify; if empty, Grafana's notification policies decide.
    """
    return {
        "title": at.name,
        "interval": SECONDS,
        "rules": [_plain(_rule(alarm, at, receiver).build()) for alarm in seen.alarms],
    }


def contact_point(webhook: str) -> Tree:
    """The contact point for alerts: a Slack channel, by its incoming webhook."""
    point = alerting.ContactPoint().uid(CONTACT).name(CONTACT).type("slack").settings({"url": webhook})
    return _plain(point.disable_resolve_message(False).build())


def _releases(at: Place) -> dashboard.AnnotationQuery:
    target = dashboard.AnnotationTarget().limit(100).match_any(False).tags(["release", at.name]).type("tags")
    source = model.DataSourceRef(type_val="datasource", uid="grafana")
    return (
        dashboard.AnnotationQuery().name("Releases").datasource(source).enable(True).icon_color("blue").target(target)
    )


def _source(at: Place) -> model.DataSourceRef:
    return model.DataSourceRef(type_val="cloudwatch", uid=uid(at))


def _plot(panel: Panel, at: Place) -> timeseries.Panel:
    made = (
        timeseries.Panel().title(panel.title).description(panel.about).datasource(_source(at)).unit(UNITS[panel.unit])
    )
    made.min(0).fill_opacity(10).span_nulls(False)
    for query in panel.queries:
        made.with_target(_query(query, at))
    return made


def _table(panel: Panel, at: Place, seen: Observed) -> table.Panel:
    group = (
        cloudwatch.LogGroup()
        .name(seen.log_group)
        .arn(f"arn:aws:logs:{at.region}:{at.account}:log-group:{seen.log_group}:*")
    )
    query = cloudwatch.CloudWatchLogsQuery().query_mode(cw.CloudWatchQueryMode.LOGS).id("log").ref_id("log")
    query.region(at.region).expression(seen.logs[panel.log]).stats_groups([]).log_groups([group]).datasource(
        _source(at)
    )
    return table.Panel().title(panel.title).description(panel.about).datasource(_source(at)).with_target(query)


def _query(query: Query, at: Place) -> cloudwatch.CloudWatchMetricsQuery:
    made = cloudwatch.CloudWatchMetricsQuery().id(query.id).ref_id(query.id).region(at.region).datasource(_source(at))
    made.query_mode(cw.CloudWatchQueryMode.METRICS).metric_query_type(cw.MetricQueryType.SEARCH)
    made.hide(not query.shown).period("").statistic(query.statistic)
    if query.select:
        made.metric_query_type(cw.MetricQueryType.INSIGHTS).metric_editor_mode(cw.MetricEditorMode.CODE)
        return made.sql_expression(query.select).label(query.label)
    if query.expression:
        # Grafana inserts the period that fits the plot.
        made.metric_editor_mode(cw.MetricEditorMode.CODE).namespace("").match_exact(True)
        made.expression(query.expression.replace("{period}", "$__period_auto"))
        return made.label(query.label)
    made.metric_editor_mode(cw.MetricEditorMode.BUILDER).match_exact(True).label(query.label)
    return made.namespace(query.namespace).metric_name(query.metric).dimensions(dict(query.dimensions))


def _rule(alarm: Alarm, at: Place, receiver: str) -> alerting.Rule:
    """An alert rule: the metrics come from CloudWatch, each reduced to a number; Grafana evaluates the expression.

    Grafana can't alert on metric math that refers to other queries:
    https://grafana.com/docs/grafana/latest/datasources/aws-cloudwatch/query-editor/
    """
    window = alarm.period * alarm.periods
    rule = alerting.Rule(f"{at.name}: {alarm.title}").uid(_rule_uid(alarm, at)).condition("fires").org_id(1)
    rule.rule_group(at.name).folder_uid(FOLDER.lower()).for_val("0s").labels({"service": at.name})
    rule.annotations({"summary": alarm.means, "runbook": alarm.then})
    rule.no_data_state("Alerting" if alarm.missing == "breaching" else "OK").exec_err_state("Error")
    if receiver:
        rule.notification_settings(alerting.NotificationSettings().receiver(receiver))
    for query in alarm.queries:
        if query.expression:
            math = expr.TypeMath().ref_id(query.id).expression(_grafana_math(query.expression)).datasource(EXPRESSION)
            rule.with_query(_expression(query.id, math))
            continue
        rule.with_query(
            alerting.Query(f"{query.id}_all")
            .datasource_uid(uid(at))
            .relative_time_range(alerts.RelativeTimeRange(window, 0))
            .model(_query(query, at).ref_id(f"{query.id}_all").hide(False).period(str(window)))
        )
        reduced = (
            expr.TypeReduce().ref_id(query.id).expression(f"{query.id}_all").reducer("last").datasource(EXPRESSION)
        )
        rule.with_query(_expression(query.id, reduced))
    kind: Literal["lt", "gt"] = "lt" if alarm.below else "gt"
    evaluator = expr.ExprTypeThresholdConditionsEvaluator().params([alarm.threshold]).type(kind)
    condition = expr.ExprTypeThresholdConditions().evaluator(evaluator)
    threshold = expr.TypeThreshold().ref_id("fires").expression(alarm.queries[-1].id).conditions([condition])
    return rule.with_query(_expression("fires", threshold.datasource(EXPRESSION)))


def _expression(name: str, made: cogbuilder.Builder[Any]) -> alerting.Query:
    return alerting.Query(name).datasource_uid("__expr__").model(made)


def _grafana_math(expression: str) -> str:
    """CloudWatch's metric math as Grafana's: ``FILL(x, 0)`` and ``x`` become ``$x``, functions are in lower case."""
    filled = re.sub(r"FILL\((\w+), 0\)", r"\1", expression)
    return re.sub(r"\b[a-z]\w*\b", r"$\g<0>", filled).replace("LOG(", "log(").replace("ABS(", "abs(")


def _rule_uid(alarm: Alarm, at: Place) -> str:
    return hashlib.sha256(f"{at.name}-{alarm.id}".encode()).hexdigest()[:40]


def _literal(value: Any) -> Any:
    """``value`` with dollar signs doubled, since Grafana expands environment variables in provisioning files."""
    if isinstance(value, dict):
        return {key: _literal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_literal(inner) for inner in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def _plain(built: Any) -> Tree:
    """What the SDK built, as JSON values with sorted keys."""
    return cast("Tree", json.loads(JSONEncoder(sort_keys=True).encode(built)))
