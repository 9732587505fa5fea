"""Releases, and what a target reports about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ml_delivery.records.variables import DIGEST_VARIABLE, RELEASE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_delivery.records.artifacts import Artifact

__all__ = [
    "FAILED",
    "RETIRED",
    "ROLLED_BACK",
    "STAGED",
    "VERIFIED",
    "Answer",
    "Cost",
    "Idle",
    "Line",
    "Live",
    "Look",
    "Numbers",
    "Release",
    "Removed",
    "Settings",
    "Took",
    "Traffic",
]

STAGED, VERIFIED, FAILED, ROLLED_BACK, RETIRED = "staged", "verified", "failed", "rolled-back", "retired"
# A target's own settings, with its own names, such as memory, timeout and runtime.
Settings = dict[str, str | int]


@dataclass(frozen=True)
class Look:
    """What was measured at one moment while a new release had a share of the traffic.

    Attributes:
        weight: its percent of the traffic.
        requests, errors, p95, throttles, failures: its metrics since it had traffic, as in ``Numbers``.
        alarms: those in alarm.
        command: the exit code of the user's own check.
        breach: the limit that was exceeded, in one sentence; empty for none.
    """

    weight: int
    requests: int
    errors: int
    p95: float
    throttles: int
    alarms: tuple[str, ...]
    command: int
    breach: str
    failures: int | None = None


@dataclass(frozen=True)
class Took:
    """How many seconds a step took; ``weight`` is the percent of the traffic that it was about, None for none."""

    name: str
    seconds: float
    weight: int | None = None


@dataclass(frozen=True)
class Release:
    """Artifact + configuration + model in one environment, numbered.

    Attributes:
        number: counts up from 1 in its environment.
        state: ``staged``, ``verified``, ``failed``, ``rolled-back`` or ``retired``.
        artifact: the pushed artifact.
        settings: the target's settings.
        variables: the service's variables that this pipeline set; a secret is a reference, never its value.
        who, at: who staged it, and when (seconds since 1970).
        deployed: the target's name for it (the deployed version); empty until it is staged.
        cause: why it failed, or was rolled back or retired.
        steps: how long each step took, in their order.
        watched: the metrics at each weight while traffic was shifted.
        plan: digest of the plan that it carried out; empty where that was not recorded.
    """

    number: int
    state: str
    artifact: Artifact
    settings: Settings
    variables: dict[str, str]
    who: str
    at: float
    deployed: str = ""
    cause: str = ""
    steps: tuple[Took, ...] = ()
    watched: tuple[Look, ...] = ()
    plan: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """Its variables, and those that a deploy adds by itself."""
        return {**self.variables, RELEASE_VARIABLE: str(self.number), DIGEST_VARIABLE: self.artifact.digest}


@dataclass(frozen=True)
class Removed:
    """Something that retention removed: ``kind`` is ``version`` (a deployed one), ``artifact`` or ``image``."""

    kind: str
    name: str


@dataclass(frozen=True)
class Traffic:
    """How traffic is split between deployed versions.

    Attributes:
        deployed: the one that gets the rest of the traffic.
        weights: the others, with their percent.
        revision: changes whenever the split changes; a shift that names an old one is refused (compare-and-swap).
    """

    deployed: str
    weights: dict[str, int] = field(default_factory=dict)
    revision: str = ""

    @classmethod
    def weighed(cls, weights: Mapping[str, float], revision: str) -> Traffic:
        """From weights above 0 of any sum; the first one gets the rest, and each other at least 1 percent."""
        (first, _), *others = weights.items()
        total = sum(weights.values())
        return cls(first, {name: max(1, round(100 * weight / total)) for name, weight in others}, revision)

    @property
    def all(self) -> set[str]:
        """Every deployed version that gets traffic."""
        return {self.deployed, *self.weights}


@dataclass(frozen=True)
class Live:
    """What serves now.

    Attributes:
        deployed: the deployed version; if several share the traffic, the one that gets the rest (``Traffic.deployed``).
        release: its release number; 0 if it was not deployed by this pipeline.
        digest: its artifact's, as reported by the target.
        settings: the target's settings.
        variables: all variables, including those that this pipeline did not set.
        traffic: how traffic is split.
    """

    deployed: str
    release: int
    digest: str
    settings: Settings
    variables: dict[str, str]
    traffic: Traffic


@dataclass(frozen=True)
class Answer:
    """What a deployed version answered; if it was not an HTTP response, ``fault`` is set and ``status`` is 0.

    ``gone``: the deployed version does not exist, or not yet; ``waking``: it will answer in a minute or two.
    """

    status: int
    body: str
    fault: str
    seconds: float
    gone: bool = False
    waking: bool = False


@dataclass(frozen=True)
class Line:
    """A line of the service's log; ``at`` is when it was logged (seconds since 1970)."""

    at: float
    text: str


@dataclass(frozen=True)
class Numbers:
    """The metrics of a deployed version.

    Attributes:
        requests: of users.
        errors: how many of them raised an exception or timed out.
        p95: 95th percentile of latency, in milliseconds.
        throttles: requests that were refused because of a limit on concurrency.
        failures: how many were answered with a status of 500 or above; None if the service does not report it.
    """

    requests: int
    errors: int
    p95: float
    throttles: int
    failures: int | None = None


@dataclass(frozen=True)
class Cost:
    """``dollars`` a month at this request rate and duration (``milliseconds``), which was ``measured`` or assumed."""

    requests_per_second: float
    milliseconds: float
    measured: bool
    dollars: float


@dataclass(frozen=True)
class Idle:
    """What costs whether it is called or not: its names, and ``dollars`` a month by list prices (None: not known)."""

    names: tuple[str, ...]
    dollars: float | None
