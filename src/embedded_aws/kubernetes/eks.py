"""EKS: a cluster is a real one, and a token of IAM really admits to it.

https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html
ministack starts k3s by a Docker engine, and without one calls a cluster active that has nothing behind it; after a restart it
does so with each. Here the cluster is started by ``launch``, with the folder ``kubernetes`` of the emulator; the machine has
one. A cluster that does not start is ``FAILED``. The API server asks ministack whom a token belongs to:
https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html
"""

from __future__ import annotations

import atexit
import base64
import os
import secrets
import socket
import traceback
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from embedded_aws import ecr, process
from embedded_aws.kubernetes import agents, k3s, launch, machine, rights

if TYPE_CHECKING:
    from pathlib import Path

ID = "embedded"  # in ministack's records, where a container's would be
WEBHOOK = "/_ministack/eks-auth/"

_running: list[launch.Cluster] = []
_agents: list[agents.Agents] = []


def patch(home: Path, source: str) -> None:
    """Start and stop clusters here; everything else of EKS is ministack's."""
    from ministack.services import eks

    folder, emulator = home / "kubernetes", int(os.environ["GATEWAY_PORT"])
    create, restore = eks._create_cluster, eks._restore_state

    def create_one(body: Any, creator: Any = None) -> Any:
        if others := [name for _, _, name in eks._clusters.to_dict() if name != body.get("name")]:
            return eks._error(400, "ResourceLimitExceededException", f"the emulator has one cluster, {others[0]}")
        try:
            machine.choose(source, folder.parent / "kubernetes-programs")
        except machine.NoKubernetes as error:
            return eks._error(400, "InvalidRequestException", f"this machine has no Kubernetes: {error}")
        return create(body, creator)

    def start(_: Any, options: Any, hosts: Any, webhook: Any) -> Any:
        try:
            cluster = launch.start(
                folder,
                source,
                port=options["port"],
                emulator=emulator,
                webhook=webhook,
                registries={host: f"Basic {_registry_token()}" for host in hosts},
            )
        except Exception as error:
            traceback.print_exc()
            record = eks._clusters.get_scoped(options["account_id"], options["region"], options["name"])
            # https://docs.aws.amazon.com/eks/latest/APIReference/API_ClusterIssue.html
            issue = {"code": "InternalFailure", "message": str(error), "resourceIds": []}
            record |= {"status": "FAILED", "health": {"issues": [issue]}}
            raise SystemExit from None  # ministack's thread would call it active after any other error
        _running.append(cluster)
        _agents.append(agents.Agents(cluster.api, options["name"], options["account_id"], options["region"]))
        _agents[-1].start()
        return SimpleNamespace(id=ID)

    def stop(*_: Any, **__: Any) -> None:
        while _agents:
            _agents.pop().stop()
        while _running:
            _running.pop().stop()

    def restored(data: Any) -> None:
        restore(data)
        for (account, region, name), record in eks._clusters.to_dict().items():
            options = {"name": name, "region": region, "account_id": account, "port": record["_port"]}
            webhook = authentication(None, None, name, account, region, record["_auth_token"])
            with suppress(SystemExit):
                start(None, options, eks._ecr_registry_hosts(record), webhook)
                record |= {"status": "ACTIVE", "_docker_id": ID, "health": {"issues": []}}
                record["certificateAuthority"]["data"] = authority()
                eks._schedule_access_policy_reconcile(
                    name, account, region
                )  # one that failed to start has no roles yet

    def authority(*_: Any) -> str:
        return base64.b64encode(_running[-1].authority.encode()).decode()

    def authentication(_: Any, __: Any, name: str, account: str, region: str, secret: str) -> str:
        return f"http://127.0.0.1:{emulator}{WEBHOOK}{account}/{region}/{name}/{secret}"

    def remove(**_: Any) -> None:
        k3s.remove(folder)
        process.clear(folder)

    container = SimpleNamespace(id=ID, stop=stop, remove=remove)
    for attribute, replacement in {
        "_create_cluster": create_one,
        "_restore_state": restored,
        "_start_k3s_container": start,
        "_k3s_run_kwargs": lambda **options: options,
        "_k3s_registries_yaml": lambda _, __, hosts: hosts,
        "_k3s_auth_webhook_config": authentication,
        "_extract_ca_cert": authority,
        "_get_ministack_network": lambda _: None,
        "_get_docker": lambda: SimpleNamespace(
            containers=SimpleNamespace(get=lambda _: container, list=lambda **_: [])
        ),
        "_cluster_endpoint": lambda port: f"https://127.0.0.1:{port}",
        "_next_port": _free_port,
        "_reconcile_access_policy_rbac": lambda *cluster: (
            bool(_running) and rights.reconcile(_running[-1].api, *cluster)
        ),
    }.items():
        setattr(eks, attribute, replacement)
    atexit.register(stop)


def admits(path: str) -> bool:
    """Whether ``path`` is the one at which the API server has a token checked, with the cluster's secret."""
    from ministack.services import eks

    secret = path.rpartition("/")[2]
    known = [str(record["_auth_token"]) for record in eks._clusters.to_dict().values()]
    return path.startswith(WEBHOOK) and any(secrets.compare_digest(secret, token) for token in known)


def _registry_token() -> str:
    """A token for the nodes, which may pull every image of the account."""
    token = base64.b64encode(f"AWS:{secrets.token_hex(32)}".encode()).decode()
    ecr._tokens[token] = os.environ["AWS_ACCESS_KEY_ID"]
    return token


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
