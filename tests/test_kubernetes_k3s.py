"""A cluster in a container of k3s: started, kept, stopped, removed, and refused with the cause.

k3s itself can't be pulled where these tests run; ``k3s_image`` says what stands in for it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import k3s_image
import pods
import pytest
from botocore.session import Session
from clusters import NAME, REGION, SPACE, Cluster, until
from emulated import client
from podded import SLIM

from embedded_aws.kubernetes import k3s, machine
from embedded_aws.kubernetes.node import pause
from ml_delivery import emulator
from ml_delivery.cloud import Cloud
from ml_delivery.containers import engines
from ml_delivery.errors import CloudError, Unsettled
from ml_delivery.targets.eks import cluster

IMAGE = "embedded-aws.local/k3s:1"
PYTHON = str(Path(sys.executable).resolve())
# Asks for an image as k3s' containerd does, by the endpoint and the credentials of its registries.yaml.
PULL = """
import base64, http.client, json, sys, urllib.error, urllib.request
read = json.loads(sys.argv[1])
(host, mirror), = read["mirrors"].items()
(endpoint,) = mirror["endpoint"]
auth = read["configs"][endpoint.removeprefix("http://")]["auth"]
asked = urllib.request.Request(f"{endpoint}/v2/served/manifests/1?ns={host}")
asked.add_header("Authorization", "Basic " + base64.b64encode(f"{auth['username']}:{auth['password']}".encode()).decode())
try:
    print(urllib.request.urlopen(asked, timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
except (http.client.RemoteDisconnected, ConnectionResetError):
    print("closed")
"""
BROKEN = "embedded-aws.local/k3s:broken"


@pytest.fixture(scope="module")
def standin(engine: engines.Engine, kubernetes: str) -> Iterator[str]:
    """What names the stand-in for k3s."""
    k3s_image.build(engine, machine.hyperkube(kubernetes, Path()), IMAGE)
    yield f"docker://{IMAGE}"
    docker(engine, "rmi", IMAGE)


def docker(engine: engines.Engine, *words: str) -> str:
    done = subprocess.run([engine.name, *words], env=engine.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def containers(engine: engines.Engine, root: Path, *more: str) -> list[str]:
    label = f"label={k3s.LABEL}={(root / '.pipeline/cloud/kubernetes').resolve()}"
    return docker(engine, "ps", "--quiet", "--filter", label, *more).split()


def test_cluster_in_a_container(
    standin: str, engine: engines.Engine, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens are checked, a pod runs an image of the registry; a SIGKILL or a failed start keeps the objects, a reset nothing."""
    monkeypatch.setenv("PIPELINE_CLUSTER", standin)
    first = Cluster(emulator.up(alone))
    first.create()
    found = first.describe()
    assert first.ask("/api/v1/nodes")[1]["items"][0]["metadata"]["name"] == "embedded-node"
    iam = client(first.running, "iam")
    iam.create_user(UserName="other")
    key = iam.create_access_key(UserName="other")["AccessKey"]
    other = Cluster(first.running, key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    assert other.ask(f"/api/v1{SPACE}/pods")[0] == 401
    named = {"clusterName": NAME, "principalArn": iam.get_user(UserName="other")["User"]["Arn"]}
    client(first.running, "eks").create_access_entry(**named, kubernetesGroups=["none"])
    assert other.ask(f"/api/v1{SPACE}/pods")[0] == 403

    image = pods.push_layer(first.running, "served", pause._tar({"pause": pause._elf()}, 0o755), ["/pause"])
    first.release("served", image)
    until(lambda: image in running(first), what="the pod", seconds=60)
    (container,) = containers(engine, alone)
    read = docker(engine, "exec", container, "cat", f"/{k3s.REGISTRIES}")
    assert docker(engine, "exec", container, PYTHON, "-c", PULL, read).strip() == "200"
    stranger = ["run", "--rm", "--add-host", f"{k3s.HOST}:host-gateway", SLIM, "/usr/bin/python3", "-c", PULL, read]
    assert docker(engine, *stranger).strip() == "closed"  # only the cluster's container reaches the emulator

    first.apply(f"/api/v1{SPACE}/configmaps/kept", {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}})
    os.kill(first.running.pid, signal.SIGKILL)
    until(lambda: not containers(engine, alone), what="the end of the container", seconds=20)
    port = int(found["endpoint"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        taken = Cluster(emulator.up(alone)).describe()
    assert taken["status"] == "FAILED"
    assert (
        f"port {port} of 127.0.0.1, where the cluster was reached, is taken" in taken["health"]["issues"][0]["message"]
    )
    emulator.down(alone)
    again = Cluster(emulator.up(alone))
    assert (again.describe()["status"], again.describe()["endpoint"]) == ("ACTIVE", found["endpoint"])
    assert [name[:12] for name in containers(engine, alone)] == [container[:12]]
    assert again.ask(f"/api/v1{SPACE}/configmaps/kept")[1]["data"] == {"a": "b"}

    emulator.down(alone)
    assert containers(engine, alone) == []
    assert len(containers(engine, alone, "--all")) == 1
    emulator.reset(alone)
    assert containers(engine, alone, "--all") == []


def running(cluster: Cluster) -> list[str]:
    """The images, by digest, of the containers that run."""
    found = cluster.ask(f"/api/v1{SPACE}/pods")[1]["items"]
    states = [state for pod in found for state in pod["status"].get("containerStatuses", [])]
    return [state["imageID"] for state in states if "running" in state["state"]]


def test_reason_is_in_the_refusal(engine: engines.Engine, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that can't be pulled, then a container that exits: each is named, none is left, and the next start tries again."""
    made = docker(engine, "create", SLIM, "sh").strip()
    entry = ["/usr/bin/python3", "-c", "print('first'); raise SystemExit('failed to evacuate root cgroup')"]
    docker(engine, "commit", "--change", f"ENTRYPOINT {json.dumps(entry)}", made, BROKEN)
    docker(engine, "rm", made)
    monkeypatch.setenv("PIPELINE_CLUSTER", "docker://127.0.0.1:1/k3s:none")
    role = client(emulator.up(alone), "iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]

    def refused() -> Unsettled:
        with pytest.raises(Unsettled) as refusal:
            cluster.ensure(opened(emulator.up(alone)), NAME, role)
        assert containers(engine, alone, "--all") == []
        return refusal.value

    assert "could not pull 127.0.0.1:1/k3s:none: " in str(refused())
    assert "invoke cloud.down" in refused().next
    monkeypatch.setenv("PIPELINE_CLUSTER", f"docker://{BROKEN}")
    assert "exited with code 1: first / failed to evacuate root cgroup" in str(refused())
    docker(engine, "rmi", BROKEN)
    log = alone / ".pipeline/cloud/kubernetes/log/k3s.txt"
    assert log.read_text() == "first\nfailed to evacuate root cgroup\n"


def test_refusal_without_an_engine(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is named and no engine answers, the refusal says which ways there are, with what to type."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{alone}/none")
    running = emulator.up(alone)
    role = client(running, "iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    with pytest.raises(CloudError, match=r"no kubeconfig .* no program .* neither docker nor podman") as refusal:
        cluster.ensure(opened(running), NAME, role)
    assert "PIPELINE_CLUSTER=FILE invoke cloud.up" in refusal.value.next
    assert client(running, "eks").list_clusters()["clusters"] == []


def test_order_of_the_ways(engine: engines.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is named is taken or refused, and never replaced by k3s, which is what nothing else was named for."""
    assert engine.name in ("docker", "podman")
    assert machine.choose("", tmp_path) == machine.Way("container", "image", k3s.IMAGE)
    assert machine.choose("docker://a/k3s:1", tmp_path) == machine.Way("container", "image", "a/k3s:1")
    (tmp_path / "config").write_text("kind: Config")
    for named in ("config", "none"):
        with pytest.raises(machine.NoKubernetes):
            machine.choose(str(tmp_path / named), tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    for nothing in ("", "docker://a/k3s:1"):
        with pytest.raises(machine.NoKubernetes, match="neither docker nor podman answers"):
            machine.choose(nothing, tmp_path)


def opened(running: emulator.Running) -> Cloud:
    session = Session()
    session.set_config_variable("region", REGION)
    session.set_credentials(running.access_key, running.secret_key)
    return Cloud("embedded", REGION, running.account, session, running.endpoint)
