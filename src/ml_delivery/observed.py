"""Monitoring as records: queries of CloudWatch, and the panels and alarms that use them.

A target defines those of what it runs, the service those of its domain; ``monitoring/`` adds the others and shows them all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = [
    "NAMESPACE",
    "Alarm",
    "ByVersion",
    "Observed",
    "Panel",
    "Place",
    "Query",
    "cold_starts",
    "failed_share",
    "failing",
    "own",
    "own_by_version",
    "period",
    "quiet",
    "slow",
]

# The namespace of the metrics that a service itself writes; part of the contract, like the dimension in ``own``.
NAMESPACE = "MLService"


@dataclass(frozen=True)
class Place:
    """One environment in one account, for monitoring."""

    config: Config
    environment: Environment
    account: str

    @property
    def name(self) -> str:
        """``<service>-<environment>``, the name of dashboards, alarms, the CodeBuild project and the topic."""
        return self.config.name_of(self.environment)

    @property
    def where(self) -> str:
        """What a command needs to reach this environment: ``--branch main``, and ``--cloud aws`` if it has an account there."""
        return f"--branch {self.environment.branch}" + (" --cloud aws" if self.environment.account else "")

    @property
    def region(self) -> str:
        return self.config.service.region


@dataclass(frozen=True)
class Query:
    """One line of a panel: a metric, or an expression in CloudWatch's metric math over the panel's other queries, or a
    ``select`` of metrics in the language of CloudWatch Metrics Insights, which alone an alarm can watch whatever series there are.

    ``{period}`` in an expression is replaced by the period of a point, in seconds. A query that is not ``shown`` is only
    referred to by others.
    """

    id: str
    label: str = ""
    namespace: str = ""
    metric: str = ""
    statistic: str = "Sum"
    dimensions: tuple[tuple[str, str], ...] = ()
    expression: str = ""
    select: str = ""
    shown: bool = True


@dataclass(frozen=True)
class Panel:
    """A plot of metrics, or a table of the results of a Logs Insights query (``log`` is its name).

    ``unit`` is the unit of the values: count, ms, s, percent, dollars or ratio.
    """

    id: str
    title: str
    unit: str
    about: str
    queries: tuple[Query, ...] = ()
    log: str = ""


@dataclass(frozen=True)
class Alarm:
    """One alarm. Its name is ``<service>-<environment>-<id>``; ``deploy.alarms`` in ``pipeline.toml`` may name it.

    Attributes:
        title: what is wrong, in a few words.
        means, then: the runbook: what is wrong, and what to type.
        queries: the last one is watched.
        threshold: in the unit of that query.
        below: whether it fires below the threshold, rather than above it.
        period: the length of a period, in seconds.
        periods, needed: it fires if ``needed`` of the last ``periods`` periods breach the threshold.
        missing: how a period without data counts: ``notBreaching`` or ``breaching``.
    """

    id: str
    title: str
    means: str
    then: str
    queries: tuple[Query, ...]
    threshold: float
    below: bool = False
    period: int = 60
    periods: int = 3
    needed: int = 2
    missing: str = "notBreaching"

    @property
    def runbook(self) -> str:
        return f"{self.means} Next: {self.then}."


@dataclass(frozen=True)
class ByVersion:
    """Panels with one line per deployed version, labelled with its name.

    They show requests, exceptions and timeouts, p95 in ms, and answers with a status of 500 or above (None: not known).
    """

    requests: Panel
    errors: Panel
    p95: Panel
    failures: Panel | None = None


@dataclass(frozen=True)
class Observed:
    """The monitoring of one environment.

    Attributes:
        rows: panels by the title of their row.
        alarms: the most urgent first.
        log_group: the service's log group in CloudWatch Logs; empty if it has none.
        logs: Logs Insights queries of that log, by name; the first line, a comment, describes the query.
        by_version: the panels in ``rows`` that compare deployed versions; None if the target has none.
    """

    rows: dict[str, tuple[Panel, ...]] = field(default_factory=dict)
    alarms: tuple[Alarm, ...] = ()
    log_group: str = ""
    logs: dict[str, str] = field(default_factory=dict)
    by_version: ByVersion | None = None

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels, row by row."""
        return tuple(panel for row in self.rows.values() for panel in row)


def period(begin: int, end: int, statistic: str, resolution: int) -> int:
    """The period, in seconds, of a query for what was counted from ``begin`` to ``end``; ``resolution`` is the metrics' own.

    That is one for all of it, in whole minutes. But of metrics by the second, sums are asked for by the second: a minute
    would hold what came before ``begin``.
    """
    return resolution if statistic == "Sum" and resolution < 60 else end - begin // 60 * 60


def own(at: Place, id: str, metric: str, label: str = "", statistic: str = "Sum", shown: bool = True) -> Query:
    """A metric that the service itself writes into its log."""
    return Query(id, label, NAMESPACE, metric, statistic, (("Function", at.name),), shown=shown)


def own_by_version(at: Place, id: str, metric: str, statistic: str = "Sum") -> Query:
    """A metric that the service itself writes, of each version, labelled with the version."""
    terms = f'{{{NAMESPACE},Function,Version}} Function="{at.name}" MetricName="{metric}"'
    return Query(id, "${PROP('Dim.Version')}", expression=f"SEARCH('{terms}', '{statistic}', {{period}})")


def failed_share(failed: tuple[Query, ...]) -> Panel:
    """The panel of failed requests; the last of ``failed`` is their percentage."""
    return Panel("failed-share", "Failed requests", "percent", "Of the users' requests; an alarm watches it.", failed)


def cold_starts(at: Place) -> Panel:
    """The panel of cold starts, which the service itself reports."""
    about, found = "Requests that were the first in their process.", own(at, "cold", "ColdStarts", "cold starts")
    return Panel("cold-starts", "Cold starts", "count", about, (found,))


def failing(at: Place, failed: tuple[Query, ...]) -> Alarm:
    """The alarm for failed requests; the last of ``failed`` is their percentage."""
    return Alarm(
        "errors",
        "Requests fail",
        "More of the users' requests fail than monitoring.max_errors allows.",
        f"invoke logs --query errors {at.where}; if the newest release is to blame, invoke rollback {at.where}",
        failed,
        threshold=at.config.monitoring.max_errors,
    )


def slow(at: Place, p95: Query) -> Alarm:
    """The alarm for latency, in milliseconds."""
    return Alarm(
        "slow",
        "Requests are slow",
        "The 95th percentile of latency is above monitoring.max_p95 milliseconds.",
        f"invoke logs --query slow {at.where}; if it came with a release, invoke rollback {at.where}",
        (p95,),
        threshold=at.config.monitoring.max_p95,
        needed=3,
    )


def quiet(at: Place, requests: Query, why: str, check: str) -> Alarm:
    """The alarm for want of requests: ``why`` there may be none, and what to ``check`` if ``invoke call`` is answered."""
    minutes = at.config.monitoring.quiet
    return Alarm(
        "quiet",
        "No requests arrive",
        f"There was no request for monitoring.quiet minutes: {why}.",
        f"invoke call /healthz {at.where}; if that answers, check {check}",
        (requests,),
        threshold=1,
        below=True,
        periods=minutes,
        needed=minutes,
        missing="breaching",
    )
