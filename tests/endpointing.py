"""Services on a SageMaker endpoint of the embedded AWS, and their users."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import endpointed
import pytest
from tiny import Tiny

from ml_delivery.containers import engines
from ml_delivery.errors import PipelineError
from ml_delivery.targets.sagemaker.deployer import SagemakerDeployer


@pytest.fixture(scope="module")
def based(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A container engine with a base image, and a place of its own for images where it needs no daemon."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        try:
            found = engines.find()
        except PipelineError as error:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"an engine builds the image: {error}")
        endpointed.base(found, folder)
        yield


@pytest.fixture
def service(based: None, tiny: Tiny) -> Iterator[Tiny]:
    """A tiny service whose target is an endpoint; what it left running is ended.

    The emulator without an engine needs root.
    """
    if os.geteuid() != 0 and not os.environ.get("DOCKER_HOST"):
        pytest.skip("only root runs a container without an engine")
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
            except Exception as error:
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
