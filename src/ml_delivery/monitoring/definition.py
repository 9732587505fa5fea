"""What matters about a service: the panels, and what each of them asks CloudWatch.

Everything that shows numbers is made of this, so that dashboards, report and alarms never differ.
"""

from __future__ import annotations

from dataclasses import dataclass

from ml_delivery.monitoring.queries import (
    LEAST_FOR_DRIFT,
    Place,
    Query,
    alias,
    backup,
    by_version,
    drift,
    failures,
    function,
    own,
)
from ml_delivery.targets.lambda_function.costs import DOLLARS_PER_REQUEST

__all__ = ["Panel", "panels"]


@dataclass(frozen=True)
class Panel:
    """A plot of metrics, or a table of what a query of ``infra/queries`` finds in the log (``log`` is its name).

    ``unit`` is what the numbers are: count, ms, s, percent, dollars or share.
    """

    id: str
    title: str
    unit: str
    about: str
    queries: tuple[Query, ...] = ()
    log: str = ""


def panels(at: Place) -> dict[str, tuple[Panel, ...]]:
    """All panels, by the row that they are in."""
    return {
        "Requests": _requests(at),
        "Capacity and cost": _capacity(at),
        "Model": _model(at),
        "Delivery": _delivery(at),
        "Log": (
            Panel("slow", "Slowest requests", "", "Open a trace by its id in X-Ray.", log="slow"),
            Panel("failed", "Errors", "", "What the service, or Lambda, says of what went wrong.", log="errors"),
        ),
    }


def _requests(at: Place) -> tuple[Panel, ...]:
    return (
        Panel(
            "requests",
            "Requests by version",
            "count",
            "What users asked, by the version that answered; a deploy moves it from one to the next.",
            (by_version(at, "requests", "Invocations", "Sum"),),
        ),
        Panel(
            "alias",
            "Requests and errors of the alias",
            "count",
            "Errors are exceptions and time-outs; answers of 500 and above are the service's own.",
            (
                alias(at, "requests", "Invocations", "requests"),
                alias(at, "thrown", "Errors", "errors"),
                own(at, "answered", "Failures", "answers of 500 and above"),
            ),
        ),
        Panel(
            "failed-share", "Failed requests", "percent", "Of the users' requests; an alarm watches it.", failures(at)
        ),
        Panel(
            "errors",
            "Errors by version",
            "count",
            "Exceptions and time-outs, by version: what a canary deploy watches.",
            (by_version(at, "errors", "Errors", "Sum"),),
        ),
        Panel(
            "latency",
            "Latency",
            "ms",
            "How long Lambda ran for the users' requests, cold starts left out; an alarm watches p95.",
            tuple(alias(at, p, "Duration", p, statistic=p) for p in ("p50", "p95", "p99")),
        ),
        Panel(
            "latency-by-version",
            "p95 by version",
            "ms",
            "What a canary deploy watches.",
            (by_version(at, "p95", "Duration", "p95"),),
        ),
    )


def _capacity(at: Place) -> tuple[Panel, ...]:
    seconds = f"FILL(spent, 0) / 1000 * {at.memory} / 1024"
    dollars = f"1000 * ({DOLLARS_PER_REQUEST:.7f} + {seconds} * {at.price} / calls)"
    return (
        Panel(
            "cold-starts",
            "Cold starts",
            "count",
            "Requests that were the first of their process.",
            (own(at, "cold", "ColdStarts", "cold starts"),),
        ),
        Panel(
            "throttles",
            "Throttles",
            "count",
            "Calls that Lambda refused for want of concurrency; an alarm watches them.",
            (function(at, "throttles", "Throttles", "throttled"),),
        ),
        Panel(
            "concurrency",
            "Concurrency",
            "count",
            "Most calls at the same time.",
            (function(at, "concurrent", "ConcurrentExecutions", "at once", statistic="Maximum"),),
        ),
        Panel(
            "cost",
            "Cost of 1,000 requests",
            "dollars",
            "Lambda's list price of requests and duration; free tier, logs and data transfer left out.",
            (
                function(at, "calls", "Invocations", shown=False),
                function(at, "spent", "Duration", shown=False),
                Query("cost", "US dollars", expression=dollars),
            ),
        ),
    )


def _model(at: Place) -> tuple[Panel, ...]:
    return (
        Panel("model", "Model used", "percent", "Predictions of the backup model; an alarm watches them.", backup(at)),
        Panel(
            "cache",
            "Cache hits",
            "percent",
            "Predictions that came from the cache.",
            (
                own(at, "hits", "CacheHits", shown=False, statistic="Average"),
                Query("hit", "from the cache", expression="100 * hits"),
            ),
        ),
        Panel(
            "predictions",
            "Predicted sales",
            "count",
            "Units a day at the recommended price.",
            tuple(own(at, p, "PredictedSales", p, statistic=p) for p in ("p10", "p50", "p90")),
        ),
        Panel(
            "prices",
            "Recommended price",
            "share",
            "As a share of the product's usual price: 1 is that price.",
            tuple(own(at, p, "RecommendedPrice", p, statistic=p) for p in ("p10", "p50", "p90")),
        ),
        Panel(
            "drift",
            "Drift of the recommended price",
            "count",
            f"Population stability index against training: 0 is none, above 0.25 is much; needs {LEAST_FOR_DRIFT} predictions "
            "a point. An alarm watches it.",
            drift(at),
        ),
    )


def _delivery(at: Place) -> tuple[Panel, ...]:
    """What CodeBuild and deploys did."""

    def project(id: str, metric: str, label: str, statistic: str = "Sum") -> Query:
        return Query(id, label, "AWS/CodeBuild", metric, statistic, (("ProjectName", at.function),))

    return (
        Panel(
            "builds",
            "Builds",
            "count",
            "CodeBuild's, of this environment.",
            (project("succeeded", "SucceededBuilds", "succeeded"), project("broken", "FailedBuilds", "failed")),
        ),
        Panel(
            "build-time",
            "Build duration",
            "s",
            "From the start of a build to its end.",
            (project("took", "Duration", "longest", statistic="Maximum"),),
        ),
        Panel(
            "release",
            "Release that serves",
            "count",
            "Each step is a release or a rollback; two lines are a deploy under way.",
            (
                own(at, "newest", "Release", "newest", statistic="Maximum"),
                own(at, "oldest", "Release", "oldest", statistic="Minimum"),
            ),
        ),
    )
