"""The contract of a target: where releases run. The state machine knows the order of things, a target how each is done.

A target is a folder of ``targets/``, or a class of the user's own that ``service.target`` names by a dotted path. It brings
the keys of ``[function]`` in ``pipeline.toml``, how artifacts are packed and pushed, how releases are staged and traffic is
split, its part of the infrastructure, its checks for ``invoke doctor``, and its panels and alarms.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ml_delivery import keys, plugin
from ml_delivery.errors import ConfigError
from ml_delivery.observed import Observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment
    from ml_delivery.observed import Place
    from ml_delivery.packing.ingredients import Ingredients
    from ml_delivery.records import (
        Answer,
        Artifact,
        Context,
        Cost,
        Limit,
        Live,
        Manifest,
        Numbers,
        Packed,
        Pushed,
        Release,
        Removed,
        Settings,
        Traffic,
    )
    from ml_delivery.templates import Infrastructure

__all__ = ["Deployer", "Parity", "Target", "load"]


@dataclass(frozen=True)
class Parity:
    """One thing that is not the same on the emulator as on AWS: how it is here, and how it is there."""

    what: str
    here: str
    there: str


class Target(ABC):
    """Where a service runs; one object, without state.

    Attributes:
        function: declares the keys of ``[function]``.
        pythons: the Python versions that it runs.
        provided: packages that it has already, so that they are left out of artifacts.
        same_bytes: whether two builds of one source give the same digest; else their contents are compared.
        probe: a script that loads a service and asks it as this target would, for ``invoke doctor --contract``:
            ``python -P SCRIPT RESULT PATH…`` writes ``{"fault": "", "answers": {path: [status, body]}}`` to the file RESULT.
            Without one that part of the contract is not checked.
        parity: where a rehearsal on the emulator differs from AWS; ``invoke cloud.parity`` prints it.
    """

    function: ClassVar[type[keys.Function]] = keys.Function
    pythons: ClassVar[tuple[str, ...]] = keys.PYTHONS
    provided: ClassVar[frozenset[str]] = frozenset()
    same_bytes: ClassVar[bool] = True
    probe: ClassVar[Path | None] = None
    parity: ClassVar[tuple[Parity, ...]] = ()

    @abstractmethod
    def pack(self, config: Config, made: Ingredients, scratch: Path) -> Packed:
        """Pack what goes in, with ``scratch`` to write to."""

    @abstractmethod
    def push(self, context: Context, manifest: Manifest) -> Pushed:
        """Put the built artifact where the environment finds it, and record it; pushing it again changes nothing."""

    @abstractmethod
    def open(self, context: Context) -> Deployer:
        """What releases in this environment."""

    def glibc(self, python: str) -> int:
        """The minor version of the glibc 2 that ``python`` runs on there: newer wheels don't load."""
        return 34

    def limits(self, config: Config) -> list[Limit]:
        """What it takes at most, beside the service's own ``build.budget``."""
        return []

    def advice(self, manifest: Manifest) -> list[str]:
        """What the user should know about a build; a line each."""
        return []

    def checks(self, config: Config) -> dict[str, Callable[[], str]]:
        """More for ``invoke doctor`` to check on this machine, by name; each returns what it found, or raises a PipelineError."""
        return {}

    def infrastructure(self, config: Config, environment: Environment) -> Infrastructure:
        """Its part of the stacks of ``environment``, with the values of its parameters."""
        from ml_delivery.templates import Infrastructure  # with a YAML parser, which few commands need

        return Infrastructure()

    def observe(self, at: Place) -> Observed:
        """Its panels, alarms and log queries."""
        return Observed()

    def removals(self, config: Config, environment: Environment, cloud: Cloud) -> dict[str, Callable[[], object]]:
        """What it leaves outside the stacks and the bucket: a call that removes it, by a name for people.

        A removal that was interrupted is run again, so AWS may answer that there is no such thing.
        """
        return {}


class Deployer(ABC):
    """What the state machine asks of one environment on a target.

    Attributes:
        least_pause, least_period: seconds that a weight must be held, and between two looks, for numbers to mean anything.
        wakes_within: seconds in which a deployed version that was idle for long answers again.
    """

    least_pause: int = 0
    least_period: int = 0
    wakes_within: float = 0.0

    @abstractmethod
    def live(self) -> Live | None:
        """What serves now; None before the first release."""

    @abstractmethod
    def settings(self) -> Settings:
        """The settings that the configuration asks for, comparable with ``Live.settings``."""

    @abstractmethod
    def stage(self, release: Release, dropped: tuple[str, ...]) -> str:
        """Create the deployed version of ``release`` beside the live one; no traffic moves. Returns its name.

        Idempotent. The release's variables are merged into those that are there; ``dropped`` are removed from them.
        """

    @abstractmethod
    def stored(self, artifact: Artifact) -> str:
        """The digest of what lies where ``artifact`` was pushed, as that place reports it; empty for nothing."""

    @abstractmethod
    def call(self, path: str, deployed: str = "", *, method: str = "GET", body: str = "") -> Answer:
        """Ask a deployed version, or what is live when empty, for ``path``."""

    @abstractmethod
    def numbers(self, deployed: str, since: float) -> Numbers:
        """What ``deployed`` did with its share of the traffic since then (seconds since 1970)."""

    @abstractmethod
    def traffic(self) -> Traffic | None:
        """How traffic is split; None before the first release."""

    @abstractmethod
    def shift(self, wanted: Traffic | None, seen: Traffic | None, note: str) -> None:
        """Split traffic as ``wanted`` (None: to nothing), provided that it still is as ``seen``: compare-and-swap.

        Raises:
            Moved: it is not; look again.
        """

    @abstractmethod
    def deployed(self) -> dict[str, int]:
        """The deployed versions that this pipeline staged and that still exist, with their release numbers."""

    @abstractmethod
    def remove(self, deployed: str) -> None:
        """Remove a deployed version, unless it serves or is gone already."""

    @abstractmethod
    def logs(self, since: float) -> Iterator[str]:
        """The service's log lines since then (seconds since 1970), oldest first."""

    def discard(self, keep: set[str], before: float) -> list[Removed]:
        """Remove artifacts that lie outside the bucket and were pushed before then (seconds since 1970).

        Those of the sources in ``keep`` stay.
        """
        return []

    def cost(self, requests_per_second: float) -> Cost | None:
        """What so many requests would cost by list prices; None when the target can't say."""
        return None


def load(name: str, config: Config) -> Target:
    """The target ``name``, as ``pipeline.toml`` writes it.

    Raises:
        ConfigError: there is none.
    """
    try:
        found = plugin.find(name, config.root)
    except plugin.Missing as error:
        raise ConfigError("pipeline.toml", [f"service.target: {error}"]) from error
    if not isinstance(found, Target):
        raise ConfigError("pipeline.toml", [f"service.target: {name} is no ml_delivery.target.Target"])
    return found
