"""The bill of materials, as CycloneDX 1.6."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.dependencies.locks import Pin

__all__ = ["make"]


def make(service: str, pins: list[Pin], wheels: list[Path], key: str) -> str:
    """The bill of materials of a service's third-party packages, as JSON; the same packages give the same text.

    Args:
        service: the service's name.
        pins: the packages.
        wheels: the wheel of each, in the same order.
        key: a hex digest of all inputs, from which the serial number is derived; there is no timestamp.
    """
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    root = Component(name=service, type=ComponentType.APPLICATION, bom_ref=service)
    bom = Bom(serial_number=UUID(hex=key[:32], version=4))
    bom.metadata.component = root
    parts = []
    for pin, wheel in zip(pins, wheels, strict=True):
        part = Component(
            name=pin.name,
            version=pin.version,
            type=ComponentType.LIBRARY,
            bom_ref=f"{pin.name}=={pin.version}",
            purl=PackageURL("pypi", name=pin.name, version=pin.version),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=wheel.parent.name)],
        )
        bom.components.add(part)
        parts.append(part)
    bom.register_dependency(root, parts)
    # The library adds a timestamp, which would make each build differ.
    bom.metadata.timestamp = None  # type: ignore[assignment]
    return str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"
