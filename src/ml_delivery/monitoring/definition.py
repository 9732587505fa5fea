"""All panels and alarms of an environment: the target's, the service's own, and those of the delivery.

Everything that shows metrics is made from this definition, so dashboards, report and alarms never differ.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ml_delivery import target
from ml_delivery.account.stacks import INFRA
from ml_delivery.monitoring import declared
from ml_delivery.observed import Observed, Panel, Place, Query, own

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["observed"]


def observed(at: Place) -> Observed:
    """All rows in the order in which they are shown, all alarms, and all log queries.

    For log queries with the same name, the service's own overrides the target's, which overrides the package's.

    Raises:
        ConfigError: ``infra/metrics.toml`` is wrong; lists every problem.
    """
    generic = target.load(at.environment.target, at.config).observe(at)
    logs = {**_queries(INFRA / "queries"), **generic.logs, **_queries(at.config.root / "infra/queries")}
    ours = {"Delivery": _delivery(at), **({"Log": _log()} if generic.log_group else {})}
    known = replace(generic, rows={**generic.rows, **ours}, logs=logs)
    of_service = declared.read(at, known)
    rows: dict[str, tuple[Panel, ...]] = {}
    for part in (generic.rows, of_service.rows, ours):
        for title, panels in part.items():
            rows[title] = (*rows.get(title, ()), *panels)
    return replace(known, rows=rows, alarms=(*generic.alarms, *of_service.alarms))


def _queries(folder: Path) -> dict[str, str]:
    """The Logs Insights queries in a folder, by name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))}


def _delivery(at: Place) -> tuple[Panel, ...]:
    """The panels of builds and deploys."""

    def project(id: str, metric: str, label: str, statistic: str = "Sum") -> Query:
        return Query(id, label, "AWS/CodeBuild", metric, statistic, (("ProjectName", at.name),))

    return (
        Panel(
            "builds",
            "Builds",
            "count",
            "Builds on CodeBuild for this environment.",
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
            "Each step is a release or a rollback; two lines mean that a deploy is under way.",
            (
                own(at, "newest", "Release", "newest", statistic="Maximum"),
                own(at, "oldest", "Release", "oldest", statistic="Minimum"),
            ),
        ),
    )


def _log() -> tuple[Panel, ...]:
    return (
        Panel("slow", "Slowest requests", "", "Each with its release, its model and its trace id.", log="slow"),
        Panel("failed", "Errors", "", "Errors in the log, newest first.", log="errors"),
    )
