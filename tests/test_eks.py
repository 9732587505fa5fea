"""The target eks on a real cluster: built, pushed, deployed, called, refused, split, rolled back, pruned, removed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import emulated
import podded
import pytest
from base_registry import BaseRegistry
from botocore.session import Session
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.artifact import build
from ml_delivery.cloud import Cloud
from ml_delivery.containers import engines
from ml_delivery.errors import CloudError, PipelineError, Refused
from ml_delivery.targets.eks.client import Rejected, open_client
from ml_delivery.targets.eks.deployer import EksDeployer
from ml_delivery.targets.eks.names import Paths


@pytest.fixture(scope="module")
def slim() -> None:
    """A container engine with Python's slim image, as ``tests/engine.sh`` starts one."""
    try:
        engines.find().inspect(podded.SLIM)
    except PipelineError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"tests/engine.sh starts an engine for this: {error}")


@pytest.fixture
def service(slim: None, kubernetes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tiny]:
    """A tiny service whose target is the cluster of an emulator of its own."""
    monkeypatch.setenv("PIPELINE_CLUSTER", kubernetes)
    (tmp_path / "own").mkdir()
    made = Tiny(tmp_path / "service", tmp_path / "own", "podded")
    podded.pod(made, "services")
    emulator.up(made.root)
    yield made
    emulator.down(made.root)


def test_from_build_to_removal(service: Tiny) -> None:
    """Every stage works as for a function: verified by digest, refused with the cluster's reason, split, rolled back."""
    service.git("tag", "v1.4.2")
    service.invoke("build")
    assert "  also as v1.4.2, from git's tag" in service.invoke("push")
    assert "release 1 is verified: deployed version podded-1 serves production on embedded" in service.invoke("deploy")
    assert json.loads(service.invoke("call", "/version"))["note"] == "first"
    assert "starting" in service.invoke("logs")
    assert service.invoke("plan") == "production: nothing to do\n"
    for broken in podded.FAULTS:
        says = podded.fault(service, broken)
        with pytest.raises(Refused) as refusal:
            service.deploy()
        assert says in str(refusal.value)
        assert "release 1 serves as before" in str(refusal.value)
        podded.repair(service, broken)
    service.replace(
        "pipeline.toml",
        "[promote]",
        '[deploy]\nstrategy = "canary"\npause = 2\nperiod = 1\nkeep = 1\nkeep_days = 0\n\n[promote]',
    )
    service.replace("pipeline.toml", 'LOG_LEVEL = "INFO"', 'LOG_LEVEL = "DEBUG"')
    service.commit("Canary")
    outcome = service.deploy()
    assert [step.weight for step in outcome.steps if step.name == "shift"] == [10, 100]
    assert json.loads(service.invoke("call", "/variables"))["LOG_LEVEL"] == "DEBUG"
    deployer = service.open().deployer
    assert isinstance(deployer, EksDeployer)
    assert deployer.client.get(Paths("podded-production").deployments("podded-1"))["spec"]["replicas"] == 0  # type: ignore[index]
    assert "no release that can be rolled back to is v9.9.9" in service.invoke("rollback", "--to", "v9.9.9", code=1)
    assert "v1.4.2" in service.invoke("releases", "--branch", "main")
    assert "release 1 is verified" in service.invoke("rollback", "--to", "v1.4.2")
    assert json.loads(service.invoke("call", "/variables"))["LOG_LEVEL"] == "INFO"
    assert set(service.open().deployer.deployed()) == {"podded-1"}  # what was rolled back from is not kept
    _gateway_splits(service)
    assert "namespace podded-production" in _destroyed(service)


def _gateway_splits(service: Tiny) -> None:
    """What users call, the Gateway, answers as the live release."""
    deployer = service.open().deployer
    assert isinstance(deployer, EksDeployer)
    path = Paths("podded-production").group("gateway.networking.k8s.io/v1", "gateways", "service")
    found = deployer.client.get(path)
    assert found
    with urllib.request.urlopen(f"http://{found['status']['addresses'][0]['value']}/version", timeout=10) as answer:
        assert json.load(answer)["release"] == 1
    before = deployer.numbers("podded-1", 0)
    for _ in range(20):
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://{found['status']['addresses'][0]['value']}/broken", timeout=10).close()
    after = deployer.numbers("podded-1", 0)
    assert (after.requests - before.requests, (after.failures or 0) - (before.failures or 0)) == (20, 20)


