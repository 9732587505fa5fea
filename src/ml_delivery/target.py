"""The contract of a target: where releases run. The state machine defines the order of steps, a target how each is done.

A target is a folder of ``targets/``, or the user's own class, which ``service.target`` names by a dotted path. It defines
the keys of ``[function]`` in ``pipeline.toml``, how artifacts are packed and pushed, how releases are staged and traffic is
split, its part of the infrastructure, its checks for ``invoke doctor``, and its panels and alarms.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ml_delivery import keys, plugin
from ml_delivery.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ml_delivery.cloud import Cloud
    from ml_delivery.cloudformation import Infrastructure
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment
    from ml_delivery.observed import Observed, Place
    from ml_delivery.packing.bundle import Bundle
    from ml_delivery.packing.ingredients import Ingredients
    from ml_delivery.records import (
        Answer,
        Artifact,
        Context,
        Cost,
        Idle,
        Limit,
        Line,
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

__all__ = ["Deployer", "Parity", "Target", "load"]


@dataclass(frozen=True)
class Parity:
    """One difference between the emulator and AWS: what differs, how it is on the emulator, and how it is on AWS."""

    what: str
    here: str
    there: str


class Target(ABC):
    """Where a service runs; one stateless object.

    Attributes:
        function: declares the keys of ``[function]``.
        fronts: the values of ``http.front`` that it offers.
        pythons: the Python versions that it supports.
        provided: packages that it already has, so that they are not put into artifacts.
        same_bytes: whether two builds of one source have the same digest; otherwise their contents are compared.
        probe: a script that loads a service and sends requests as this target would, for ``invoke doctor --contract``:
            ``python -P SCRIPT RESULT PATH…`` writes ``{"fault": "", "answers": {path: [status, body]}}`` to the file RESULT.
            Without a script, that part of the contract is not checked.
        entry: the file that the probe loads, and what it must define.
        parity: where a rehearsal on the emulator differs from AWS; ``invoke cloud.parity`` prints it.
    """

    function: ClassVar[type[keys.Function]] = keys.Function
    fronts: ClassVar[tuple[str, ...]] = ("none",)
    pythons: ClassVar[tuple[str, ...]] = keys.PYTHONS
    provided: ClassVar[frozenset[str]] = frozenset()
    same_bytes: ClassVar[bool] = True
    probe: ClassVar[Path | None] = None
    entry: ClassVar[tuple[str, str]] = ("src/service/handler.py", "handler(event, context)")
    parity: ClassVar[tuple[Parity, ...]] = ()

    def needs(self) -> tuple[str, ...]:
        """Files of the service that it builds from, beside those that every target takes; a build first looks for them."""
        return ()

    def begin(self, bundle: Bundle, scratch: Path) -> object:
        """Start in the background what of ``pack`` needs only the dependencies; it gets the result as ``made.begun``."""
        return None

    @abstractmethod
    def pack(self, config: Config, made: Ingredients, scratch: Path) -> Packed:
        """Pack the ingredients into an artifact.

        ``scratch`` is a folder for its files. It has those of the build before the last one, which may be written over.
        """

    @abstractmethod
    def push(self, context: Context, manifest: Manifest) -> Pushed:
        """Push the built artifact to the environment and record it; idempotent."""

    @abstractmethod
    def open(self, context: Context) -> Deployer:
        """The deployer for this environment."""

    def problems(self, environment: Environment) -> list[str]:
        """What is wrong with an environment's settings taken together; one line each, which begins with the key."""
        return []

    def glibc(self, python: str) -> int:
        """The minor version of glibc 2 that ``python`` runs on there; wheels for a newer one don't load."""
        return 34

    def limits(self, config: Config) -> list[Limit]:
        """Its size limits, in addition to the service's own ``build.budget``."""
        return []

    def advice(self, config: Config, manifest: Manifest) -> list[str]:
        """What the user should know about a build; one line each."""
        return []

    def pin(self, config: Config) -> str:
        """Record in the service's tree what the next builds are based on, as it is now; returns its name, empty for nothing."""
        return ""

    def serving(self, environment: Environment) -> tuple[str, ...]:
        """Arguments of the service's interpreter that serve the working tree over HTTP as this target would, for ``invoke serve``.

        The descriptor of a socket that listens already is added as the last one. Empty if the target can't.
        """
        return ()

    def checks(self, config: Config) -> dict[str, Callable[[], dict[str, str]]]:
        """More checks of this machine for ``invoke doctor``, by name.

        Each returns what it found, by name, which is printed as ``name: value``; or raises a PipelineError.
        """
        return {}

    def infrastructure(self, config: Config, environment: Environment) -> Infrastructure:
        """Its part of the stacks of ``environment``, with the values of its parameters."""
        from ml_delivery.cloudformation import Infrastructure  # with a YAML parser, which few commands need

        return Infrastructure()

    def establish(self, context: Context) -> list[str]:
        """Create, after the stacks, what it needs outside of them, as an administrator; idempotent.

        Returns what it changed, a line for each.
        """
        return []

    def account_checks(
        self, config: Config, environment: Environment, cloud: Cloud
    ) -> dict[str, Callable[[], dict[str, str]]]:
        """More checks of an environment's account for ``invoke doctor``, like ``checks``."""
        return {}

    def observe(self, at: Place) -> Observed:
        """Its panels, alarms and log queries."""
        from ml_delivery.observed import Observed

        return Observed()

    def removals(self, config: Config, environment: Environment, cloud: Cloud) -> dict[str, Callable[[], object]]:
        """Functions that remove what it creates outside the stacks and the bucket, by a name to print.

        An interrupted removal is run again, so AWS may answer that the resource does not exist.
        """
        return {}


