"""The target eks on a real cluster: built, pushed, deployed, called, refused, split, rolled back, pruned, removed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import podded
import pytest
from bake import ROOT, bake, start
from base_registry import BaseRegistry
from botocore.session import Session
from podding import assumed
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.artifact import build
from ml_delivery.cloud import Cloud
from ml_delivery.errors import CloudError, Refused
from ml_delivery.release import foreign
from ml_delivery.targets.eks.client import Rejected, open_client
from ml_delivery.targets.eks.deployer import EksDeployer
from ml_delivery.targets.eks.names import Paths


@pytest.fixture
def service(slim: None, pods_home: Path, tmp_path: Path) -> Tiny:
    """A tiny service on the shared cluster."""
    made = Tiny(tmp_path / "service", pods_home, "podded")
    podded.pod(made, "services")
    return made


def test_from_build_to_removal(service: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage works as for a function: verified by digest, refused with the cluster's reason, split, rolled back."""
    service.git("tag", "v1.4.2")
    service.invoke("build")
    assert "  also as v1.4.2, from git's tag" in service.invoke("push")
    said = service.invoke("deploy")
    assert "release 1 is verified: deployed version podded-1 serves production on embedded" in said
    assert re.search(r"^address: http://127\.0\.0\.1:\d+/$", said, re.M)  # the Gateway asks for no signature
    assert json.loads(service.invoke("call", "/version"))["note"] == "first"
    with_body = ("--method", "POST", "--body", '{"a": 1}', "--header", "Accept: application/json")
    assert json.loads(service.invoke("call", "/version", *with_body))["note"] == "first"
    assert "starting" in service.invoke("logs")
    assert service.invoke("plan") == "production: nothing to do\n"
    _secrets_stay_in_the_log(service, monkeypatch)
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


def _secrets_stay_in_the_log(service: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the service's secrets can't be read, to be masked, what a pod wrote is not in the refusal, which is sent on."""
    says = podded.fault(service, "exits")
    with monkeypatch.context() as patched:
        patched.setattr(foreign, "learn", lambda context: False)
        with pytest.raises(Refused, match=r"ValueError: \(not shown, since it may contain a secret") as refusal:
            service.deploy()
    assert says not in str(refusal.value)
    podded.repair(service, "exits")


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
    keys = assumed(emulator.up(service.root), "podded-production-deploy")
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
        "embedded",
        "eu-west-1",
        "123456789012",
        _session(assumed(emulator.up(service.root), "podded-production-build")),
        "",
    )
    stranger._endpoint = emulator.up(service.root).endpoint
    with pytest.raises(CloudError, match="AccessDenied"):
        open_client(stranger, "services", "--branch main")


def _session(keys: dict[str, str]) -> Session:
    session = Session()
    session.set_config_variable("region", "eu-west-1")
    session.set_credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], keys["AWS_SESSION_TOKEN"])
    return session


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


def test_pricing_is_deployed_and_asked(slim: None, pods_home: Path, promoted: Path, tmp_path: Path) -> None:
    """A bake of ``pricing`` for a cluster, with models that its own commands made: built, pushed, deployed, asked."""
    made = bake(tmp_path / "out", starter="pricing", target="eks")
    settings = (made / "pipeline.toml").read_text()
    for old, new in (("cpu = 500 ", "cpu = 200 "), ("replicas = 2 ", "replicas = 1 "), ("drain = 25 ", "drain = 0 ")):
        assert old in settings
        settings = settings.replace(old, new)
    (made / "pipeline.toml").write_text(settings)
    shutil.copy(promoted / "model.lock", made)
    shutil.copytree(promoted / "models", made / "models", dirs_exist_ok=True)
    start(made)
    (made / ".pipeline").mkdir()
    (made / ".pipeline/cloud").symlink_to(pods_home / "cloud")

    def typed(*words: str) -> str:
        hidden = ("PIPELINE_PYTHON", "AWS_", "PYTHONDONTWRITEBYTECODE")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        done = subprocess.run(
            [sys.executable, "-m", "invoke", *words],
            cwd=made,
            env={**clean, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    typed("build")
    typed("push")
    assert "release 1 is verified: deployed version demand-pricing-1" in typed("deploy")
    stockcode = json.loads(typed("call", "/v1/products"))["products"][0]["stockcode"]
    asked = json.loads(typed("call", f"/v1/predict-price/{stockcode}?bins=4"))
    assert (asked["model"]["role"], len(asked["bins"]) > 1) == ("primary", True)
