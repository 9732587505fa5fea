"""The bill of materials, as CycloneDX 1.6: the packages with their licences and dependencies, the models, and the service.

``make`` describes the packages, which takes the library's time and is kept with the bundle; ``complete`` adds what differs
from commit to commit. There is no timestamp: one commit has one text.
"""

from __future__ import annotations

import hashlib
import json
import uuid
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cyclonedx.model.license import License
    from packaging.metadata import RawMetadata

    from ml_delivery.dependencies.locks import Pin
    from ml_delivery.models import Promoted

__all__ = ["complete", "make"]

CLASSIFIER = "License ::"
NOTHING = ("", "UNKNOWN", "OSI Approved")  # what old tools write where nothing is declared
# The names in classifiers that mean exactly one licence; others, such as "BSD License", do not say which.
SPDX = {
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}


def make(service: str, pins: list[Pin], wheels: list[Path], direct: frozenset[str], target: dict[str, str]) -> str:
    """The packages, their licences as the wheels declare them, and what each depends on, as JSON; without the service's version.

    Args:
        service: the service's name.
        pins: the packages.
        wheels: the wheel of each, in the same order.
        direct: the names of those that the service itself declares.
        target: the values of markers, by which a wheel's requirements apply.
    """
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    root = Component(name=service, type=ComponentType.APPLICATION, bom_ref=service)
    bom = Bom()
    bom.metadata.component = root
    described = {pin.name: _metadata(wheel) for pin, wheel in zip(pins, wheels, strict=True)}
    parts = {
        pin.name: Component(
            name=pin.name,
            version=pin.version,
            type=ComponentType.LIBRARY,
            bom_ref=f"{pin.name}=={pin.version}",
            purl=PackageURL("pypi", name=pin.name, version=pin.version),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=wheel.parent.name)],
            licenses=_licences(described[pin.name]),
        )
        for pin, wheel in zip(pins, wheels, strict=True)
    }
    needed = {name: _needs(found, target) & set(parts) for name, found in described.items()}
    for name, part in parts.items():
        bom.components.add(part)
        bom.register_dependency(part, [parts[other] for other in sorted(needed[name])])
    # Also what no other package needs: a lockfile may be made of more than is declared.
    top = direct & set(parts) | set(parts).difference(*needed.values())
    bom.register_dependency(root, [parts[name] for name in sorted(top)])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["serialNumber"], document["metadata"]["timestamp"]  # random, and of now
    return json.dumps(document)


def complete(made: str, version: str, models: Iterable[Promoted]) -> str:
    """The whole bill: what ``make`` returned, with the service's version and its models, under a number of its content.

    Args:
        made: what ``make`` returned.
        version: the source's (``Source.version``).
        models: the promoted models.
    """
    document = json.loads(made)
    root = document["metadata"]["component"]
    root["version"] = version
    components, dependencies = document.setdefault("components", []), document["dependencies"]
    (own,) = [entry for entry in dependencies if entry["ref"] == root["bom-ref"]]
    for model in models:
        digest = model.digest.removeprefix("sha256:")
        described = {
            "bom-ref": f"model:{model.role}",
            "type": "machine-learning-model",
            "name": model.role,
            "version": digest[:12],
            "hashes": [{"alg": "SHA-256", "content": digest}],
            "properties": [{"name": "ml-delivery:file", "value": model.file}],
        }
        components.append(described)
        dependencies.append({"ref": described["bom-ref"]})
        own.setdefault("dependsOn", []).append(described["bom-ref"])
    content = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}"
    return json.dumps(document, indent=2) + "\n"


def _metadata(wheel: Path) -> RawMetadata:
    """What a wheel says of itself; nothing where it has no metadata."""
    from packaging.metadata import parse_email

    with zipfile.ZipFile(wheel) as opened:
        names = [n for n in opened.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1]
        return parse_email(opened.read(names[0]) if names else b"")[0]


def _licences(found: RawMetadata) -> list[License]:
    """The licences that a package declares: as an SPDX expression, else by its classifiers, else by the field's text.

    https://packaging.python.org/en/latest/specifications/core-metadata/#license-expression
    """
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.license import DisjunctiveLicense, LicenseAcknowledgement, LicenseExpression

    declared, factory = LicenseAcknowledgement.DECLARED, LicenseFactory()

    def named(name: str) -> License:
        return factory.make_from_string(SPDX.get(name, name), license_acknowledgement=declared)

    text = found.get("license", "").strip()
    text = "" if text in NOTHING else text
    words = found.get("license_expression", "") or (SPDX.get(text) or text if "\n" not in text else "")
    if words:
        one = named(words)
        if isinstance(one, LicenseExpression) or (isinstance(one, DisjunctiveLicense) and one.id):
            return [one]
    ends = (line.rpartition(" :: ")[2] for line in found.get("classifiers", []) if line.startswith(CLASSIFIER))
    if listed := [name for name in ends if name not in NOTHING]:
        # Of several alternatives none is an expression: CycloneDX takes either one of these, or a list of licences.
        return [
            DisjunctiveLicense(id=SPDX.get(n), name=None if n in SPDX else n, acknowledgement=declared) for n in listed
        ]
    return [named(words)] if words else []


def _needs(found: RawMetadata, target: dict[str, str]) -> set[str]:
    """The names of the packages that one requires on the target; with any of its extras, since a lockfile names none."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    names: set[str] = set()
    for line in found.get("requires_dist", []):
        try:
            wanted = Requirement(line)
        except InvalidRequirement:  # of a wheel that is older than the specification
            continue
        extras = ["", *found.get("provides_extra", [])]
        if not wanted.marker or any(wanted.marker.evaluate({**target, "extra": extra}) for extra in extras):
            names.add(canonicalize_name(wanted.name))
    return names