class Deployer(ABC):
    """What the state machine needs from a target, for one environment.

    Attributes:
        least_pause: how many seconds a weight must be held at least for its metrics to be meaningful.
        least_period: the least number of seconds between two readings of the metrics.
        metrics_delay: after how many seconds the metrics of a request have arrived where alarms read them.
        wakes_within: the seconds within which a deployed version that was idle for long answers again.
        counts_since: whether ``numbers`` counts requests from any moment on, and not from the start of what serves.
    """

    least_pause: int = 0
    least_period: int = 0
    metrics_delay: int = 0
    wakes_within: float = 0.0
    counts_since: bool = True

    @abstractmethod
    def live(self) -> Live | None:
        """What serves now; None before the first release."""

    @abstractmethod
    def settings(self) -> Settings:
        """The settings in the configuration, comparable with ``Live.settings``."""

    @abstractmethod
    def stage(self, release: Release, dropped: tuple[str, ...]) -> str:
        """Create the deployed version of ``release`` next to the live one, without traffic. Returns its name.

        Idempotent. The release's variables are merged into the existing ones; ``dropped`` are removed from them.
        """

    @abstractmethod
    def stored(self, artifact: Artifact) -> str:
        """The digest of what is stored where ``artifact`` was pushed, as reported by that store; empty for nothing.

        It is compared with the artifact's before ``stage``.
        """

    @abstractmethod
    def call(
        self,
        path: str,
        deployed: str = "",
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Request ``path`` from a deployed version, or from what is live if ``deployed`` is empty.

        ``headers`` have names in lower case; without a ``content-type``, the body is JSON.
        """

    @abstractmethod
    def numbers(self, deployed: str, since: float) -> Numbers:
        """The metrics of ``deployed`` with its share of the traffic, since ``since`` (seconds since 1970)."""

    @abstractmethod
    def traffic(self) -> Traffic | None:
        """How traffic is split; None before the first release."""

    @abstractmethod
    def shift(self, wanted: Traffic | None, seen: Traffic | None, note: str) -> None:
        """Split traffic as ``wanted`` (None: to nothing) if it is still split as ``seen``: a compare-and-swap.

        Raises:
            Moved: the split was changed; read it again.
        """

    def weighted(self) -> bool:
        """Whether traffic can be split between deployed versions; otherwise each gets all of it at once."""
        return True

    @abstractmethod
    def deployed(self) -> dict[str, int]:
        """The deployed versions that this pipeline staged and that still exist, with their release numbers."""

    @abstractmethod
    def remove(self, deployed: str) -> None:
        """Remove a deployed version, unless it serves or no longer exists."""

    def rest(self, deployed: str) -> None:
        """Free what a deployed version without traffic uses while idle; ``call`` wakes it. By default, it uses nothing."""
        return

    @abstractmethod
    def logs(self, since: float) -> Iterator[Line]:
        """The service's log lines since ``since`` (seconds since 1970), oldest first."""

    def address(self, outputs: dict[str, str]) -> str:
        """The URL at which what is live answers HTTP requests, as this machine reaches it; empty for none.

        ``outputs`` are those of the stack of ``Infrastructure.front``; empty where that is not deployed.
        """
        return outputs.get("Address", "")

    def discard(self, keep: set[str], before: float) -> list[Removed]:
        """Remove artifacts outside the bucket that were pushed before ``before`` (seconds since 1970), and return them.

        Artifacts of the sources in ``keep`` stay.
        """
        return []

    def cost(self, requests_per_second: float) -> Cost | None:
        """What this request rate would cost by list prices; None if the target can't estimate it."""
        return None

    def idle(self) -> Idle | None:
        """What exists here and costs whether it is called or not; None if nothing of this target does."""
        return None

    def retire(self) -> None:
        """Remove what ``idle`` names, with all deployed versions, but no artifact; idempotent. By default, there is nothing."""
        return


def load(name: str, config: Config) -> Target:
    """The target ``name``, as written in ``pipeline.toml``.

    Raises:
        ConfigError: there is none.
    """
    try:
        found = plugin.find(name, config.root)
    except plugin.Missing as error:
        raise ConfigError("pipeline.toml", [f"service.target: {error}"]) from error
    if not isinstance(found, Target):
        raise ConfigError("pipeline.toml", [f"service.target: {name} is not an ml_delivery.target.Target"])
    return found
