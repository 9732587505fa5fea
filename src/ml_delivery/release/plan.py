"""What a deploy would change. ``invoke plan`` prints the same object that ``invoke deploy`` carries out."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_delivery.errors import ConfigError, Refused
from ml_delivery.records import DIGEST_VARIABLE, RELEASE_VARIABLE
from ml_delivery.release import rollout, words
from ml_delivery.release.results import Change, Plan

if TYPE_CHECKING:
    from ml_delivery.records import Artifact, Live, Release, Settings
    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.head import Head

__all__ = ["check", "digest_of", "make", "wants"]


def make(delivery: Delivery) -> Plan:
    """Compare what the branch and ``pipeline.toml`` define with what is live.

    Raises:
        PipelineError: as ``Delivery.artifact``, ``Deployer.live`` and the ledger raise them.
    """
    artifact = delivery.artifact()
    live = delivery.deployer.live()
    head = delivery.ledger.head()
    settings = delivery.deployer.settings()
    variables = delivery.environment.variables
    dropped = set(head.owned) - set(variables)
    there = live.variables if live else {}
    foreign = sorted(set(there) - set(variables) - dropped - {RELEASE_VARIABLE, DIGEST_VARIABLE})
    shifts = rollout.plan(delivery)
    plan = Plan(
        environment=delivery.environment.name,
        artifact=artifact,
        # A variable that something else set may be a secret, and is not part of the plan: its name is enough.
        live=live and replace(live, variables={n: v for n, v in there.items() if n not in foreign}),
        settings=settings,
        variables=variables,
        dropped=tuple(sorted(dropped)),
        foreign=tuple(foreign),
        follows=head.kept[0].number if head.kept else 0,
        changes=tuple(_changes(delivery, head, artifact, live, settings, variables, dropped)),
        rollout=shifts if live else replace(shifts, weights=()),
    )
    return replace(plan, digest=_digest(asdict(plan)))


def wants(delivery: Delivery, release: Release) -> bool:
    """Whether a deploy started now would have the same content as ``release``."""
    return (
        release.artifact == delivery.artifact()
        and release.settings == delivery.deployer.settings()
        and release.variables == delivery.environment.variables
    )


def check(approved: str, plan: Plan, where: str) -> None:
    """Check that ``plan``, which the artifact's digest is part of, is the approved one, given by its digest or as a file.

    Raises:
        Refused: it is another plan; lists what has changed since, if a file was given.
        ConfigError: as ``digest_of`` raises it.
    """
    if digest_of(approved) == plan.digest:
        return
    if approved.startswith("sha256:"):
        differences = [f"now it is: {words.change(change, plan)}" for change in plan.changes] or [
            "now there is nothing to do"
        ]
        differences.append(f"now the artifact is: {plan.artifact.digest}")
    else:
        differences = _differences(_read(approved), json.loads(json.dumps(asdict(plan))))
    raise Refused(
        f"this is not the plan that was approved ({digest_of(approved)[:19]}):\n  " + "\n  ".join(differences),
        next=f"invoke plan {where}, and have it approved again",
    )


def digest_of(approved: str) -> str:
    """The digest of an approved plan, which is given by its digest or as a file.

    Raises:
        ConfigError: it is empty or no whole digest, or the file can't be read as a plan, or its content is not what its digest is
            of: who reads a file approves its content. No approval is never taken for "any".
    """
    if not approved.strip():
        raise ConfigError("--plan", ["empty; write the digest that invoke plan showed"])
    found = None if approved.startswith("sha256:") else _read(approved)
    digest = str(found["digest"]) if found else approved
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ConfigError("--plan", [f"{digest!r} is not a digest; write sha256: and all of its 64 hex digits"])
    if found and _digest(found) != digest:
        raise ConfigError(
            "--plan", [f"{approved!r} was changed after invoke plan --json wrote it: its digest is of another plan"]
        )
    return digest


def _digest(plan: dict[str, Any]) -> str:
    """The digest of a plan's fields."""
    content = {name: plan[name] for name in Plan.__dataclass_fields__} | {"digest": ""}
    if live := content["live"]:
        traffic = {
            name: value for name, value in live["traffic"].items() if name != "revision"
        }  # changes with each shift
        content["live"] = {**live, "traffic": traffic}
    return "sha256:" + hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        if set(Plan.__dataclass_fields__) <= set(found):
            _digest(found)
            return found
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    raise ConfigError("--plan", [f"{path!r} is neither a digest (sha256:…) nor a file that invoke plan --json wrote"])


def _differences(old: Any, new: Any, place: str = "") -> list[str]:
    """The differences between two plans, one line per value, with its path."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for name in sorted({*old, *new} - ({"revision"} if place else {"changes", "cost", "digest", "drift"}))
            for line in _differences(old.get(name), new.get(name), f"{place}.{name}".lstrip("."))
        ]
    return [] if old == new else [f"{place} was {old!r}, is {new!r}"]


def _changes(
    delivery: Delivery,
    head: Head,
    artifact: Artifact,
    live: Live | None,
    settings: Settings,
    variables: dict[str, str],
    dropped: set[str],
) -> list[Change]:
    if live is None:
        old_settings: Settings = {}
        there: dict[str, str] = {}
        changes = [Change("code", "version", "", artifact.version)]
        if artifact.model:
            changes.append(Change("model", "primary", "", artifact.model))
    else:
        old_settings, there, changes = live.settings, live.variables, []
        if live.digest != artifact.digest:
            release = delivery.ledger.find(live.release)
            known = release.artifact if release else None
            if known and known.version != artifact.version:
                changes.append(Change("code", "version", known.version, artifact.version))
            else:
                changes.append(Change("code", "digest", live.digest, artifact.digest))
            if (known.model if known else "") != artifact.model:
                changes.append(Change("model", "primary", known.model if known else "", artifact.model))
        was = head.live or head.retired
        if (was and live.release != head.live) or live.traffic.weights:
            changes.append(Change("traffic", "live", str(was)))
    for name, value in settings.items():
        if old_settings.get(name) != value:
            changes.append(Change("setting", name, str(old_settings.get(name, "")), str(value)))
    for name in sorted({*variables, *(dropped & set(there))}):
        if there.get(name) != variables.get(name):
            changes.append(Change("variable", name, there.get(name, ""), variables.get(name, "")))
    if not delivery.foundation.current:
        changes.append(Change("infrastructure", delivery.name))
    return changes
