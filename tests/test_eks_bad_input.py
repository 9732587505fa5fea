"""What a cluster may bring: something that scales, an image that ECR and the node lost, no Gateway API."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import conflict, faults
from podding import Podded, quick
from tiny import Tiny

from ml_delivery.errors import Refused
from ml_delivery.release import plan
from ml_delivery.targets.eks import deployer
from ml_delivery.targets.eks.route import OneService

SCALED = r"PATCH .*/deployments/[\w-]+$"
CPU = 100  # for each pod, so that the node has room for those of several releases and tests


@pytest.fixture(scope="module")
def service(slim: None, pods_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podded]:
    """A service with its first release."""
    made = Podded(Tiny(tmp_path_factory.mktemp("input") / "service", pods_home, "bad-input"), cpu=CPU)
    made.deploy(NOTE="first")
    yield made
    made.client.delete(f"/api/v1/namespaces/{made.name}")  # its pods would take room from the tests that follow


def replicas(service: Podded, deployed: str) -> int:
    found = service.client.get(service.paths.deployments(deployed))
    return int(found["spec"]["replicas"]) if found else -1


def live(service: Podded) -> str:
    found = service.deployer.live()
    assert found
    return found.deployed


def test_without_the_gateway_api_all_traffic_shifts_at_once(
    service: Podded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One Service selects what is live; a canary has no steps in the plan; a rollback selects the previous release."""
    monkeypatch.setattr(deployer, "routing", OneService)
    made = Podded(Tiny(tmp_path / "service", service.tiny.root / ".pipeline", "no-gateway"), quick(), cpu=CPU)
    made.deploy(NOTE="first")
    there = made.client.get(made.paths.core("services", "live"))
    assert there
    assert there["spec"]["selector"] == {"app.kubernetes.io/instance": "no-gateway-1"}
    assert made.client.get(made.paths.routes("live")) is None
    assert plan.make(made.open(NOTE="second")).rollout.weights == ()
    made.deploy(NOTE="second")
    assert (live(made), replicas(made, "no-gateway-1")) == ("no-gateway-2", 0)
    endpoints = made.client.get(made.paths.core("endpoints", "live"))
    assert endpoints
    (subset,) = endpoints["subsets"]
    assert {one["targetRef"]["name"].rsplit("-", 2)[0] for one in subset["addresses"]} == {"no-gateway-2"}
    made.rollback()
    assert live(made) == "no-gateway-1"
    assert made.problems() == []
    made.client.delete(f"/api/v1/namespaces/{made.name}")


def test_release_that_is_scaled_by_others_does_not_starve_the_next(service: Podded) -> None:
    """As an autoscaler does, before a deploy and in mid-deploy: the new release starts with as many pods, and the old one rests."""
    admin, before = service.client, live(service)
    path = service.paths.deployments(before)
    admin.scale(path, 2)
    with faults(conflict(lambda: admin.scale(path, 3), SCALED)):
        service.deploy(NOTE="scaled")
    after = live(service)
    assert (after != before, replicas(service, after), replicas(service, before)) == (True, 2, 0)
    service.rollback()
    assert (live(service), replicas(service, before)) == (before, 2)
    assert service.problems() == []


def test_rollback_whose_image_is_gone_is_refused_with_the_reason(service: Podded) -> None:
    """ECR and the node lost it: the resting release can't start, which is named; what is live serves. Put back, it passes."""
    service.deploy(NOTE="second")
    serving = live(service)
    opened = service.open()
    ecr, artifact = opened.cloud.client("ecr"), opened.artifact()
    named = {"repositoryName": service.name, "imageIds": [{"imageTag": artifact.version}]}
    (image,) = ecr.batch_get_image(**named)["images"]
    ecr.batch_delete_image(**named)
    _forget(service, artifact.digest)
    with pytest.raises(Refused, match=r"(?i)the image can't be run: ErrImagePull: .*not found") as refusal:
        service.rollback()
    assert "serves as before" in str(refusal.value)
    assert live(service) == serving
    ecr.put_image(repositoryName=service.name, imageManifest=image["imageManifest"], imageTag=artifact.version)
    service.rollback()
    assert live(service) != serving
    assert service.problems() == []


def _forget(service: Podded, digest: str) -> None:
    """Remove the image from the node, as its garbage collection does."""
    inside = ["nsenter", "--target", str(service.cluster.processes("kubelet")[0]), "--mount"]
    ctr = [*inside, "ctr", "--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io", "images"]
    listed = subprocess.run([*ctr, "ls"], capture_output=True, text=True, check=True).stdout
    names = [line.split()[0] for line in listed.splitlines() if digest in line]
    assert names
    subprocess.run([*ctr, "rm", "--sync", *names], check=True, capture_output=True)
