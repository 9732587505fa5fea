"""What the tests share: one embedded AWS for all that don't harm it, and one cache of wheels and bytecode."""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.session
import contract
import emulated
import pytest
from botocore.exceptions import ClientError
from clusters import Cluster
from emulated import project
from github_api import GitHub
from podded import SLIM
from tiny import BASE, Tiny
from xdist.scheduler import LoadFileScheduling

from embedded_aws.kubernetes import machine
from ml_delivery import emulator
from ml_delivery.account import github
from ml_delivery.containers import engines
from ml_delivery.errors import PipelineError

ROOT = Path(__file__).parent.parent
KUBERNETES = os.environ.get("PIPELINE_CLUSTER", "")  # as tests/cluster.sh sets it
# What is not a test itself, and asserts.
pytest.register_assert_rewrite(*(file.stem for file in Path(__file__).parent.glob("contract_*.py")))
# Each session of botocore parses the services' models anew; a command opens one session, the tests open thousands.
botocore.session.create_loader = functools.cache(botocore.loaders.create_loader)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the flag of a contract: the day on which ``nox -s aws`` found it kept by a real account, or "never"."""
    config.addinivalue_line("markers", "contract(validated): a contract of AWS, and when it was validated against AWS")


# Files that share a cluster, by how they begin, and the project whose embedded AWS has it while it runs.
KINDS = ("tests/test_eks", "tests/test_kubernetes")
CLUSTERS: dict[str, Path] = {}


def kind_of(item: str) -> str:
    return next((kind for kind in KINDS if item.startswith(kind)), "")


class Together(LoadFileScheduling):  # type: ignore[misc]
    """One worker runs a file, and one runs all files that share a cluster, which takes half a minute to start."""

    def _split_scope(self, nodeid: str) -> str:
        return kind_of(nodeid) or str(super()._split_scope(nodeid))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A cluster ends with the last test of its kind: at rest it takes a tenth of two processors."""
    kind = kind_of(item.nodeid)
    if kind in CLUSTERS and not (nextitem and kind_of(nextitem.nodeid) == kind):
        emulator.down(CLUSTERS.pop(kind))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: searching it for cycles, again and again, is a fifth of a worker's processor time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Require the flag's value of each contract; a real account gets nothing but contracts."""
    for item in items:
        flag = item.get_closest_marker("contract")
        if flag and not re.fullmatch(r"never|\d{4}-\d\d-\d\d", flag.kwargs.get("validated", "")):
            raise pytest.UsageError(f"{item.nodeid}: contract(validated=...) is neither a day nor never")
        if contract.WHERE != "embedded" and not flag:
            item.add_marker(pytest.mark.skip(reason="no contract of AWS"))


@pytest.fixture(scope="session", autouse=True)
def _cache() -> None:
    """Keep what was fetched from one run to the next, under the checkout; hide the developer's own settings."""
    hidden = ("PIPELINE_",) if contract.WHERE == "aws" else ("PIPELINE_", "AWS_")
    for name in [n for n in os.environ if n.startswith(hidden)]:
        if name != "AWS_CA_BUNDLE":
            del os.environ[name]
    # Started in the background, the tests may ignore Ctrl-C or a closed terminal, and what they start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ["PIPELINE_CACHE"] = str(ROOT / ".pipeline" / "cache")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A ``.pipeline`` folder that tiny services link to; its embedded AWS ends with the session."""
    folder = tmp_path_factory.mktemp("shared")
    yield folder
    (folder.parent / "root").mkdir()
    (folder.parent / "root/.pipeline").symlink_to(folder)
    emulator.down(folder.parent / "root")


