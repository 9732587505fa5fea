"""A cluster of the embedded AWS: started, restarted, ended with nothing left, and pods from the emulator's registry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pods
import pytest
from clusters import SPACE, Cluster, until
from emulated import client, code_of

from embedded_aws.kubernetes import machine
from ml_delivery import emulator

CPU_SECONDS = 20  # from nothing to a node that is ready: 8 s on two idle cores, however busy this machine is


def traces(home: Path) -> list[str]:
    """The processes, mounts and control groups that belong to the cluster in ``home``."""
    folder = str(home / "kubernetes")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            namespace = os.readlink(process / "ns/net")
        except OSError:
            continue
        if folder in words or namespace in SEEN:
            found.append(words)
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if folder in line]
    return found + [str(path) for path in Path("/sys/fs/cgroup").glob("**/embedded-*") if path.name in SEEN]


SEEN: set[str] = set()  # network namespaces and control groups of this module's own clusters


def used() -> float:
    """The CPU time, in seconds, that the processes in the noted namespaces have taken."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "ns/net") in SEEN:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])  # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def note(home: Path) -> int:
    """Note what belongs to a cluster that runs; the process number of its supervisor."""
    supervisor = int(json.loads((home / "kubernetes/cluster.json").read_text())["pid"])
    outer = subprocess.run(["pgrep", "-P", str(supervisor)], capture_output=True, text=True, check=True).stdout.split()[
        0
    ]
    inner = subprocess.run(["pgrep", "-P", outer], capture_output=True, text=True, check=True).stdout.split()[0]
    SEEN.add(os.readlink(f"/proc/{inner}/ns/net"))
    groups = Path(f"/proc/{outer}/cgroup").read_text()
    SEEN.update(Path(line.rpartition(":")[2]).name for line in groups.splitlines() if "embedded-" in line)
    return supervisor


def test_cluster_starts_is_kept_and_leaves_nothing(
    kubernetes: str, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is active within seconds; a restart has the same endpoint and objects; a stopped one, even by SIGKILL, is all gone."""
    monkeypatch.setenv("PIPELINE_CLUSTER", kubernetes)
    home = (alone / ".pipeline/cloud").resolve()
    first = Cluster(emulator.up(alone))
    first.create()
    endpoint = first.describe()["endpoint"]
    assert first.ask("/api/v1/nodes")[1]["items"][0]["metadata"]["name"] == "embedded-node"
    note(home)
    assert traces(home)
    assert 1 < used() < CPU_SECONDS
    second = client(first.running, "eks")
    assert code_of(
        lambda: second.create_cluster(name="b", roleArn="arn:aws:iam::123456789012:role/x", resourcesVpcConfig={})
    ) == ("ResourceLimitExceededException")
    first.apply(f"/api/v1{SPACE}/configmaps/kept", {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}})

    emulator.down(alone)
    assert not traces(home)

    again = Cluster(emulator.up(alone))
    assert (again.describe()["status"], again.describe()["endpoint"]) == ("ACTIVE", endpoint)
    assert again.ask(f"/api/v1{SPACE}/configmaps/kept")[1]["data"] == {"a": "b"}
    supervisor = note(home)
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not [found for found in traces(home) if not found.startswith("/sys")], what="the end", seconds=10)
    emulator.down(alone)

    third = Cluster(emulator.up(alone))  # it removes the control groups of the killed one
    assert third.ask("/api/v1/nodes")[0] == 200
    note(home)
    client(third.running, "eks").delete_cluster(name=third.name)
    assert not traces(home)
    assert not (home / "kubernetes").exists()


def test_pod_runs_an_image_of_the_registry_by_digest(cluster: Cluster) -> None:
    """A pod pulls its image under ECR's name by digest, answers, has a log; a digest that is not there is the reason."""
    image = pods.push(cluster.running, "served")
    cluster.release("served", image)
    assert cluster.answers("served") == "served"
    (pod,) = cluster.ask(f"/api/v1{SPACE}/pods?labelSelector=app%3Dserved")[1]["items"]
    assert "serving" in cluster.ask(f"/api/v1{SPACE}/pods/{pod['metadata']['name']}/log")[1]

    cluster.release("absent", f"{image.partition('@')[0]}@sha256:{'0' * 64}")

    def reason() -> str:
        listed = cluster.ask(f"/api/v1{SPACE}/pods?labelSelector=app%3Dabsent")[1]["items"]
        states = [s["state"] for p in listed for s in p.get("status", {}).get("containerStatuses", [])]
        return str(states[0].get("waiting", {}).get("reason", "")) if states else ""

    until(lambda: reason() in ("ErrImagePull", "ImagePullBackOff"), what="the reason", seconds=20)


def test_pod_finds_the_emulator_and_nothing_else_of_the_machine(cluster: Cluster) -> None:
    """A pod reaches AWS at the address of EKS's agent, and no port of the machine's loopback."""
    image = pods.push(cluster.running, "reaching")
    port = cluster.running.endpoint.rpartition(":")[2]
    cluster.release("reaching", image, ASK=f"http://169.254.170.23:{port}/_ministack/health")
    assert cluster.answers("reaching") == "reaching 200"
    other = cluster.describe()["endpoint"].rpartition(":")[2]
    cluster.release("closed", image, ASK=f"http://169.254.170.23:{other}/")
    assert cluster.answers("closed") == "closed refused"


def test_program_is_checked(tmp_path: Path) -> None:
    """A packed program whose digest is not listed beside it is refused, as are none and one that is not there."""
    packed = tmp_path / "hyperkube.xz"
    packed.write_bytes(b"anything")
    for source in ("", str(tmp_path / "none"), str(packed)):
        with pytest.raises(machine.NoKubernetes):
            machine.hyperkube(source, tmp_path)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  hyperkube.xz\n")
    with pytest.raises(machine.NoKubernetes):
        machine.hyperkube(str(packed), tmp_path)
