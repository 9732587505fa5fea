"""Where a service runs. The deploy knows the order of things; a target knows how its place does each of them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Answer", "Live", "Target", "load"]


@dataclass(frozen=True)
class Live:
    """What serves now.

    Attributes:
        version: the target's name for it.
        release: its release number; 0 when it is not one of ours.
        code_sha256: digest of its artifact, as the target reports it.
        settings: memory, timeout, runtime and the like.
        variables: all variables, ours and others'.
        tag: changes with each change of the traffic; a shift that names an old one is refused.
    """

    version: str
    release: int
    code_sha256: str
    settings: dict[str, Any]
    variables: dict[str, str]
    tag: str


@dataclass(frozen=True)
class Answer:
    """What a version answered: ``fault`` is set, and ``status`` 0, when it did not answer as HTTP at all."""

    status: int
    body: str
    fault: str
    seconds: float


class Target(Protocol):
    """The questions that the deploy asks."""

    def live(self) -> Live | None:
        """What serves now; None before the first release."""

    def settings(self) -> dict[str, Any]:
        """The settings that the configuration asks for, comparable with ``Live.settings``."""

    def stage(self, number: int, artifact: Any, variables: dict[str, str], dropped: set[str]) -> str:
        """Create the version of release ``number`` beside the live one; nothing moves. Returns its name.

        ``variables`` are merged into those that are there; ``dropped`` are removed from them.
        """

    def call(self, path: str, version: str = "", *, method: str = "GET", body: str = "") -> Answer:
        """Ask ``version``, or what is live when empty, for ``path``."""

    def shift(self, version: str, live: Live | None) -> None:
        """Send all traffic to ``version``, provided that ``live`` is still what serves."""

    def restore(self, live: Live | None) -> None:
        """Send all traffic to what served before; to nothing when nothing did."""


def load(name: str) -> Callable[..., Target]:
    """The class of the target ``name``, from the module that bears its name; a service has only its own."""
    module = import_module(f"pipeline.targets.{name.replace('-', '_')}")
    found: Callable[..., Target] = getattr(module, name.title().replace("-", ""))
    return found
