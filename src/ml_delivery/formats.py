"""How records are stored in the bucket, in the ledger and in ``build/``: each with its format and the package's version.

Every older format is read; a newer one is refused. Format 1 was written by services whose delivery code was copied from the
template: it has no stamp, and other names for some fields. Format 2 did not record which plan a release carried out, and how
many answers had a status of 5xx while it was watched; format 3, which semantic version an artifact's commit has; format 4 knew
no A/B, and a step had its share of the traffic in its name.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, TypeVar

from ml_delivery import __version__
from ml_delivery.errors import CloudError
from ml_delivery.masking import masked
from ml_delivery.records import (
    Artifact,
    Content,
    Differences,
    Layer,
    Manifest,
    Pruned,
    Replaced,
    Unimported,
)

if TYPE_CHECKING:
    from ml_delivery.records import Experiment, Release

__all__ = [
    "FORMAT",
    "Damaged",
    "artifact",
    "differences",
    "dump",
    "experiment",
    "manifest",
    "plain",
    "read",
    "release",
    "require_known",
    "step",
]

FORMAT = 5
# How deeply a record may be nested; none comes near it, and what Python can't read, or can't write again, is far above it.
DEPTH = 20
T = TypeVar("T")


def dump(record: Any, *, sort: bool = False) -> bytes:
    """A record as JSON, with its stamp: the format and the package's version."""
    return json.dumps({**_stamp(), **asdict(record)}, indent=1, sort_keys=sort).encode() + b"\n"


def read(place: str, body: bytes) -> dict[str, Any]:
    """The fields that ``dump`` wrote, without the stamp.

    Args:
        place: where ``body`` was found, for the message.
        body: the JSON.

    Raises:
        CloudError: it is damaged, or was written by a newer package.
    """
    try:
        found = json.loads(body)
        if not isinstance(found, dict):
            raise ValueError("not a JSON object")
        if not _shallow(found, DEPTH):
            raise ValueError(f"nested more than {DEPTH} deep")
    except (ValueError, RecursionError) as error:
        raise damaged(place, error) from error
    written, package = found.pop("format", 1), found.pop("package", "")
    if not isinstance(written, int) or written > FORMAT:
        raise CloudError(
            f"{place} was written by ml-delivery {package or 'of a later version'}, in format {written}; "
            f"this is {__version__}, which reads up to format {FORMAT}",
            next="invoke upgrade",
        )
    return found


class Damaged(CloudError):
    """An object that can't be read."""


def damaged(place: str, error: Exception) -> Damaged:
    """The error for an object that can't be read; ``objects.described`` adds how to restore it."""
    return Damaged(f"{place} can't be read: {type(error).__name__}: {error}")


def artifact(place: str, found: dict[str, Any]) -> Artifact:
    """An artifact from its fields, in any format.

    Raises:
        CloudError: a field is missing.
    """
    return _made(place, Artifact, {"location" if name == "key" else name: value for name, value in found.items()})


def release(place: str, found: dict[str, Any]) -> Release:
    """A release from its fields, in any format.

    Raises:
        CloudError: a field is missing.
    """
    from ml_delivery.records import Look, Release, Took

    try:
        known = {"deployed" if name == "version" else name: value for name, value in found.items()}
        known["artifact"] = artifact(place, known["artifact"])
        known["watched"] = tuple(Look(**{**look, "alarms": tuple(look["alarms"])}) for look in known.get("watched", ()))
        steps = known["steps"] if "steps" in known else _ordered(known.get("seconds", {}))
        known["steps"] = tuple(Took(**one) for one in steps)
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(place, error) from error
    return _made(place, Release, known)


# The steps in the order of a deploy: until format 4 they were stored by name. "shift" alone is the one to all traffic.
_ORDER = ("plan", "stage", "probe version", "shift", "watch", "probe live", "prune", "restore", "recover")


