"""A service on the emulator whose releases are compared: how it is made, and what an A/B of it did."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from faults.harness import KEEP, Service
from tiny import TEMPLATE, Tiny

from ml_delivery.records import Experiment, Rule
from ml_delivery.release import comparing

# As the starters do.
HANDLER = """\
import json, os, pathlib

from ml_service import outcomes

RELEASE = json.loads((pathlib.Path(__file__).parent.parent / "release.json").read_text())
BAD = os.environ.get("BAD", "")


def handler(event, context):
    number = int(os.environ["RELEASE_NUMBER"])
    body, status = {"release": number, **RELEASE}, 500 if BAD == "500" else 200
    if event["rawPath"] == outcomes.PATH:
        body, status = outcomes.record(event["body"])
    headers = {"content-type": "application/json", outcomes.HEADER: str(number)}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}
"""
RULES = replace(KEEP, keep_days=30)
RULE = Rule("revenue", "request", "requests", "two-sided", 0.05, 5.0, 50, 40_000, 14)


def make(shared: Path, folder: Path) -> Service:
    """A service that is built and pushed."""
    tiny = Tiny(folder / "service", shared, "compared")
    shutil.copytree(TEMPLATE / "src/ml_service", tiny.root / "src/ml_service", ignore=shutil.ignore_patterns("__*__"))
    (tiny.root / "src/ml_service/__init__.py").touch()
    return Service(tiny, RULES, HANDLER)


@pytest.fixture(scope="module")
def pushed(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """For all tests of a file."""
    return make(shared, tmp_path_factory.mktemp("ab"))


@pytest.fixture
def service(pushed: Service) -> Service:
    """With two verified releases, of which the second one serves."""
    return prepare(pushed)


def prepare(service: Service) -> Service:
    """The same with two verified releases, of which the second one serves, and nothing else."""
    service.reset()
    service.rules = RULES
    service.deploy(NOTE="1")
    service.deploy(NOTE="2")
    return service


def start(service: Service, challenger: int = 0, rule: Rule = RULE) -> Experiment:
    return comparing.start(service.open(), rule, challenger, lambda _: None)


def stop(service: Service, winner: int = 0) -> Experiment:
    return comparing.stop(service.open(), winner, None, lambda _: None)


def weights(service: Service) -> dict[str, int]:
    found = service.open().deployer.traffic()
    assert found
    return {found.deployed: 100 - sum(found.weights.values()), **found.weights}


def events(service: Service) -> list[str]:
    """The states of A/Bs that the ledger has, each written once."""
    opened = service.open()
    listed = opened.cloud.client("s3").list_objects_v2(
        Bucket=opened.foundation.bucket, Prefix="releases/production/experiments/"
    )
    return [
        re.sub(r".*/(\d+)/\d+-", r"\1 ", one["Key"]).lstrip("0").removesuffix(".json")
        for one in listed.get("Contents", [])
    ]
