"""An A/B: two releases that share the traffic, the rule that was written down before, and what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["RUNNING", "STARTING", "STOPPED", "STOPPING", "Arm", "Experiment", "Measured", "Reading", "Rule", "Verdict"]

STARTING, RUNNING, STOPPING, STOPPED = "starting", "running", "stopping", "stopped"
# too few: outcomes to judge by; ratio, crossed, dominated: the data can't be used; no difference: none was shown within the
# rule's limits; negligible: whatever difference there is, it is smaller than the rule's ``effect``.
Verdict = Literal[
    "too few",
    "ratio",
    "crossed",
    "dominated",
    "undecided",
    "control",
    "challenger",
    "negligible",
    "no difference",
]


@dataclass(frozen=True)
class Rule:
    """What was decided before traffic moved. It stays as it is for as long as the A/B runs.

    Attributes:
        metric: the number that each outcome has under this name.
        unit: what is compared: the metric's mean per ``request`` or per ``user``.
        count: ``requests``: the target's own count, so that one without an outcome counts as 0; ``outcomes``: those reported.
        hypothesis: the one that may be rejected: that both means are equal, against a difference in either direction.
        alpha: how often, at most, a difference is reported where there is none, however often one looks.
        effect: the smallest difference that matters, in percent of the control's mean.
        split: the challenger's percent of the traffic.
        requests, days: when the A/B ends without a decision, whichever is first; ``requests`` counts units of both releases.
    """

    metric: str
    unit: str
    count: str
    hypothesis: str
    alpha: float
    effect: float
    split: int
    requests: int
    days: int


@dataclass(frozen=True)
class Arm:
    """One of the two releases, and its deployed version."""

    release: int
    deployed: str


@dataclass(frozen=True)
class Measured:
    """What came of one release.

    Attributes:
        release: its number.
        units: its requests or users, as the rule counts them.
        reported: those with an outcome.
        total: the sum of the metric.
        mean, deviation: the metric's mean and standard deviation per unit.
    """

    release: int
    units: int
    reported: int
    total: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class Reading:
    """What was measured at one moment, and what follows from it by the rule.

    Attributes:
        at: when; seconds since 1970.
        verdict: what follows.
        control, challenger: the two releases.
        low, high: the confidence sequence of the difference of the means, challenger minus control; None without enough data.
        evidence: against the rule's split, as the logarithm of an e-value.
        crossed: how many users have outcomes of both releases.
        share: of the largest outcome in its release's total.
        earlier: how many outcomes were left out, since their requests were answered before the A/B.
        unusable: how many lines of the log were no outcome of these releases.
        over: whether the rule's ``requests`` or ``days`` are used up.
    """

    at: float
    verdict: Verdict
    control: Measured
    challenger: Measured
    low: float | None
    high: float | None
    evidence: float
    crossed: int
    share: float
    earlier: int
    unusable: int
    over: bool


@dataclass(frozen=True)
class Experiment:
    """An A/B of two releases in one environment, numbered.

    Attributes:
        number: counts up from 1 in its environment.
        state: ``starting``: the rule is recorded, traffic is about to be split; ``running``; ``stopping``: all of it is about
            to go to one release; or ``stopped``.
        rule: decided before.
        control: what was live.
        challenger: the other release.
        who, at: who started it, and when (seconds since 1970).
        since: from when on requests count; 0 until traffic was split.
        ended: when it was stopped; 0 until then.
        winner: the release that was given all traffic as its result; 0 for none.
        cause: why it ended, where it was not stopped by ``invoke ab --stop``.
        reading: the one on which it was stopped; None where nothing was read.
    """

    number: int
    state: str
    rule: Rule
    control: Arm
    challenger: Arm
    who: str
    at: float
    since: float = 0.0
    ended: float = 0.0
    winner: int = 0
    cause: str = ""
    reading: Reading | None = None

    @property
    def open(self) -> bool:
        """Whether it has not ended, so that the traffic split is its own."""
        return self.state != STOPPED
