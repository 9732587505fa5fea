"""The monitoring of a function: Lambda's metrics, its cost, and the alarms that every service on Lambda has.

https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html (metrics and their dimensions)
"""

from __future__ import annotations

from pathlib import Path

from ml_delivery import observed
from ml_delivery.observed import Alarm, ByVersion, Observed, Panel, Place, Query, own, own_by_version
from ml_delivery.targets.lambda_function import settings
from ml_delivery.targets.lambda_function.alias import ALIAS
from ml_delivery.targets.lambda_function.costs import DOLLARS_PER_REQUEST, dollars_per_gb_second

__all__ = ["observe"]


def observe(at: Place) -> Observed:
    """Panels for requests, capacity and cost; alarms; the function's log group, with queries for Lambda's log lines."""
    by_version = ByVersion(
        Panel(
            "requests",
            "Requests by version",
            "count",
            "Users' requests by the version that answered; a deploy shifts them from one version to the next.",
            (_by_version(at, "requests", "Invocations", "Sum"),),
        ),
        Panel(
            "errors",
            "Errors by version",
            "count",
            "Exceptions and timeouts by version; a canary deploy watches them.",
            (_by_version(at, "errors", "Errors", "Sum"),),
        ),
        Panel(
            "latency-by-version",
            "p95 by version",
            "ms",
            "The 95th percentile of latency by version; a canary deploy watches it.",
            (_by_version(at, "p95", "Duration", "p95"),),
        ),
        Panel(
            "failures-by-version",
            "Status 5xx by version",
            "count",
            "Answers with status 500 and above by version, as the service reports them; a canary deploy watches them.",
            (own_by_version(at, "failures", "Failures"),),
        ),
    )
    queries = (Path(__file__).parent / "queries").glob("*.txt")
    return Observed(
        rows={"Requests": _requests(at, by_version), "Capacity and cost": _capacity(at)},
        alarms=_alarms(at),
        log_group=f"/aws/lambda/{at.name}",
        logs={path.stem: path.read_text(encoding="utf-8") for path in sorted(queries)},
        by_version=by_version,
    )


def _function(at: Place, id: str, metric: str, label: str = "", statistic: str = "Sum", shown: bool = True) -> Query:
    """A metric of the whole function."""
    return Query(id, label, "AWS/Lambda", metric, statistic, (("FunctionName", at.name),), shown=shown)


def _alias(at: Place, id: str, metric: str, label: str = "", statistic: str = "Sum", shown: bool = True) -> Query:
    """A metric of the alias, which is what users call."""
    dimensions = (("FunctionName", at.name), ("Resource", f"{at.name}:{ALIAS}"))
    return Query(id, label, "AWS/Lambda", metric, statistic, dimensions, shown=shown)


def _by_version(at: Place, id: str, metric: str, statistic: str) -> Query:
    """A metric of each version that the alias has called, labelled with the version."""
    schema = "{AWS/Lambda,ExecutedVersion,FunctionName,Resource}"
    terms = f'FunctionName="{at.name}" Resource="{at.name}:{ALIAS}" MetricName="{metric}"'
    return Query(
        id, "${PROP('Dim.ExecutedVersion')}", expression=f"SEARCH('{schema} {terms}', '{statistic}', {{period}})"
    )


def _failures(at: Place) -> tuple[Query, ...]:
    """Percent of the users' requests that failed: Lambda's errors, and responses with status 500 and above."""
    return (
        _alias(at, "requests", "Invocations", shown=False),
        _alias(at, "thrown", "Errors", shown=False),
        own(at, "answered", "Failures", shown=False),
        Query("rate", "failed", expression="100 * (FILL(thrown, 0) + FILL(answered, 0)) / requests"),
    )


def _requests(at: Place, by_version: ByVersion) -> tuple[Panel, ...]:
    return (
        by_version.requests,
        Panel(
            "alias",
            "Requests and errors of the alias",
            "count",
            "Errors are exceptions and timeouts; responses with status 500 and above come from the service itself.",
            (
                _alias(at, "requests", "Invocations", "requests"),
                _alias(at, "thrown", "Errors", "errors"),
                own(at, "answered", "Failures", "status 500 and above"),
            ),
        ),
        observed.failed_share(_failures(at)),
        by_version.errors,
        *([by_version.failures] if by_version.failures else []),
        Panel(
            "latency",
            "Latency",
            "ms",
            "How long the function ran for users' requests, without cold starts; an alarm watches p95.",
            tuple(_alias(at, p, "Duration", p, statistic=p) for p in ("p50", "p95", "p99")),
        ),
        by_version.p95,
    )


def _capacity(at: Place) -> tuple[Panel, ...]:
    price = dollars_per_gb_second(at.config.service.architecture)
    seconds = f"FILL(spent, 0) / 1000 * {settings.of(at.environment).memory} / 1024"
    dollars = f"1000 * ({DOLLARS_PER_REQUEST:.7f} + {seconds} * {price} / calls)"
    return (
        observed.cold_starts(at),
        Panel(
            "throttles",
            "Throttles",
            "count",
            "Calls that Lambda refused because they would have exceeded the concurrency limit; an alarm watches them.",
            (_function(at, "throttles", "Throttles", "throttled"),),
        ),
        Panel(
            "concurrency",
            "Concurrency",
            "count",
            "The maximum number of concurrent calls.",
            (_function(at, "concurrent", "ConcurrentExecutions", "concurrent calls", statistic="Maximum"),),
        ),
        Panel(
            "cost",
            "Cost of 1,000 requests",
            "dollars",
            "Lambda's list price of requests and duration, without free tier, logs and data transfer.",
            (
                _function(at, "calls", "Invocations", shown=False),
                _function(at, "spent", "Duration", shown=False),
                Query("cost", "US dollars", expression=dollars),
            ),
        ),
    )


def _alarms(at: Place) -> tuple[Alarm, ...]:
    """The alarms, most urgent first, with the limits in ``[monitoring]``."""
    return (
        observed.failing(at, _failures(at)),
        observed.slow(at, _alias(at, "p95", "Duration", "p95", statistic="p95")),
        Alarm(
            "throttled",
            "Requests are throttled",
            "Lambda refuses calls because they would exceed the concurrency limit of the function or the account.",
            f"invoke status {at.where}; then raise the account's quota, or the function's reserved concurrency",
            (_function(at, "throttles", "Throttles", "throttled"),),
            threshold=0,
            periods=1,
            needed=1,
        ),
        observed.quiet(
            at,
            _alias(at, "requests", "Invocations", "requests"),
            "the service can't be reached, or it is not used",
            "what calls the function",
        ),
    )
