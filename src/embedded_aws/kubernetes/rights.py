"""Access policies of EKS as roles of the cluster, whose API server knows no other rights than RBAC's.

https://docs.aws.amazon.com/eks/latest/userguide/access-policies.html
ministack has the rules; it would apply them by ``kubectl`` in the cluster's container.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedded_aws.kubernetes.api import Api

GROUP = "/apis/rbac.authorization.k8s.io/v1"
KINDS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "RoleBinding": "rolebindings",
}


def reconcile(api: Api, cluster: str, account: str, region: str) -> bool:
    """Make the roles and bindings that the cluster's associations ask for, and remove others; whether that is done."""
    from ministack.services import eks

    try:
        spaces = [item["metadata"]["name"] for item in api.get("/api/v1/namespaces")["items"]]
        wanted = {_path(item): item for item in eks._access_policy_rbac_objects(cluster, account, region, spaces)}
        for path, item in wanted.items():
            api.apply(path, item)
        label = f"labelSelector={eks._ACCESS_POLICY_BINDING_LABEL}%3Dtrue"
        for kind in ("ClusterRoleBinding", "RoleBinding"):
            for item in api.get(f"{GROUP}/{KINDS[kind]}?{label}")["items"]:
                path = _path({**item, "kind": kind})
                if path not in wanted:
                    api.delete(path)
    except Exception:  # whatever it is, this is tried again, and the server's log has the reason
        traceback.print_exc()
        return False
    return True


def _path(item: dict[str, Any]) -> str:
    metadata = item["metadata"]
    space = f"/namespaces/{metadata['namespace']}" if metadata.get("namespace") else ""
    return f"{GROUP}{space}/{KINDS[item['kind']]}/{metadata['name']}"