def step(name: str) -> tuple[str, int | None]:
    """A step's name and its percent of the traffic, from the name that it had until format 4, such as ``shift 10 %``."""
    found = re.fullmatch(r"(shift|watch) (\d+) %", name)
    return (found[1], int(found[2])) if found else (name, 100 if name == "shift" else None)


def _ordered(seconds: dict[str, float]) -> list[dict[str, Any]]:
    """The steps of a release until format 4, each share of the traffic shifted and then watched."""
    steps = [(*step(name), took) for name, took in seconds.items()]
    place = {name: number for number, name in enumerate(_ORDER)}
    first = place["shift"]
    steps.sort(key=lambda one: (first, one[1], place[one[0]]) if one[1] else (place.get(one[0], len(place)), 0, 0))
    return [{"name": name, "seconds": took, "weight": weight} for name, weight, took in steps]


def experiment(place: str, found: dict[str, Any]) -> Experiment:
    """An A/B from its fields.

    Raises:
        CloudError: a field is missing, or was written by a newer package.
    """
    from ml_delivery.records import Arm, Experiment, Measured, Reading, Rule

    def made(kind: type[T], fields: dict[str, Any]) -> T:
        require_known(place, kind, fields)
        return kind(**fields)

    try:
        known = {name: value for name, value in found.items() if name not in ("format", "package")}
        arms = {name: made(Arm, known[name]) for name in ("control", "challenger")}
        reading = known["reading"]
        if reading:
            measured = {name: made(Measured, reading[name]) for name in ("control", "challenger")}
            reading = made(Reading, {**reading, **measured})
        return made(Experiment, {**known, **arms, "rule": made(Rule, known["rule"]), "reading": reading})
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(place, error) from error


def plain(one: Release | Experiment) -> dict[str, Any]:
    """A record's fields with their stamp, to be stored inside another document; no secret is in its cause."""
    return {**_stamp(), **asdict(one), "cause": masked(one.cause)}


def manifest(place: str, found: dict[str, Any]) -> Manifest:
    """A manifest from its fields, in any format.

    Raises:
        CloudError: a field is missing.
    """
    found = {"target": "", **found}  # format 1 did not have it; its manifest belongs to an earlier commit anyway
    try:
        parts = {"contents": (Content, found["contents"]), "layers": (Layer, found["layers"])}
        known = found | {name: tuple(kind(**f) for f in listed) for name, (kind, listed) in parts.items()}
        known["base_layers"] = tuple(found.get("base_layers", ()))
        known["differences"] = differences(found.get("differences", {}))
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(place, error) from error
    return _made(place, Manifest, known)


def differences(found: dict[str, Any]) -> Differences:
    """Differences from their fields; those that a build recorded before there were any are empty."""
    kinds = {"pruned": Pruned, "replaced": Replaced, "unimported": Unimported}
    lists = {name: tuple(kind(**fields) for fields in found.get(name, ())) for name, kind in kinds.items()}
    return Differences(**lists, imported=found.get("imported", 0))


def require_known(place: str, kind: type[Any], found: dict[str, Any]) -> None:
    """Refuse fields that ``kind`` does not have: to rewrite the object without them would lose what a newer package keeps.

    Raises:
        CloudError: names the first of them.
    """
    unknown = set(found) - {field.name for field in fields(kind)}
    if unknown:
        raise CloudError(
            f"{place} has the field {min(unknown)!r}, which ml-delivery {__version__} does not know; a newer one wrote it",
            next="invoke upgrade",
        )


def _shallow(value: Any, depth: int) -> bool:
    """Whether ``value`` is nested at most ``depth`` deep."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_shallow(one, depth - 1) for one in inner) if inner else True


def _stamp() -> dict[str, Any]:
    return {"format": FORMAT, "package": __version__}


def _made(place: str, kind: type[T], found: dict[str, Any]) -> T:
    """An instance of ``kind`` from its fields, without fields of older formats that it no longer has."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(**{name: value for name, value in found.items() if name in names})
    except TypeError as error:
        raise damaged(place, error) from error
