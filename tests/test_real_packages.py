"""A slice of ``benchmarks/packages.py``: small packages of each kind, packed, compared with pip's tree, imported and run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from made_wheels import unpacked
from tiny import PRICING, ROOT, Tiny

from ml_delivery.artifact import build
from ml_delivery.dependencies import locks, wheels
from ml_delivery.targets.lambda_zip import TARGET

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
# Each shows what it is here for: a namespace of two packages, entry points and names that are read at run time, a stub that is
# read at run time, tests that are imported, and data.
ASK = """
import importlib.metadata, json, pathlib, sys
sys.path.insert(0, sys.argv[1])
import google.api.http_pb2, google.protobuf.message, librosa, numpy.testing
from opentelemetry import context
print(json.dumps([
    context.get_current() == {},
    sorted(importlib.metadata.packages_distributions()["google"]),
    "stft" in dir(librosa),
    numpy.testing.assert_equal(1, 1),
    importlib.metadata.version("qrcode"),
    (pathlib.Path(sys.argv[1]) / "share/man/man1/qr.1").is_file(),
]))
"""


@pytest.fixture(scope="module")
def packages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("packages", ROOT / "benchmarks/packages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["packages"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A built service that depends on the slice, and on the numpy of the starter."""
    folder = tmp_path_factory.mktemp("slice")
    (folder / "state").mkdir()
    made = Tiny(folder / "service", folder / "state", "slice")
    lines = (PRICING / "requirements/serve.txt").read_text().replace("\\\n", "").splitlines()
    numpy = "".join(f"{line}\n" for line in lines if line.startswith("numpy=="))
    made.write("requirements/serve.txt", (ROOT / "tests/data/packages.txt").read_text() + numpy)
    made.commit()
    build.build(made.config)
    return made


@pytest.fixture(scope="module")
def task(service: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact, unpacked and read-only."""
    return unpacked(service.root / "build/artifact.zip", tmp_path_factory.mktemp("task"))


def test_tree_is_pips(service: Tiny, packages: ModuleType, tmp_path: Path) -> None:
    """Name, mode and bytes of each file are those of pip's own tree, but for what is pruned, compiled or noted by pip."""
    lock = service.root / "requirements/serve.txt"
    pins = locks.for_target(locks.read(lock), VERSION, "x86_64")
    target = wheels.Platform(VERSION, "x86_64", TARGET.glibc(VERSION))
    found = wheels.fetch(pins, target, Path(os.environ["PIPELINE_CACHE"], "wheels"))
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target"]
    subprocess.run([*words, str(tmp_path / "pips"), *map(str, found)], check=True, capture_output=True)
    row = packages.Row("slice")
    task = unpacked(service.root / "build/artifact.zip", tmp_path / "ours", sealed=False)
    packages.trees(task, tmp_path / "pips", row)
    packages.records(task, row)
    own = [line for line in row.faults if "is in no RECORD" in line]
    assert [line for line in row.faults if line not in own] == []
    assert all(line.startswith(("model.lock", "models/", "release.json", "service/")) for line in own)
    assert row.launchers == 2  # qr and f2py
    assert [line for line in row.notes if not line.startswith(("has service/", "has model", "has release.json"))] == []


def test_every_package_is_imported(service: Tiny) -> None:
    """The build imported each package, and reports it."""
    found = build.last(service.root).differences
    assert found.imported >= 10
    assert (found.unimported, found.replaced) == ((), ())
    assert {one.package for one in found.pruned} >= {"numpy", "greenlet"}


def test_packages_work_from_a_read_only_folder(task: Path) -> None:
    """What each package reads at run time is there."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ASK, str(task)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    google = ["googleapis-common-protos", "protobuf"]
    assert json.loads(done.stdout) == [True, google, True, None, "7.4.2", True]


def test_program_in_a_wheel_runs(task: Path) -> None:
    """A program that a wheel brings can be run as it is unpacked, and so can a script, in a Python of the runtime's."""
    done = subprocess.run([task / "bin/dumb-init", "echo", "42"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "42\n")
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(task)}
    done = subprocess.run([task / "bin/jsonpointer", "--version"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
