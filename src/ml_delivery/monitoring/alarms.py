"""What wakes somebody up: each alarm with what it means and what to type.

Names are ``<service>-<environment>-<id>``; a deploy watches those that ``deploy.alarms`` in ``pipeline.toml`` names.
"""

from __future__ import annotations

from dataclasses import dataclass

from ml_delivery.monitoring.queries import Place, Query, alias, backup, drift, failures, function

__all__ = ["Alarm", "alarms"]


@dataclass(frozen=True)
class Alarm:
    """One alarm.

    Attributes:
        id: ends its name.
        title: what it says, in words.
        means, then: the runbook: what is wrong, and what to type.
        queries: the last of them is watched.
        below: whether it fires below the threshold, rather than above it.
        threshold: a number, or the key of ``[monitoring]`` that holds it.
        scale: what the key's whole number is divided by.
        period: seconds that one look covers: a parameter of ``infra/monitoring.yaml``.
        periods, needed: so many of the last so many periods make an alarm; 0 periods: as ``monitoring.quiet`` says.
        missing: what a period without data counts as.
    """

    id: str
    title: str
    means: str
    then: str
    queries: tuple[Query, ...]
    threshold: str | int = 0
    scale: int = 1
    below: bool = False
    period: str = "Period"
    periods: int = 3
    needed: int = 2
    missing: str = "notBreaching"

    @property
    def runbook(self) -> str:
        return f"{self.means} Next: {self.then}."


def alarms(at: Place) -> tuple[Alarm, ...]:
    """All alarms, the most urgent first."""
    branch = f"--branch {at.branch}"
    return (
        Alarm(
            "errors",
            "Requests fail",
            "More of the users' requests fail than monitoring.max_errors allows.",
            f"invoke logs --query errors {branch}; if the newest release is to blame, invoke rollback {branch}",
            failures(at),
            threshold="max_errors",
        ),
        Alarm(
            "slow",
            "Requests are slow",
            "The 95th percentile of latency is above monitoring.max_p95 milliseconds.",
            f"invoke logs --query slow {branch}; if it came with a release, invoke rollback {branch}",
            (alias(at, "p95", "Duration", "p95", statistic="p95"),),
            threshold="max_p95",
            periods=3,
            needed=3,
        ),
        Alarm(
            "throttled",
            "Requests are refused",
            "Lambda refuses calls: they would exceed the concurrency of the function or of the account.",
            f"invoke status {branch}; then raise the account's quota, or the function's reserved concurrency",
            (function(at, "throttles", "Throttles", "throttled"),),
            periods=1,
            needed=1,
        ),
        Alarm(
            "quiet",
            "Nobody asks",
            "There was no request for monitoring.quiet minutes: the way to the service is broken, or nobody needs it.",
            f"invoke call /healthz {branch}; if that answers, look at what is before the function",
            (alias(at, "requests", "Invocations", "requests"),),
            threshold=1,
            below=True,
            periods=0,
            needed=0,
            missing="breaching",
        ),
        Alarm(
            "backup",
            "The backup model answers",
            "The primary model fails for more of the predictions than monitoring.max_backup allows.",
            f"invoke logs --query backup {branch}; if the model is to blame, invoke rollback {branch}",
            backup(at),
            threshold="max_backup",
        ),
        Alarm(
            "drift",
            "Recommended prices have drifted",
            "Recommended prices no longer lie as they did in training: what is asked for, or the model, has changed.",
            f"invoke report {branch}; then train on newer data: invoke train",
            drift(at),
            threshold="max_drift",
            scale=100,
            period="DriftPeriod",
            periods=1,
            needed=1,
        ),
    )
