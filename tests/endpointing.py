"""Services on a SageMaker endpoint of the embedded AWS, and their users."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import endpointed
import podded
import pytest
from botocore.config import Config as Options
from faults.harness import Service
from steady import THREADS, Steady
from tiny import Tiny

from ml_delivery.containers import engines
from ml_delivery.errors import PipelineError
from ml_delivery.keys import Deploy
from ml_delivery.targets.sagemaker.deployer import SagemakerDeployer

KEEP = Deploy(keep=1, keep_days=0)


@contextlib.contextmanager
def with_base(folder: Path) -> Iterator[None]:
    """Let this machine's container engine have the base image, in a place of its own in ``folder`` where it needs no daemon.

    Raises:
        PipelineError: there is no engine.
    """
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        endpointed.base(engines.find(), folder)
        yield


@pytest.fixture(scope="module")
def based(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A container engine with a base image."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(with_base(tmp_path_factory.mktemp("engine")))
        except PipelineError as error:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"an engine builds the image: {error}")
        yield


@pytest.fixture(scope="module")
def root() -> None:
    """The emulator without an engine needs root."""
    if os.geteuid() != 0 and not os.environ.get("DOCKER_HOST"):
        pytest.skip("only root runs a container without an engine")


@pytest.fixture
def service(based: None, root: None, tiny: Tiny) -> Iterator[Tiny]:
    """A tiny service whose target is an endpoint; what it left running is ended."""
    endpointed.endpoint(tiny)
    yield tiny
    sagemaker(tiny).endpoint.delete()


def sagemaker(service: Tiny) -> SagemakerDeployer:
    found = service.open().deployer
    assert isinstance(found, SagemakerDeployer)
    return found


def ask(service: Tiny, path: str, deployed: str = "") -> Any:
    answer = sagemaker(service).call(path, deployed)
    assert (answer.status, answer.fault) == (200, ""), answer
    return json.loads(answer.body)


def variants(service: Tiny) -> dict[str, float]:
    """The endpoint's variants with their weights."""
    state = sagemaker(service).endpoint.read()
    return {one.name: one.weight for one in state.variants.values()} if state else {}


@contextlib.contextmanager
def users(service: Tiny) -> Iterator[list[str]]:
    """Users call what is live all the time; what failed."""
    failed: list[str] = []
    done, deployer = threading.Event(), sagemaker(service)
    runtime = deployer.context.cloud.client("sagemaker-runtime")

    def call() -> None:
        while not done.wait(0.02):
            try:
                runtime.invoke_endpoint(
                    EndpointName=deployer.names.endpoint, Body=b"{}", CustomAttributes="GET /version"
                )
            except Exception as error:  # whatever it is, a user has no answer
                failed.append(str(error))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        done.set()
        for thread in threads:
            thread.join()


class Varied(Service):
    """One built and pushed service on an endpoint, whose releases differ by their variables; with BAD it does not start."""

    def __init__(self, tiny: Tiny, rules: Deploy = KEEP) -> None:
        endpointed.endpoint(tiny)
        bad = "    if os.environ.get('BAD'):\n        raise ValueError('no such luck')\n"
        tiny.replace("src/service/app.py", podded.CREATED, podded.CREATED + bad)
        tiny.commit()
        tiny.push()
        self.tiny, self.rules, self.name = tiny, rules, f"{tiny.name}-production"
        self._opened = tiny.open()
        os.register_at_fork(after_in_child=self._forked)

    @property
    def deployer(self) -> SagemakerDeployer:
        """A deployer that has read nothing yet."""
        found = self.open().deployer
        assert isinstance(found, SagemakerDeployer)
        return found

    def unused(self) -> set[str]:
        """Configurations of the endpoint that it does not use."""
        listed = self.deployer.client.list_endpoint_configs(NameContains=self.name)["EndpointConfigs"]
        state = self.deployer.endpoint.read()
        return {one["EndpointConfigName"] for one in listed} - ({state.config} if state else set())


class Callers(Steady):
    """Users of the endpoint."""

    def __init__(self, service: Varied, rate: float = 100.0) -> None:
        super().__init__(service, rate, "/version")

    def caller(self, service: Service, path: str) -> Callable[[], str]:
        cloud = service.open().cloud
        once = Options(retries={"total_max_attempts": 1}, max_pool_connections=THREADS)
        runtime = cloud._session.create_client("sagemaker-runtime", endpoint_url=cloud._endpoint, config=once)
        asked = {"EndpointName": service.name, "Body": b"{}", "CustomAttributes": f"GET {path}"}

        def ask() -> str:
            try:
                json.loads(runtime.invoke_endpoint(**asked)["Body"].read())
            except Exception as error:  # whatever it is, a user has no answer
                return f"{type(error).__name__}: {error}"
            return ""

        return ask
