"""What an administrator creates once for an environment, outside of CloudFormation: its namespace in the cluster, what the
service and the delivery roles may do there, and its Gateway.

https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html
https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ml_delivery.cloud import code_of
from ml_delivery.cloudformation import Infrastructure
from ml_delivery.errors import CloudError, PipelineError
from ml_delivery.targets.eks import cluster, settings, versions
from ml_delivery.targets.eks.client import MANAGER, Client, Rejected, Tree, open_client
from ml_delivery.targets.eks.names import ENVIRONMENT, GATEWAY, SERVICE_ACCOUNT, Paths
from ml_delivery.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment
    from ml_delivery.records import Context

__all__ = ["checks", "establish", "removals", "rules", "statements"]

GATEWAYS = "/apis/gateway.networking.k8s.io/v1"
RBAC = "rbac.authorization.k8s.io/v1"
# The cluster's verbs for a request through its proxy: https://kubernetes.io/docs/reference/access-authn-authz/authorization/
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
STAGES = ("plan", "deploy")
# Over a WebSocket it is a GET; since Kubernetes 1.35 it also needs "create".
FORWARD = ["get", "create"]
ACCESS_SECONDS = 20.0


def establish(context: Context) -> list[str]:
    """Create or update all of it, as an administrator of the cluster; returns what was changed, a line each. Idempotent.

    Raises:
        CloudError: there is no such cluster, it is too old, or the signed-in identity may not do this.
    """
    config, environment, cloud = context.config, context.environment, context.cloud
    own, name = settings.of(environment), context.name
    if cloud.name == "embedded":
        cluster.ensure(cloud, own.cluster, context.output("ServiceRole"))
    client = open_client(cloud, own.cluster, f"--branch {environment.branch}{context.where}")
    _wait_for_access(client)
    versions.require(client, own.cluster)
    done = [line for path, content in objects(config, environment) if (line := _apply(client, path, content))]
    if client.get(GATEWAYS):
        done += _class(client, own.gateway_class, create=cloud.name == "embedded")
        path = Paths(name).group("gateway.networking.k8s.io/v1", "gateways", GATEWAY)
        if line := _apply(client, path, _gateway(own.gateway_class)):
            done.append(line)
    with cloud.faults():
        done += _entries(cloud, own.cluster, config, environment)
        done += _identity(cloud, own.cluster, name, context.output("ServiceRole"))
    return done


def objects(config: Config, environment: Environment) -> list[tuple[str, Tree]]:
    """The objects of the cluster, each with its path, in the order in which they can be created."""
    name = config.name_of(environment)
    paths = Paths(name)
    marks = {"app.kubernetes.io/name": config.service.name, "app.kubernetes.io/managed-by": MANAGER}
    found: list[tuple[str, Tree]] = [
        (
            f"/api/v1/namespaces/{name}",
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": name,
                    "labels": {
                        **marks,
                        ENVIRONMENT: environment.name,
                        "elbv2.k8s.aws/pod-readiness-gate-inject": "enabled",
                        "pod-security.kubernetes.io/enforce": "restricted",
                    },
                },
            },
        ),
        (
            paths.core("serviceaccounts", SERVICE_ACCOUNT),
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": SERVICE_ACCOUNT, "labels": marks}},
        ),
    ]
    for stage in STAGES:
        role = {"apiVersion": RBAC, "kind": "Role", "metadata": {"name": stage, "labels": marks}}
        binding = {
            "apiVersion": RBAC,
            "kind": "RoleBinding",
            "metadata": {"name": stage, "labels": marks},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": stage},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": f"{name}-{stage}"}],
        }
        found.append((paths.group(RBAC, "roles", stage), {**role, "rules": rules(environment, stage)}))
        found.append((paths.group(RBAC, "rolebindings", stage), binding))
    return found


def statements(cluster: str) -> Infrastructure:
    """The IAM statement by which a delivery role finds the cluster; inside of it, ``rules`` say what it may do."""
    place = f"arn:${{AWS::Partition}}:eks:${{AWS::Region}}:${{AWS::AccountId}}:cluster/{cluster}"
    found = {"Sid": "FindCluster", "Effect": "Allow", "Action": "eks:DescribeCluster", "Resource": {"Fn::Sub": place}}
    return Infrastructure(statements={stage: [found] for stage in STAGES})


def rules(environment: Environment, stage: str) -> list[Tree]:
    """What a delivery role may do in the environment's namespace, and nowhere else."""

    def allow(group: str, *resources: str, verbs: list[str]) -> Tree:
        return {"apiGroups": [group], "resources": list(resources), "verbs": verbs}

    gateway = "gateway.networking.k8s.io"
    if stage == "plan":
        return [
            allow("apps", "deployments", verbs=["get"]),
            allow("", "services", verbs=["get"]),
            allow(gateway, "httproutes", "gateways", verbs=["get"]),
        ]
    asked = {"GET", *(request.method for request in environment.probe.requests)}
    return [
        allow("apps", "deployments", verbs=["get", "list", "create", "patch", "delete"]),
        allow("", "services", verbs=["get", "create", "patch", "delete"]),
        allow("policy", "poddisruptionbudgets", verbs=["create", "patch"]),
        allow("autoscaling", "horizontalpodautoscalers", verbs=["create", "patch"]),
        allow("", "pods", verbs=["list"]),
        allow("", "pods/log", "pods/proxy", verbs=["get"]),
        allow("", "pods/portforward", verbs=FORWARD),
        allow("", "services/proxy", verbs=[VERBS[method] for method in sorted(asked)]),
        allow(gateway, "httproutes", verbs=["get", "create", "patch", "delete"]),
        allow(gateway, "gateways", verbs=["get"]),
    ]


