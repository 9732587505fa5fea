"""Where a service runs. The deploy knows the order of things; a target knows how its place does each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.release.head import Release

__all__ = ["Answer", "Live", "Numbers", "Target", "Traffic", "load"]


@dataclass(frozen=True)
class Traffic:
    """Who gets how much.

    Attributes:
        version: the one that gets what no other is given.
        weights: other versions, with their percent.
        tag: changes with each change of the traffic; a shift that names an old one is refused.
    """

    version: str
    weights: dict[str, int] = field(default_factory=dict)
    tag: str = ""

    @property
    def versions(self) -> set[str]:
        return {self.version, *self.weights}


@dataclass(frozen=True)
class Live:
    """What serves now.

    Attributes:
        version: the target's name for it; of several that share the traffic, the one that others are weighed against.
        release: its release number; 0 when it is not one of ours.
        code_sha256: digest of its artifact, as the target reports it.
        settings: memory, timeout, runtime and the like.
        variables: all variables, ours and others'.
        traffic: who gets how much.
    """

    version: str
    release: int
    code_sha256: str
    settings: dict[str, Any]
    variables: dict[str, str]
    traffic: Traffic


@dataclass(frozen=True)
class Answer:
    """What a version answered: ``fault`` is set, and ``status`` 0, when it did not answer as HTTP at all.

    ``gone`` says that there is no such version, or not yet; ``waking`` that it will answer in a minute or two.
    """

    status: int
    body: str
    fault: str
    seconds: float
    gone: bool = False
    waking: bool = False


@dataclass(frozen=True)
class Numbers:
    """What users met at one version: requests, those that failed, the 95th percentile in milliseconds; throttled ones."""

    requests: int
    errors: int
    p95: float
    throttles: int


class Target(Protocol):
    """The questions that the deploy asks."""

    def live(self) -> Live | None:
        """What serves now; None before the first release."""

    def settings(self) -> dict[str, Any]:
        """The settings that the configuration asks for, comparable with ``Live.settings``."""

    def stage(self, release: Release, dropped: tuple[str, ...]) -> str:
        """Create the version of ``release`` beside the live one; nothing moves. Returns its name.

        Doing it again gives the same version. The release's variables are merged into those that are there;
        ``dropped`` are removed from them.
        """

    def stored(self, artifact: dict[str, Any]) -> str:
        """The digest of what lies where ``artifact`` was pushed, as that place says; empty for nothing."""

    def call(self, path: str, version: str = "", *, method: str = "GET", body: str = "") -> Answer:
        """Ask ``version``, or what is live when empty, for ``path``."""

    def numbers(self, version: str, since: float) -> Numbers:
        """What ``version`` did with its share of the traffic since then (seconds since 1970)."""

    def milliseconds(self) -> float:
        """How long an answer of what is live took on average in the last day; 0 when there was none."""

    def traffic(self) -> Traffic | None:
        """Who gets how much; None before the first release."""

    def shift(self, wanted: Traffic | None, seen: Traffic | None, note: str) -> None:
        """Give the traffic to ``wanted`` (None: to nothing), provided that it still is as ``seen``.

        Raises:
            Moved: it is not; look again.
        """

    def versions(self) -> dict[str, int]:
        """The versions that we staged and that still are there, with their release numbers."""

    def remove(self, version: str) -> None:
        """Remove ``version``, unless it serves or is gone already."""

    def discard(self, keep: set[str], before: float) -> list[str]:
        """Remove artifacts that lie elsewhere than in the bucket and were pushed before then (seconds since 1970).

        Those of the sources in ``keep`` stay. Returns what was removed, in words.
        """


def load(name: str) -> Callable[..., Target]:
    """The class of the target ``name``, from the module that bears its name; a service has only its own."""
    module = import_module(f"ml_delivery.release.targets.{name.replace('-', '_')}")
    found: Callable[..., Target] = getattr(module, name.title().replace("-", ""))
    return found
