"""The bill of materials: valid by CycloneDX's own validator, true of what is packed, and the same text for the same commit."""

from __future__ import annotations

import json
import shutil
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from test_build import HANDLER
from tiny import PRICING, Tiny

from ml_delivery.artifact import build
from ml_delivery.dependencies import locks
from ml_delivery.dependencies.locks import Pin
from ml_delivery.models import Promoted
from ml_delivery.packing import sbom

MODEL = Promoted("primary", f"sha256:{'ab' * 32}", "models/ab.onnx", b"")
OTHER = Promoted("backup", f"sha256:{'cd' * 32}", "models/cd.onnx", b"")


def fault(text: str) -> str:
    """What CycloneDX's validator finds; empty for nothing."""
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return str(found or "")


def made(folder: Path, packages: dict[str, str], direct: set[str], models: tuple[Promoted, ...] = ()) -> dict[str, Any]:
    """The bill of packages, each with its METADATA; it is valid."""
    pins, wheels = [], []
    for number, (name, metadata) in enumerate(packages.items()):
        place = folder / f"{number:064x}"
        place.mkdir()
        with zipfile.ZipFile(place / f"{name}-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "")
            if metadata:
                wheel.writestr(f"{name}-1.dist-info/METADATA", f"Metadata-Version: 2.4\nName: {name}\n{metadata}")
        pins.append(Pin(name, "1", "", ()))
        wheels.append(place / f"{name}-1-py3-none-any.whl")
    parts = sbom.make("service", pins, wheels, frozenset(direct), locks.markers("3.12", "x86_64"))
    text = sbom.complete(parts, "f" * 40, models)
    assert fault(text) == ""
    found: dict[str, Any] = json.loads(text)
    return found


def graph(bill: dict[str, Any]) -> dict[str, list[str]]:
    return {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}


@pytest.fixture
def service(tmp_path: Path) -> Tiny:
    """A tiny service with the starter's packages, and the lockfile's declarations."""
    (tmp_path / "state").mkdir()
    service = Tiny(tmp_path / "service", tmp_path / "state", "billed")
    service.write("src/service/handler.py", HANDLER)
    service.write("requirements/serve.txt", (PRICING / "requirements/serve.txt").read_text())
    service.write("pyproject.toml", (PRICING / "pyproject.toml").read_text())
    service.commit()
    return service


def test_bill_of_a_service_is_valid_and_whole(service: Tiny) -> None:
    """Every package has its licences and what it needs, the root its version and what it declares; the model is there."""
    manifest = build.build(service.config)
    text = (service.root / "build/sbom.cdx.json").read_text()
    assert fault(text) == ""
    bill = json.loads(text)
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"], root["type"]) == ("billed", manifest.version, "application")
    packages = {c["name"]: c for c in bill["components"] if c["type"] == "library"}
    assert all(package["licenses"] for package in packages.values())
    assert packages["flask"]["licenses"] == [{"license": {"id": "BSD-3-Clause", "acknowledgement": "declared"}}]
    refs = {c["name"]: c["bom-ref"] for c in packages.values()}
    edges = graph(bill)
    declared = {"apig-wsgi", "flask", "numpy", "onnxruntime", "orjson"}
    assert set(edges["billed"]) == {*(refs[name] for name in declared), "model:primary"}
    assert refs["werkzeug"] in edges[refs["flask"]]
    assert refs["numpy"] in edges[refs["onnxruntime"]]
    (model,) = (c for c in bill["components"] if c["type"] == "machine-learning-model")
    assert f"sha256:{model['hashes'][0]['content']}" == manifest.model
    assert uuid.UUID(bill["serialNumber"].removeprefix("urn:uuid:")).version == 5


def test_number_is_of_the_content(service: Tiny) -> None:
    """One commit has one text, whoever builds; another commit has another number."""
    texts = []
    for _ in range(2):
        build.build(service.config)
        texts.append((service.root / "build/sbom.cdx.json").read_text())
    service.write("src/service/more.py", "")
    service.commit()
    build.build(service.config)
    texts.append((service.root / "build/sbom.cdx.json").read_text())
    numbers = [json.loads(text)["serialNumber"] for text in texts]
    assert texts[0] == texts[1]
    assert numbers[0] != numbers[2]


def test_validator_refuses_what_is_wrong(tmp_path: Path) -> None:
    """It is not a validator that accepts everything."""
    bill = made(tmp_path, {"one": ""}, {"one"})
    bill["components"][0]["licenses"] = [{"license": {"id": "no such licence"}}]
    assert "no such licence" in fault(json.dumps(bill))


def test_service_without_packages_and_models_has_a_bill(tmp_path: Path) -> None:
    """Nothing but the root, with its version; with models, only these."""
    assert graph(made(tmp_path, {}, set())) == {"service": []}
    bill = made(tmp_path, {}, set(), (MODEL, OTHER))
    assert [c["name"] for c in bill["components"]] == ["primary", "backup"]
    assert graph(bill)["service"] == ["model:primary", "model:backup"]


DECLARED = {"acknowledgement": "declared"}


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ("License-Expression: Apache-2.0 OR MIT\n", [{"expression": "Apache-2.0 OR MIT", **DECLARED}]),
        ("License-Expression: MIT\nLicense: something else\n", [{"license": {"id": "MIT", **DECLARED}}]),
        ("License: MIT License\n", [{"license": {"id": "MIT", **DECLARED}}]),
        ("License: mit\n", [{"license": {"id": "MIT", **DECLARED}}]),
        ("License: My own words\n", [{"license": {"name": "My own words", **DECLARED}}]),
        ("License: UNKNOWN\n", None),
        ("License: Copyright (c) A\n        All rights\nClassifier: License :: OSI Approved :: BSD License\n", [
            {"license": {"name": "BSD License", **DECLARED}}]),
        ("Classifier: License :: OSI Approved\n", None),
        ("Classifier: License :: OSI Approved :: MIT License\nClassifier: License :: Public Domain\n", [
            {"license": {"id": "MIT", **DECLARED}}, {"license": {"name": "Public Domain", **DECLARED}}]),
        ("License: BSD\nClassifier: License :: OSI Approved :: ISC License (ISCL)\n", [
            {"license": {"id": "ISC", **DECLARED}}]),
        ("License-Expression: not (an expression\n", [{"license": {"name": "not (an expression", **DECLARED}}]),
        ("License: é\n", [{"license": {"name": "é", **DECLARED}}]),
        ("", None),
    ],
)  # fmt: skip
def test_licences_are_those_that_are_declared(
    tmp_path: Path, metadata: str, wanted: list[dict[str, Any]] | None
) -> None:
    """By expression, identifier, classifier or words, and none where none is declared; the bill is valid with each."""
    (found,) = made(tmp_path, {"one": metadata}, {"one"})["components"]
    assert found.get("licenses") == wanted