def checks(config: Config, environment: Environment, cloud: Cloud) -> dict[str, Callable[[], dict[str, str]]]:
    """Checks for ``invoke doctor``: the cluster, and what ``establish`` creates in it."""
    own, name = settings.of(environment), config.name_of(environment)
    where = f"--branch {environment.branch}{'' if cloud.name == 'embedded' else f' --cloud {cloud.name}'}"

    def cluster() -> dict[str, str]:
        return {"name": own.cluster, "version": versions.require(open_client(cloud, own.cluster, where), own.cluster)}

    def namespace() -> dict[str, str]:
        client = open_client(cloud, own.cluster, where)
        lacks = [
            f"{content['kind']} {path.rpartition('/')[2]}"
            for path, content in objects(config, environment)
            if client.get(path) is None
        ]
        if lacks:
            raise PipelineError(f"{own.cluster} lacks {', '.join(lacks)} of {name}", next=f"invoke bootstrap {where}")
        return {"name": name}

    def gateway() -> dict[str, str]:
        client = open_client(cloud, own.cluster, where)
        if not client.get(GATEWAYS):
            return {"kind": "none, so each deploy shifts all traffic at once"}
        found = client.get(Paths(name).group("gateway.networking.k8s.io/v1", "gateways", GATEWAY))
        if found is None:
            raise PipelineError(
                f"{own.cluster} lacks the Gateway {GATEWAY} of {name}", next=f"invoke bootstrap {where}"
            )
        conditions = found.get("status", {}).get("conditions", [])
        if not any(one["type"] == "Programmed" and one["status"] == "True" for one in conditions):
            why = (
                "; ".join(f"{one['type']}: {one.get('message', '')}" for one in conditions)
                or "no controller reported a status"
            )
            raise PipelineError(
                f"the Gateway of {name} is not programmed: {why}",
                next=f"install a controller for the GatewayClass {own.gateway_class}, or correct function.gateway_class",
            )
        places = ", ".join(one["value"] for one in found["status"].get("addresses", []))
        return {"addresses": places or "unknown"}

    return {"cluster": cluster, "namespace": namespace, "gateway": gateway}


