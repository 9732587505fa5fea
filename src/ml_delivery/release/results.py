"""What a deploy would change, how traffic shifts, what each step did, what was verified: records, which tasks print."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ml_delivery.records import Look, Removed, Took

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml_delivery.records import Artifact, Live, Release, Settings

__all__ = [
    "Asked",
    "Change",
    "Link",
    "LinkKind",
    "Outcome",
    "Plan",
    "Planned",
    "Probed",
    "Pruned",
    "Restored",
    "Result",
    "Rollout",
    "Run",
    "Shifted",
    "Staged",
    "Step",
    "Watched",
]


@dataclass(frozen=True)
class Planned:
    """A plan was made: how many changes it has; for a rollback, which release serves and which is wanted."""

    changes: int = 0
    live: int = 0
    wanted: int = 0


@dataclass(frozen=True)
class Staged:
    """The release exists on the target under the name ``deployed``; no traffic moved."""

    release: int
    deployed: str


@dataclass(frozen=True)
class Asked:
    """One request of a health check that succeeded: its path, status, duration in seconds, and method."""

    path: str
    status: int
    seconds: float
    method: str = "GET"


@dataclass(frozen=True)
class Probed:
    """The health check passed."""

    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class Shifted:
    """``new`` was given ``weight`` percent of the traffic; ``old`` (empty: none) has the rest."""

    old: str
    new: str
    weight: int


@dataclass(frozen=True)
class Watched:
    """The last metrics at a weight; ``paused`` is the seconds until its pause is over, if the deploy was detached."""

    look: Look
    paused: float = 0.0


@dataclass(frozen=True)
class Restored:
    """All traffic was returned to what served before.

    Attributes:
        release, deployed: what serves, read back from the target; 0 and empty for nothing.
        whole: whether that is what should serve; False when something else changed the traffic split in the meantime.
        verified: the release that had already been verified, so that there was nothing to restore; 0 for none.
        abandoned: the release whose deploy exited without reporting a result; 0 for none.
        unread: why what serves could not be read; usually empty.
    """

    release: int
    deployed: str
    whole: bool = True
    verified: int = 0
    abandoned: int = 0
    unread: str = ""


@dataclass(frozen=True)
class Pruned:
    """What retention removed; ``postponed`` is why the rest must wait for the next deploy, and usually empty."""

    removed: tuple[Removed, ...]
    postponed: str = ""


@dataclass(frozen=True)
class Rollout:
    """How traffic shifts to a release.

    Attributes:
        weights: the percentages before 100, one after the other.
        pause: how many seconds each is held.
        period: how many seconds are between two readings of the metrics.
        asked_pause, asked_period: the same in ``pipeline.toml``; less where the target's metrics need longer.
    """

    weights: tuple[int, ...]
    pause: int
    period: int
    asked_pause: int
    asked_period: int

    @property
    def seconds(self) -> int:
        """How long all percentages are held in total; longer if requests are waited for."""
        return len(self.weights) * self.pause


@dataclass(frozen=True)
class Change:
    """One difference; an empty ``old`` or ``new`` means absent.

    Of traffic, ``old`` is the number of the release that was deployed last, and the plan's ``live`` has what serves instead. Of
    infrastructure, ``name`` is its stack's, which is not as the package and ``pipeline.toml`` define it.
    """

    what: Literal["code", "model", "setting", "variable", "traffic", "infrastructure"]
    name: str
    old: str = ""
    new: str = ""


@dataclass(frozen=True)
class Plan:
    """A planned release, compared with what is live.

    Attributes:
        artifact: what is to be released.
        live: what serves now; None before the first release.
        settings, variables: the target's settings, and this pipeline's variables, after the deploy.
        dropped: variables that this pipeline set and that are no longer wanted.
        foreign: variables that something else set; they are left alone.
        follows: the newest release that was verified, even if it was rolled back since; 0 for none. So a plan that was carried
            out is not the plan again after a rollback.
        changes: empty when there is nothing to do.
        rollout: how traffic shifts; without weights before the first release.
        digest: of all of these; a plan with another digest is another plan.
    """

    environment: str
    artifact: Artifact
    live: Live | None
    settings: Settings
    variables: dict[str, str]
    dropped: tuple[str, ...]
    foreign: tuple[str, ...]
    follows: int
    changes: tuple[Change, ...]
    rollout: Rollout
    digest: str = ""


LinkKind = Literal["live", "pushed", "provenance", "bill of materials", "bytes", "content", "digest", "rebuild"]


@dataclass(frozen=True)
class Link:
    """One link of the chain from the commit to what answers.

    Attributes:
        kind: which link.
        digest: the digest that both sides have.
        subject: what the link is about: the deployed version, the version that was pushed, the build that the provenance names
            (empty: on a machine that is not known), where the bytes are, or the commit that was built again.
        release: the release's number.
    """

    kind: LinkKind
    digest: str
    subject: str
    release: int


Result = Planned | Staged | Probed | Shifted | Watched | Restored | Pruned


@dataclass(frozen=True)
class Step:
    """One step: its name, its duration in seconds, its result (None when it failed), and the percent of the traffic it is about.

    ``weight`` is None for a step that is about no share of the traffic.
    """

    name: str
    seconds: float
    result: Result | None
    weight: int | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of a deploy, resume or rollback.

    Attributes:
        environment: its name.
        release: what was released; None when there was nothing to do.
        live: the release that serves now; 0 for none that this pipeline deployed.
        seconds: how long it took.
        previous: the release that served before; 0 for none that this pipeline deployed.
        weight: 100, or the release's percent of the traffic when the deploy is paused until ``--resume``.
        due: when a paused deploy can continue (seconds since 1970).
        steps: the steps that were carried out.
        repeated: whether there was nothing to do because the live release had carried out the approved plan before.
    """

    environment: str
    release: Release | None
    live: int
    seconds: float
    previous: int = 0
    weight: int = 100
    due: float = 0.0
    steps: tuple[Step, ...] = ()
    repeated: bool = False


class Run:
    """Times steps and reports each one to the caller."""

    def __init__(self, report: Callable[[Step], None]) -> None:
        self.steps: list[Step] = []
        self.began = time.perf_counter()
        self._report = report

    @contextmanager
    def step(self, name: str, weight: int | None = None) -> Iterator[list[Result]]:
        """Time a step; the body appends its result to the list. A step that succeeds without a result is not reported."""
        results: list[Result] = []
        began = time.perf_counter()
        try:
            yield results
        except BaseException:
            self._add(Step(name, time.perf_counter() - began, None, weight))
            raise
        if results:
            self._add(Step(name, time.perf_counter() - began, results[0], weight))

    def _add(self, step: Step) -> None:
        self.steps.append(step)
        self._report(step)

    @property
    def took(self) -> tuple[Took, ...]:
        """How long each step took so far."""
        return tuple(Took(step.name, round(step.seconds, 3), step.weight) for step in self.steps)
