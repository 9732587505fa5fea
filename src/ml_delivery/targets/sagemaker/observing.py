"""The panels of an endpoint, by variant, and its alarm: https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html

SageMaker has no metric of a whole endpoint, and CloudWatch allows no search in an alarm, but a query of Metrics Insights:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create_Metrics_Insights_Alarm.html
"""

from __future__ import annotations

from ml_delivery.observed import Alarm, ByVersion, Observed, Panel, Place, Query
from ml_delivery.targets.sagemaker import settings
from ml_delivery.targets.sagemaker.names import Names
from ml_delivery.targets.sagemaker.variant_metrics import NAMESPACE

__all__ = ["observe"]


def observe(at: Place) -> Observed:
    """Panels that compare variants, the alarm for an endpoint that is not called, and the log group of the containers."""
    panels = (
        Panel(
            "requests",
            "Requests by version",
            "count",
            "Requests by the variant that answered, those of deploys among them.",
            (_by_variant(at, "requests", "Invocations", "Sum"),),
        ),
        Panel(
            "errors",
            "Errors by version",
            "count",
            "Requests by variant without an answer, or with one whose status is not 2xx.",
            (_by_variant(at, "errors", "InvocationModelErrors", "Sum"),),
        ),
        Panel(
            "latency-by-version",
            "p95 by version",
            "ms",
            "The 95th percentile of the containers' latency by variant; a canary deploy watches it.",
            (_by_variant(at, "p95", "ModelLatency", "p95", " / 1000"),),
        ),
        Panel(
            "failures-by-version",
            "Status 5xx by version",
            "count",
            "Answers with status 500 and above by variant; a canary deploy watches them.",
            (_by_variant(at, "failures", "Invocation5XXErrors", "Sum"),),
        ),
    )
    return Observed(
        rows={"Requests": panels},
        alarms=_alarms(at),
        log_group=Names(at.name).log_group,
        by_version=ByVersion(*panels),
    )


def _alarms(at: Place) -> tuple[Alarm, ...]:
    """An endpoint costs whether it is called or not, so one that is not called is reported."""
    hours = settings.of(at.environment).idle_hours
    series = f"FROM SCHEMA(\"{NAMESPACE}\", EndpointName, VariantName) WHERE EndpointName = '{at.name}'"
    calls = Query("calls", "requests", select=f"SELECT SUM(Invocations) {series}")
    idle = Alarm(
        "idle",
        "The endpoint is not called",
        f"No request arrived within {hours} h, and the endpoint's instances are paid for whether they are called or not. "
        "Before the first deploy, and once it was retired, this is to be expected.",
        f"invoke retire {at.where}, if it is not needed; invoke deploy {at.where} brings it back",
        (calls,),
        threshold=1,
        below=True,
        period=3600,
        periods=hours,
        needed=hours,
        missing="breaching",
    )
    return (idle,) if hours else ()


def _by_variant(at: Place, id: str, metric: str, statistic: str, then: str = "") -> Query:
    terms = f'{{{NAMESPACE},EndpointName,VariantName}} EndpointName="{at.name}" MetricName="{metric}"'
    expression = f"SEARCH('{terms}', '{statistic}', {{period}}){then}"
    return Query(id, "${PROP('Dim.VariantName')}", expression=expression)