def removals(config: Config, environment: Environment, cloud: Cloud) -> dict[str, Callable[[], object]]:
    """Removes the namespace with everything in it, and the access to it; the cluster stays."""
    own, name = settings.of(environment), config.name_of(environment)

    def namespace() -> bool:
        client = open_client(cloud, own.cluster, "")
        path = f"/api/v1/namespaces/{name}"
        there = client.get(path) is not None
        client.delete(path)
        wait(lambda: True if client.get(path) is None else None, what=f"the namespace {name}", seconds=300)
        return there

    def entry(stage: str) -> Callable[[], object]:
        return lambda: cloud.client("eks").delete_access_entry(
            clusterName=own.cluster, principalArn=_principal(cloud, name, stage)
        )

    def identity() -> bool:
        eks = cloud.client("eks")
        found = eks.list_pod_identity_associations(clusterName=own.cluster, namespace=name)["associations"]
        for one in found:
            eks.delete_pod_identity_association(clusterName=own.cluster, associationId=one["associationId"])
        return bool(found)

    return {
        f"the namespace {name} of {own.cluster}": namespace,
        **{f"the access of {name}-{stage} to {own.cluster}": entry(stage) for stage in STAGES},
        f"the pod identity of {name} in {own.cluster}": identity,
    }


def _apply(client: Client, path: str, content: Tree) -> str:
    """Apply an object; a line if that changed it, else empty."""
    before = (client.get(path) or {}).get("metadata", {}).get("resourceVersion")
    after = client.apply(path, content)["metadata"]["resourceVersion"]
    how = "created" if before is None else "updated"
    return "" if before == after else f"{content['kind']} {content['metadata']['name']}: {how}"


def _class(client: Client, name: str, *, create: bool) -> list[str]:
    """Check that the cluster has this GatewayClass; the emulator's is created, and any belongs to its own controller.

    Raises:
        CloudError: it has not.
    """
    path = f"{GATEWAYS}/gatewayclasses/{name}"
    if client.get(path):
        return []
    if not create:
        raise CloudError(
            f"the cluster has no GatewayClass {name}",
            next="install a controller of the Gateway API, such as AWS Load Balancer Controller, with a GatewayClass; or correct "
            f"function.gateway_class in pipeline.toml; then invoke bootstrap {client.where}",
        )
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": name}}
    return [_apply(client, path, {**kind, "spec": {"controllerName": "embedded.invalid/gateway"}})]


def _gateway(kind: str) -> Tree:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": GATEWAY},
        "spec": {"gatewayClassName": kind, "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}]},
    }


def _wait_for_access(client: Client) -> None:
    """Wait until the cluster knows the administrator, whose rights reach it a moment after it is active.

    Raises:
        Rejected: it doesn't.
    """
    end = time.monotonic() + ACCESS_SECONDS
    while True:
        try:
            client.get("/api/v1/namespaces?limit=1")
            return
        except Rejected as error:
            if error.status not in (401, 403) or time.monotonic() > end:
                raise
        time.sleep(0.2)


def _entries(cloud: Cloud, cluster: str, config: Config, environment: Environment) -> list[str]:
    """Admit the delivery roles, each as a group of its own; a role that does not exist yet can't be admitted."""
    eks, name = cloud.client("eks"), config.name_of(environment)
    done = []
    for stage in STAGES:
        arn, groups = _principal(cloud, name, stage), [f"{name}-{stage}"]
        try:
            cloud.client("iam").get_role(RoleName=f"{name}-{stage}")
        except Exception as error:
            if code_of(error) != "NoSuchEntity":
                raise
            continue
        try:
            eks.create_access_entry(clusterName=cluster, principalArn=arn, kubernetesGroups=groups)
        except Exception as error:
            if code_of(error) != "ResourceInUseException":
                raise
            there = eks.describe_access_entry(clusterName=cluster, principalArn=arn)["accessEntry"]
            if there.get("kubernetesGroups") == groups:
                continue
            eks.update_access_entry(clusterName=cluster, principalArn=arn, kubernetesGroups=groups)
        done.append(f"access entry {name}-{stage}: created")
    return done


def _identity(cloud: Cloud, cluster: str, namespace: str, role: str) -> list[str]:
    """Give the service's pods their role."""
    eks = cloud.client("eks")
    asked = {"clusterName": cluster, "namespace": namespace, "serviceAccount": SERVICE_ACCOUNT}
    if eks.list_pod_identity_associations(**asked)["associations"]:
        return []
    eks.create_pod_identity_association(**asked, roleArn=role)
    return [f"pod identity of {SERVICE_ACCOUNT}: created"]


def _principal(cloud: Cloud, name: str, stage: str) -> str:
    return f"arn:aws:iam::{cloud.account}:role/{name}-{stage}"