def _destroyed(service: Tiny) -> str:
    done = subprocess.run(
        service.command("bootstrap", "--destroy"),
        cwd=service.root,
        env=service.environment,
        input="podded\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_deploy_role_can_deploy_and_nothing_else(service: Tiny) -> None:
    """With the role's IAM and the namespace's Role a deploy, a split and a rollback pass; all else in the cluster is refused."""
    service.push()
    service.invoke("bootstrap", "--yes")
    keys = _assumed(service, "podded-production-deploy")
    service.invoke("build")
    assert "release 1 is verified" in _as(service, keys, "deploy")
    podded.repair(service, "second")
    service.push()
    assert "release 2 is verified" in _as(service, keys, "deploy")
    assert "release 1 is verified" in _as(service, keys, "rollback")
    cloud = Cloud("embedded", "eu-west-1", "123456789012", _session(keys), emulator.up(service.root).endpoint)
    client = open_client(cloud, "services", "--branch main")
    own, other = Paths("podded-production"), Paths("default")
    for path in (own.core("secrets"), other.deployments(), other.core("pods"), "/api/v1/namespaces", "/api/v1/nodes"):
        with pytest.raises(Rejected, match="cannot list resource"):
            client.get(path)
    with pytest.raises(Rejected, match='cannot create resource "pods"'):
        client.write("POST", own.core("pods"), {"metadata": {"name": "own"}})
    stranger = Cloud(
        "embedded", "eu-west-1", "123456789012", _session(_assumed(service, "podded-production-build")), ""
    )
    stranger._endpoint = emulator.up(service.root).endpoint
    with pytest.raises(CloudError, match="AccessDenied"):
        open_client(stranger, "services", "--branch main")


def _session(keys: dict[str, str]) -> Session:
    session = Session()
    session.set_config_variable("region", "eu-west-1")
    session.set_credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], keys["AWS_SESSION_TOKEN"])
    return session


def _assumed(service: Tiny, role: str) -> dict[str, str]:
    """Credentials of a role, which is made to trust its account for this."""
    running = emulator.up(service.root)
    trust = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    emulated.client(running, "iam").update_assume_role_policy(RoleName=role, PolicyDocument=document)
    asked = {"RoleArn": f"arn:aws:iam::123456789012:role/{role}", "RoleSessionName": "test"}
    found = emulated.client(running, "sts").assume_role(**asked)["Credentials"]
    names = {
        "AWS_ACCESS_KEY_ID": "AccessKeyId",
        "AWS_SECRET_ACCESS_KEY": "SecretAccessKey",
        "AWS_SESSION_TOKEN": "SessionToken",
    }
    return {name: found[given] for name, given in names.items()}


def _as(service: Tiny, keys: dict[str, str], *words: str) -> str:
    variables = {**service.environment, **keys, "PIPELINE_ENDPOINT": emulator.up(service.root).endpoint}
    done = subprocess.run(
        service.command(*words), cwd=service.root, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_image_that_no_engine_built_runs_in_the_cluster(service: Tiny) -> None:
    """Built and pushed above a base in a registry, without an engine, it is pulled by its digest, and answers."""
    registry = BaseRegistry(token=True)
    registry.put_saved("slim", podded.SLIM)
    settings = (service.root / "pipeline.toml").read_text()
    service.write("pipeline.toml", f'{settings}\n[build]\nbase = "{registry.host}/base:slim"\n')
    service.commit("Base")
    manifest = build.build(service.config)
    assert manifest.engine == ""
    outcome = service.deploy()
    registry.close()
    assert outcome.release.artifact.digest == manifest.digest  # type: ignore[union-attr]
    assert json.loads(service.open().deployer.call("/version").body)["content"] == manifest.content
