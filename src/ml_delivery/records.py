"""What is passed on: Source → Manifest → Artifact → Release, and what a target reports.

Each record is made in one place and read by those after it; none refers back. What the ledger and the bucket keep of them is
written and read by ``formats.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = [
    "FAILED",
    "RELEASE_VARIABLE",
    "ROLLED_BACK",
    "STAGED",
    "VERIFIED",
    "Answer",
    "Artifact",
    "Content",
    "Context",
    "Cost",
    "Foundation",
    "Layer",
    "Limit",
    "Live",
    "Look",
    "Manifest",
    "Numbers",
    "Packed",
    "Pushed",
    "Release",
    "Removed",
    "Settings",
    "Source",
    "Traffic",
]

STAGED, VERIFIED, FAILED, ROLLED_BACK = "staged", "verified", "failed", "rolled-back"
# The one variable that a deploy adds by itself; the service answers with it at /version.
RELEASE_VARIABLE = "RELEASE_NUMBER"
# A target's own settings, by its own names: memory, timeout, runtime and the like.
Settings = dict[str, str | int]


@dataclass(frozen=True)
class Source:
    """A commit and what was changed since.

    Attributes:
        commit: the checked-out commit, 40 hex digits.
        branch: the checked-out branch; empty when a commit is checked out without one.
        tree: git's digest of the working tree's files, ignored ones left out.
        dirty: whether that tree differs from the commit's.
    """

    commit: str
    branch: str
    tree: str
    dirty: bool

    @property
    def version(self) -> str:
        """The name that artifacts of this source carry: the commit, marked when the tree is dirty."""
        return f"{self.commit}-dirty-{self.tree[:12]}" if self.dirty else self.commit


@dataclass(frozen=True)
class Content:
    """A package's share of an artifact: files, and bytes unpacked and, in a ZIP, zipped."""

    package: str
    files: int
    size: int
    zipped: int


@dataclass(frozen=True)
class Layer:
    """One of an image's layers that the service adds: its name, its digest in the engine, and its files' bytes."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """What was built, and from what; ``build/manifest.json``.

    Attributes:
        version: the source's (``Source.version``); ``commit``, ``tree`` and ``dirty`` are its parts.
        target: what it was built for.
        digest: sha256 of the file that was built, or the image's id in the engine.
        size, unzipped: bytes; of an image, what the service adds to its base.
        content: digest of what is in it, which the service answers with at ``/version``.
        lock: digest of the lockfile of what serves; ``sbom``: of the bill of materials beside it.
        model: digest of the primary model; empty for a service without one.
        image: its name in the engine, and ``layers`` those that the service adds; both empty for a ZIP.
    """

    version: str
    commit: str
    tree: str
    dirty: bool
    target: str
    digest: str
    size: int
    unzipped: int
    content: str
    lock: str
    sbom: str
    model: str
    python: str
    architecture: str
    contents: tuple[Content, ...]
    image: str = ""
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Artifact:
    """A pushed artifact.

    Attributes:
        version: the source it was built from (``Source.version``).
        digest: of what the target runs: ``sha256:`` and 64 hex digits.
        content: digest of what is in it; the service answers with it at ``/version``.
        model: digest of its primary model; empty for none.
        location: its key in the environment's bucket; of an image, its URI by digest.
        size: bytes.
    """

    version: str
    commit: str
    dirty: bool
    digest: str
    content: str
    model: str
    python: str
    architecture: str
    location: str
    size: int

    @classmethod
    def of(cls, manifest: Manifest, digest: str, location: str) -> Artifact:
        """What ``manifest`` describes, as it was pushed: with this digest, at this location."""
        return cls(
            version=manifest.version,
            commit=manifest.commit,
            dirty=manifest.dirty,
            digest=digest,
            content=manifest.content,
            model=manifest.model,
            python=manifest.python,
            architecture=manifest.architecture,
            location=location,
            size=manifest.size,
        )


@dataclass(frozen=True)
class Pushed:
    """What a push did: the artifact, and whether its bytes had to be uploaded."""

    artifact: Artifact
    uploaded: bool


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
class Limit:
    """How many bytes an artifact may have unpacked, and ``reason``, who says so: ``build.budget is 200 MB``."""

    size: int
    reason: str


@dataclass(frozen=True)
class Cost:
    """``dollars`` a month at so many requests a second of so many ``milliseconds``; ``measured`` or assumed."""

    requests_per_second: float
    milliseconds: float
    measured: bool
    dollars: float


@dataclass(frozen=True)
class Removed:
    """Something that retention removed: ``kind`` is ``deployed version``, ``artifact`` or ``image``."""

    kind: str
    name: str


# -- what a target reports


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


# -- where all that happens


@dataclass(frozen=True)
class Foundation:
    """What an environment stands on: its stack's outputs, and whether they are those of the template in the package.

    Attributes:
        bucket: holds artifacts and the ledger.
        outputs: all of the stack's outputs, those of the target's own part among them.
        current: whether the stack is as the package and ``pipeline.toml`` say.
    """

    bucket: str
    outputs: dict[str, str]
    current: bool


@dataclass(frozen=True)
class Context:
    """One environment, opened: what everything that acts on it is given."""

    config: Config
    environment: Environment
    cloud: Cloud
    foundation: Foundation

    @property
    def name(self) -> str:
        """``<service>-<environment>``, which names most of what it has on AWS."""
        return self.config.name_of(self.environment)


# -- what goes into an artifact, and comes out of packing it


@dataclass(frozen=True)
class Packed:
    """What packing gave: the fields of ``Manifest`` that only the target knows; ``files`` are to be put into ``build/``."""

    digest: str
    size: int
    contents: tuple[Content, ...]
    files: tuple[tuple[Path, str], ...] = ()
    image: str = ""
    layers: tuple[Layer, ...] = ()
