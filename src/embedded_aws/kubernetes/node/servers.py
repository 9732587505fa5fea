"""The cluster's servers: the command line and the files of each.

Flags and files of Kubernetes: https://v1-20.docs.kubernetes.io/docs/reference/command-line-tools-reference/
containerd: https://github.com/containerd/containerd/blob/release/1.6/docs/cri/config.md
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedded_aws.kubernetes.node import certificates, pause
from embedded_aws.kubernetes.node.network import API, NODE, POD_GATEWAY, PODS, SERVICES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NODE_NAME = "embedded-node"
SERVER = f"https://{API}:443"
CONTAINERD = "/run/containerd/containerd.sock"
CNI_BINARIES = "/usr/lib/cni"  # Debian's package containernetworking-plugins
ETCD = "http://127.0.0.1:2379"


@dataclass(frozen=True)
class Server:
    """A program that runs as long as the cluster."""

    name: str
    command: tuple[str, ...]


def all_servers(hyperkube: Path, files: Path, data: Path, webhook: bool) -> tuple[Server, ...]:
    """The servers in the order of their start.

    Args:
        hyperkube: the program that holds Kubernetes' own.
        files: where ``write`` wrote.
        data: what etcd, containerd and the kubelet keep.
        webhook: whether tokens that the API server does not know are checked by ``files/webhook.json``.
    """
    keys = files / "keys"
    authentication = (
        (
            f"--authentication-token-webhook-config-file={files}/webhook.json",
            "--authentication-token-webhook-version=v1",
            "--authentication-token-webhook-cache-ttl=1s",  # a changed access entry is seen soon
        )
        if webhook
        else ()
    )
    etcd = (
        "etcd",
        f"--data-dir={data}/etcd",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # it survives a killed process, not a power cut; a rehearsal is repeatable
        "--log-level=warn",
    )
    api = (
        str(hyperkube),
        "kube-apiserver",
        f"--etcd-servers={ETCD}",
        "--bind-address=0.0.0.0",  # of the private network namespace
        "--secure-port=443",
        f"--advertise-address={NODE}",
        f"--tls-cert-file={keys}/api.crt",
        f"--tls-private-key-file={keys}/api.key",
        f"--client-ca-file={keys}/ca.crt",
        f"--token-auth-file={keys}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        f"--service-cluster-ip-range={SERVICES}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={keys}/accounts.key",
        f"--service-account-signing-key-file={keys}/accounts.key",
        f"--kubelet-client-certificate={keys}/api-client.crt",
        f"--kubelet-client-key={keys}/api-client.key",
        f"--kubelet-certificate-authority={keys}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        *authentication,
    )
    controllers = (
        str(hyperkube),
        "kube-controller-manager",
        f"--kubeconfig={files}/controllers.json",
        "--leader-elect=false",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={keys}/accounts.key",
        f"--root-ca-file={keys}/ca.crt",
        "--node-monitor-grace-period=16s",
        "--port=0",
    )
    scheduler = (
        str(hyperkube),
        "kube-scheduler",
        f"--kubeconfig={files}/scheduler.json",
        "--leader-elect=false",
        "--port=0",
    )
    kubelet = (
        str(hyperkube),
        "kubelet",
        f"--kubeconfig={files}/kubelet.json",
        f"--config={files}/kubelet-config.json",
        f"--root-dir={data}/kubelet",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE}",
        "--container-runtime=remote",
        f"--container-runtime-endpoint=unix://{CONTAINERD}",
        "--node-labels=topology.kubernetes.io/region=us-east-1,topology.kubernetes.io/zone=us-east-1a",
    )
    return (
        Server("etcd", etcd),
        Server("containerd", ("containerd", "--config", f"{files}/containerd.toml")),
        Server("kube-apiserver", api),
        Server("kube-controller-manager", controllers),
        Server("kube-scheduler", scheduler),
        Server("kubelet", kubelet),
    )


def write(files: Path, data: Path, webhook: str) -> None:
    """Write the files that the servers read; ``webhook`` is the address that checks tokens, or empty."""
    keys = files / "keys"
    for user in ("controllers", "scheduler", "kubelet"):
        _json(files / f"{user}.json", certificates.kubeconfig(keys, user, SERVER))
    if webhook:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "eks", "cluster": {"server": webhook}}],
            "users": [{"name": "api", "user": {}}],
            "contexts": [{"name": "eks", "context": {"cluster": "eks", "user": "api"}}],
            "current-context": "eks",
        }
        _json(files / "webhook.json", document)
    _json(files / "kubelet-config.json", _kubelet(keys))
    _json(files / "cni" / "10-bridge.conflist", _bridge())
    pause.write(files / "pause.tar")
    (files / "registries").mkdir(exist_ok=True)
    (files / "containerd.toml").write_text(
        CONTAINERD_TOML.format(data=data, files=files, socket=CONTAINERD, pause=pause.NAME, binaries=CNI_BINARIES)
    )


def write_registries(files: Path, registries: Mapping[str, str], emulator: str) -> None:
    """Have containerd pull what is in these registries from ``emulator``; their values are ``Authorization`` headers.

    https://github.com/containerd/containerd/blob/release/1.6/docs/hosts.md
    """
    for host, header in registries.items():
        folder = files / "registries" / host
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.toml").write_text(
            # The server is asked again for what the host has not; without the header, the answer would be 401 in place of 404.
            f'server = "{emulator}"\n[header]\nAuthorization = "{header}"\n'
            f'[host."{emulator}"]\ncapabilities = ["pull", "resolve"]\n'
            f'[host."{emulator}".header]\nAuthorization = "{header}"\n'
        )


def _kubelet(keys: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE,
        "tlsCertFile": str(keys / "kubelet.crt"),
        "tlsPrivateKeyFile": str(keys / "kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(keys / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "nodeStatusUpdateFrequency": "1s",  # the node is ready in 6 instead of 15 s
        "resolvConf": "",
        "evictionHard": {"memory.available": "100Mi"},  # the disk is its owner's, and a full one must not end pods
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": False,
    }


def _bridge() -> dict[str, object]:
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni",
                    "ranges": [[{"subnet": PODS, "gateway": POD_GATEWAY}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def _json(path: Path, document: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1))


CONTAINERD_TOML = """\
version = 2
root = "{data}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{binaries}"
    conf_dir = "{files}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{files}/registries"
"""
