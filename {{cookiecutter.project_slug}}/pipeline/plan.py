"""What a deploy would change. ``invoke plan`` prints this object; ``invoke deploy`` carries the same one out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.targets.lambda_function import RELEASE_VARIABLE

if TYPE_CHECKING:
    from pipeline.delivery import Delivery
    from pipeline.store import Artifact
    from pipeline.targets import Live

__all__ = ["Change", "Plan", "make"]


@dataclass(frozen=True)
class Change:
    """One difference: ``what`` is code, model, setting, variable or infrastructure; empty ``old`` or ``new`` is absence."""

    what: str
    name: str
    old: str
    new: str


@dataclass(frozen=True)
class Plan:
    """A release to be, beside what is live.

    Attributes:
        artifact: what is to be released.
        live: what serves now; None before the first release.
        settings, variables: the target's settings, and our variables, after it.
        dropped: variables that were ours and are no longer wanted.
        foreign: variables that others set; they are left alone.
        changes: empty when there is nothing to do.
    """

    environment: str
    artifact: Artifact
    live: Live | None
    settings: dict[str, Any]
    variables: dict[str, str]
    dropped: tuple[str, ...]
    foreign: tuple[str, ...]
    changes: tuple[Change, ...]


def make(delivery: Delivery) -> Plan:
    """Compare what the branch and ``pipeline.toml`` ask for with what is live.

    Raises:
        PipelineError: as ``Delivery.artifact``, ``Target.live`` and the ledger raise them.
    """
    artifact = delivery.artifact()
    live = delivery.target.live()
    settings = delivery.target.settings()
    variables = delivery.config.variables(delivery.environment)
    newest = delivery.ledger.latest(1)
    former = newest[0].variables if newest else {}
    dropped = set(former) - set(variables)
    there = live.variables if live else {}
    foreign = sorted(set(there) - set(variables) - dropped - {RELEASE_VARIABLE})
    return Plan(
        environment=delivery.environment.name,
        artifact=artifact,
        live=live,
        settings=settings,
        variables=variables,
        dropped=tuple(sorted(dropped)),
        foreign=tuple(foreign),
        changes=tuple(_changes(delivery, artifact, live, settings, variables, dropped)),
    )


def _changes(
    delivery: Delivery,
    artifact: Artifact,
    live: Live | None,
    settings: dict[str, Any],
    variables: dict[str, str],
    dropped: set[str],
) -> list[Change]:
    if live is None:
        old_settings: dict[str, Any] = {}
        there: dict[str, str] = {}
        changes = [Change("code", "version", "", artifact.version), Change("model", "primary", "", artifact.model)]
    else:
        old_settings, there, changes = live.settings, live.variables, []
        if live.code_sha256 != artifact.code_sha256:
            ledger = delivery.ledger
            known = ledger.read(live.release).artifact if live.release in ledger.states() else {}
            changes.append(Change("code", "version", known.get("version", live.code_sha256), artifact.version))
            if known.get("model") != artifact.model:
                changes.append(Change("model", "primary", known.get("model", ""), artifact.model))
    for name, value in settings.items():
        if old_settings.get(name) != value:
            changes.append(Change("setting", name, str(old_settings.get(name, "")), str(value)))
    for name in sorted({*variables, *(dropped & set(there))}):
        if there.get(name) != variables.get(name):
            changes.append(Change("variable", name, there.get(name, ""), variables.get(name, "")))
    if not delivery.foundation.current:
        changes.append(Change("infrastructure", "infra/service.yaml", "as applied", "as in the tree"))
    return changes
