"""The monitoring of pods: what the service itself reports, by version, and what Container Insights measures.

The service's metrics are in the lines that it logs, which an agent in the cluster sends to ``log_group``; without one there
are none. Container Insights is CloudWatch's own agent in the cluster:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-enhanced-EKS.html
"""

from __future__ import annotations

from ml_delivery import observed
from ml_delivery.observed import Alarm, ByVersion, Observed, Panel, Place, Query, own, own_by_version
from ml_delivery.targets.eks import settings

__all__ = ["observe"]

INSIGHTS = "ContainerInsights"


def observe(at: Place) -> Observed:
    """Panels for requests and pods, alarms, and the log group that an agent sends the pods' lines to."""
    by_version = ByVersion(
        Panel(
            "requests",
            "Requests by version",
            "count",
            "Users' requests by the version that answered; a deploy shifts them from one version to the next.",
            (own_by_version(at, "requests", "Failures", "SampleCount"),),
        ),
        Panel(
            "errors",
            "Restarts by version",
            "count",
            "Processes that ended, by themselves or by their memory limit, and started again; a canary deploy watches them.",
            (own_by_version(at, "errors", "Restarts"),),
        ),
        Panel(
            "latency-by-version",
            "p95 by version",
            "ms",
            "The 95th percentile of latency by version; a canary deploy watches it.",
            (own_by_version(at, "p95", "Latency", "p95"),),
        ),
        Panel(
            "failures-by-version",
            "Status 5xx by version",
            "count",
            "Answers with status 500 and above by version; a canary deploy watches them.",
            (own_by_version(at, "failures", "Failures"),),
        ),
    )
    return Observed(
        rows={"Requests": _requests(at, by_version), "Pods": _pods(at)},
        alarms=_alarms(at),
        log_group=f"/ml-service/{at.name}",
        by_version=by_version,
    )


def _insights(at: Place, id: str, metric: str, label: str, statistic: str) -> Query:
    """A metric of Container Insights, over all pods of the environment."""
    where = (("ClusterName", settings.of(at.environment).cluster), ("Namespace", at.name))
    return Query(id, label, INSIGHTS, metric, statistic, where)


def _requested(at: Place, label: str = "", shown: bool = True) -> Query:
    """How many requests of users were answered: each has the metric, be it 0."""
    return own(at, "requests", "Failures", label, "SampleCount", shown)


def _failed(at: Place) -> tuple[Query, ...]:
    """Percent of the users' requests that were answered with status 500 and above."""
    return (
        _requested(at, shown=False),
        own(at, "answered", "Failures", shown=False),
        Query("rate", "failed", expression="100 * FILL(answered, 0) / requests"),
    )


def _requests(at: Place, by_version: ByVersion) -> tuple[Panel, ...]:
    return (
        by_version.requests,
        Panel(
            "all",
            "Requests and failures",
            "count",
            "Users' requests, and those answered with status 500 and above.",
            (_requested(at, "requests"), own(at, "answered", "Failures", "status 500 and above")),
        ),
        observed.failed_share(_failed(at)),
        by_version.errors,
        *([by_version.failures] if by_version.failures else []),
        Panel(
            "latency",
            "Latency",
            "ms",
            "Of an answer, inside the process; an alarm watches p95.",
            tuple(own(at, p, "Latency", p, p) for p in ("p50", "p95", "p99")),
        ),
        by_version.p95,
    )


def _pods(at: Place) -> tuple[Panel, ...]:
    cluster = settings.of(at.environment).cluster
    terms = f'{{{INSIGHTS},ClusterName,Namespace,PodName}} ClusterName="{cluster}" Namespace="{at.name}"'
    killed = f'{terms} MetricName="pod_container_status_terminated_reason_oom_killed"'
    return (
        Panel(
            "pods",
            "Running pods",
            "count",
            "Of all releases; a release that rests has none.",
            (_insights(at, "running", "namespace_number_of_running_pods", "running", "Maximum"),),
        ),
        Panel(
            "out-of-memory",
            "Ended for their memory",
            "count",
            "Pods by version that needed more than function.memory, which the kernel therefore ended.",
            (Query("killed", "${PROP('Dim.PodName')}", expression=f"SEARCH('{killed}', 'Sum', {{period}})"),),
        ),
        Panel(
            "use",
            "Use of the limits",
            "percent",
            "Of function.cpu and function.memory, the mean of all pods.",
            (
                _insights(at, "cpu", "pod_cpu_utilization_over_pod_limit", "processors", "Average"),
                _insights(at, "memory", "pod_memory_utilization_over_pod_limit", "memory", "Average"),
            ),
        ),
        observed.cold_starts(at),
    )


def _alarms(at: Place) -> tuple[Alarm, ...]:
    """The alarms, most urgent first, with the limits in ``[monitoring]``."""
    return (
        observed.failing(at, _failed(at)),
        observed.slow(at, own(at, "p95", "Latency", "p95", "p95")),
        Alarm(
            "restarts",
            "Pods restart",
            "Processes of pods end, by themselves or because they need more than function.memory, and are started again.",
            f"invoke logs {at.where}; if it came with a release, invoke rollback {at.where}",
            (own(at, "restarts", "Restarts", "restarts"),),
            threshold=0,
            periods=1,
            needed=1,
        ),
        observed.quiet(
            at,
            _requested(at, "requests"),
            "the service can't be reached, it is not used, or no agent in the cluster sends its lines",
            "what calls the service, and the cluster's agent",
        ),
    )
