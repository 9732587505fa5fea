"""The panels of an endpoint, by variant: https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html

It has no alarms of its own: SageMaker has no metric of a whole endpoint, and CloudWatch allows no search in an alarm.
"""

from __future__ import annotations

from ml_delivery.observed import ByVersion, Observed, Panel, Place, Query
from ml_delivery.targets.sagemaker.names import Names
from ml_delivery.targets.sagemaker.variant_metrics import NAMESPACE

__all__ = ["observe"]


def observe(at: Place) -> Observed:
    """Panels that compare variants, and the log group of the containers."""
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
        log_group=Names(at.name).log_group,
        by_version=ByVersion(*panels),
    )


def _by_variant(at: Place, id: str, metric: str, statistic: str, then: str = "") -> Query:
    terms = f'{{{NAMESPACE},EndpointName,VariantName}} EndpointName="{at.name}" MetricName="{metric}"'
    expression = f"SEARCH('{terms}', '{statistic}', {{period}}){then}"
    return Query(id, "${PROP('Dim.VariantName')}", expression=expression)
