"""Releases, and what a target reports of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_delivery.records.artifacts import Artifact

__all__ = [
    "FAILED",
    "RELEASE_VARIABLE",
    "ROLLED_BACK",
    "STAGED",
    "VERIFIED",
    "Answer",
    "Cost",
    "Live",
    "Look",
    "Numbers",
    "Release",
    "Removed",
    "Settings",
    "Traffic",
]

STAGED, VERIFIED, FAILED, ROLLED_BACK = "staged", "verified", "failed", "rolled-back"
# The one variable that a deploy adds by itself; the service answers with it at /version.
RELEASE_VARIABLE = "RELEASE_NUMBER"
# A target's own settings, by its own names: memory, timeout, runtime and the like.
Settings = dict[str, str | int]


@dataclass(frozen=True)
class Look:
    """What was measured at one moment while a new release had a share of the traffic.

    Attributes:
        weight: its percent of the traffic.
        requests, errors, p95, throttles: its numbers since it had traffic; p95 in milliseconds.
        alarms: those in alarm.
        command: the exit code of the user's own check.
        breach: the limit that was crossed, in one sentence; empty for none.
    """

    weight: int
    requests: int
    errors: int
    p95: float
    throttles: int
    alarms: tuple[str, ...]
    command: int
    breach: str


@dataclass(frozen=True)
class Release:
    """Artifact + configuration + model in one environment, numbered.

    Attributes:
        number: counts up from 1 in its environment.
        state: ``staged``, ``verified``, ``failed`` or ``rolled-back``.
        artifact: as pushed.
        settings: as the target was given them.
        variables: the service's variables that this pipeline set; a secret is a reference, never its value.
        who, at: who staged it, and when (seconds since 1970).
        deployed: the target's own name for it (a deployed version), known once it is staged there.
        cause: why it failed or was rolled back.
        seconds: how long each step took.
        watched: the numbers at each weight while traffic was shifted.
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
    seconds: dict[str, float] = field(default_factory=dict)
    watched: tuple[Look, ...] = ()


@dataclass(frozen=True)
class Removed:
    """Something that retention removed: ``kind`` is ``deployed version``, ``artifact`` or ``image``."""

    kind: str
    name: str


@dataclass(frozen=True)
class Traffic:
    """How traffic is split between deployed versions.

    Attributes:
        deployed: the one that gets what no other is given.
        weights: others, with their percent.
        revision: changes with each change of the traffic; a shift that names an old one is refused (compare-and-swap).
    """

    deployed: str
    weights: dict[str, int] = field(default_factory=dict)
    revision: str = ""

    @property
    def all(self) -> set[str]:
        """Every deployed version that gets traffic."""
        return {self.deployed, *self.weights}


@dataclass(frozen=True)
class Live:
    """What serves now.

    Attributes:
        deployed: the target's name for it; of several that share the traffic, the one that others are weighed against.
        release: its release number; 0 when it was not deployed by this pipeline.
        digest: of its artifact, as the target reports it.
        settings: the target's own.
        variables: all variables, whoever set them.
        traffic: how it is split.
    """

    deployed: str
    release: int
    digest: str
    settings: Settings
    variables: dict[str, str]
    traffic: Traffic


@dataclass(frozen=True)
class Answer:
    """What a deployed version answered: ``fault`` is set, and ``status`` 0, when the answer was not HTTP at all.

    ``gone`` says that there is no such deployed version, or not yet; ``waking`` that it will answer in a minute or two.
    """

    status: int
    body: str
    fault: str
    seconds: float
    gone: bool = False
    waking: bool = False


@dataclass(frozen=True)
class Numbers:
    """What users met at one deployed version: requests, failed ones, the 95th percentile in milliseconds; throttled ones."""

    requests: int
    errors: int
    p95: float
    throttles: int


@dataclass(frozen=True)
class Cost:
    """``dollars`` a month at so many requests a second of so many ``milliseconds``; ``measured`` or assumed."""

    requests_per_second: float
    milliseconds: float
    measured: bool
    dollars: float
