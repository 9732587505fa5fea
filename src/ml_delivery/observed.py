"""What can be seen of a service from the outside: queries of CloudWatch, and the panels and alarms that are made of them.

A target brings those of what it runs, the service those of its domain; ``monitoring/`` adds the rest, and shows them all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["NAMESPACE", "Alarm", "ByVersion", "Observed", "Panel", "Place", "Query", "own"]

# The namespace of the metrics that a service writes itself; part of the contract, as is the dimension in ``own``.
NAMESPACE = "MLService"


@dataclass(frozen=True)
class Place:
    """One environment in one account, as it is observed."""

    config: Config
    environment: Environment
    account: str

    @property
    def name(self) -> str:
        """``<service>-<environment>``: dashboards, alarms, the CodeBuild project and the topic are named by it."""
        return self.config.name_of(self.environment)

    @property
    def region(self) -> str:
        return self.config.service.region


@dataclass(frozen=True)
class Query:
    """One line of a panel: a metric, or an expression in CloudWatch's metric math over the panel's other queries.

    ``{period}`` in an expression stands for the seconds that a point of the plot covers. A query that is not ``shown`` is
    there for others to refer to.
    """

    id: str
    label: str = ""
    namespace: str = ""
    metric: str = ""
    statistic: str = "Sum"
    dimensions: tuple[tuple[str, str], ...] = ()
    expression: str = ""
    shown: bool = True


@dataclass(frozen=True)
class Panel:
    """A plot of metrics, or a table of what a Logs Insights query finds in the log (``log`` is its name).

    ``unit`` is what the numbers are: count, ms, s, percent, dollars or ratio.
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
        title: what it says, in words.
        means, then: the runbook: what is wrong, and what to type.
        queries: the last of them is watched.
        threshold: in the unit of that query.
        below: whether it fires below the threshold, rather than above it.
        period: seconds that are looked at together.
        periods, needed: so many of the last so many periods make an alarm.
        missing: what a period without data counts as: ``notBreaching`` or ``breaching``.
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
    """Panels whose lines are the deployed versions, by the target's names of them: requests, failed ones, p95 in ms."""

    requests: Panel
    errors: Panel
    p95: Panel


@dataclass(frozen=True)
class Observed:
    """What is observed of one environment.

    Attributes:
        rows: panels by the title of the row that they are in.
        alarms: the most urgent first.
        log_group: where the service logs in CloudWatch Logs; empty when it does not.
        logs: Logs Insights queries of that log, by name; their first line, a comment, says what they find.
        by_version: the panels among ``rows`` that compare deployed versions; None when the target can't.
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


def own(at: Place, id: str, metric: str, label: str = "", statistic: str = "Sum", shown: bool = True) -> Query:
    """A metric that the service itself writes into its log."""
    return Query(id, label, NAMESPACE, metric, statistic, (("Function", at.name),), shown=shown)