@pytest.fixture
def tiny(tmp_path: Path, shared: Path, request: pytest.FixtureRequest) -> Tiny:
    """A tiny service with a name of its own on the shared embedded AWS."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[-20:].strip("-")
    return Tiny(tmp_path / "service", shared, f"t{abs(hash(request.node.name)) % 10**6}-{name}"[:32].rstrip("-"))


@pytest.fixture
def tiny_alone(tmp_path: Path) -> Iterator[Tiny]:
    """A tiny service with an embedded AWS of its own, to be harmed."""
    (tmp_path / "own").mkdir()
    service = Tiny(tmp_path / "service", tmp_path / "own", "alone")
    yield service
    emulator.down(service.root)


@pytest.fixture(scope="session")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models that were trained with the smallest budget, judged and promoted."""
    from service import promotion, report, training

    root = tmp_path_factory.mktemp("promoted")
    assert training.main(["--root", str(root), "--trials", "1"]) == 0
    assert report.main(["--root", str(root)]) == 0
    assert promotion.main(["--root", str(root)]) == 0
    return root


@pytest.fixture
def port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[emulator.Running]:
    """The embedded AWS; with ``CONTRACT=aws`` the real account, which has no endpoint."""
    if contract.WHERE == "aws":
        yield emulator.Running(endpoint="", pid=0, account=contract.real().number, access_key="", secret_key="")
        while emulated.MADE:
            with contextlib.suppress(ClientError):
                emulated.MADE.pop()()
        return
    root = project(tmp_path_factory.mktemp("embedded"), tmp_path_factory.mktemp("pipeline"))
    yield emulator.up(root)
    emulator.down(root)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Path]:
    root = project(tmp_path / "alone", tmp_path / "alone-pipeline")
    yield root
    emulator.down(root)


@pytest.fixture(scope="session")
def engine() -> engines.Engine:
    """A container engine that answers and has Lambda's base image, as ``tests/engine.sh`` starts one.

    Where there is none, the tests that need it are skipped, and fail where CI is set.
    """
    try:
        found = engines.find()
        found.inspect(BASE)
    except PipelineError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"tests/engine.sh starts an engine for this: {error}")
    return found


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What an embedded AWS starts a cluster with; where it can't, such tests are skipped, and fail where CI is set."""
    try:
        machine.hyperkube(KUBERNETES, tmp_path_factory.mktemp("programs"))
    except machine.NoKubernetes as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"tests/cluster.sh prepares a machine for this: {error}")
    return KUBERNETES


@pytest.fixture(scope="session")
def cluster(kubernetes: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on an embedded AWS of its own, for all tests that don't harm it."""
    root = project(tmp_path_factory.mktemp("cluster") / "root", tmp_path_factory.mktemp("cluster-pipeline"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PIPELINE_CLUSTER", kubernetes)
        found = Cluster(emulator.up(root))
    CLUSTERS["tests/test_kubernetes"] = root
    found.create()
    yield found
    emulator.down(root)


@pytest.fixture(scope="session")
def slim() -> None:
    """A container engine with Python's slim image, as ``tests/engine.sh`` starts one."""
    try:
        engines.find().inspect(SLIM)
    except PipelineError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"tests/engine.sh starts an engine for this: {error}")


@pytest.fixture(scope="session")
def pods_home(kubernetes: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A ``.pipeline`` folder that services on a cluster link to; its embedded AWS ends with the last test of them."""
    folder = tmp_path_factory.mktemp("pods") / "pipeline"
    folder.mkdir()
    root = project(folder.parent / "root", folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PIPELINE_CLUSTER", kubernetes)
        emulator.up(root)
    CLUSTERS["tests/test_eks"] = root
    yield folder
    emulator.down(root)


@pytest.fixture
def boxed(tiny: Tiny, engine: engines.Engine) -> Tiny:
    """A tiny service whose target is a container image, which an engine builds."""
    assert engine
    tiny.box(by_engine=True)
    return tiny


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """GitHub's API, without GitHub's CLI."""
    server = GitHub()
    monkeypatch.setenv("GITHUB_API_URL", server.url)
    for name in ("GH_TOKEN", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(github.shutil, "which", lambda name: None)
    yield server
    server.shutdown()
    server.server_close()