def test_graph_is_of_what_is_packed_for_the_target(tmp_path: Path) -> None:
    """Requirements of other platforms, or that are not packed, are left out; those of extras count where they are; cycles hold."""
    needs = {
        "top": "Requires-Dist: Under_Score>=1\nRequires-Dist: absent\nRequires-Dist: win ; sys_platform == 'win32'\n",
        "under-score": "Requires-Dist: cycle\nProvides-Extra: fast\nRequires-Dist: win ; extra == 'fast'\n",
        "cycle": "Requires-Dist: under-score\nRequires-Dist: this is (no requirement\n",
        "win": "",
        "alone": "",
    }
    bill = made(tmp_path, needs, {"top", "win"})
    assert graph(bill) == {
        "service": ["alone==1", "top==1", "win==1"],
        "top==1": ["under-score==1"],
        "under-score==1": ["cycle==1", "win==1"],
        "cycle==1": ["under-score==1"],
        "win==1": [],
        "alone==1": [],
    }


def test_declared_packages_are_those_that_the_lockfile_was_made_of(service: Tiny) -> None:
    """A lockfile that was made before pyproject.toml changed says nothing of what is declared now."""
    lock = Path(shutil.copy(service.root / "requirements/serve.txt", service.root))
    assert locks.direct(lock) == {"apig-wsgi", "flask", "numpy", "onnxruntime", "orjson"}
    service.replace("pyproject.toml", '"flask>=3.1"', '"flask>=3.0"')
    assert locks.direct(lock) == frozenset()
    (service.root / "pyproject.toml").unlink()
    assert locks.direct(lock) == frozenset()
