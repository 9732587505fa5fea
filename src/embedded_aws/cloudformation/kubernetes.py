"""A stack can hold an access entry of a cluster, and the association of a service account with a role; its cluster is waited for.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-eks-accessentry.html
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-eks-podidentityassociation.html
ministack's EKS has both, its CloudFormation knows neither type. It calls a cluster created that is still being created.
"""

from __future__ import annotations

import json
import time
from typing import Any

CLUSTER, ENTRY, ASSOCIATION = "AWS::EKS::Cluster", "AWS::EKS::AccessEntry", "AWS::EKS::PodIdentityAssociation"
CLUSTER_SECONDS = 120
Created = tuple[str, dict[str, str]]


def patch() -> None:
    """Add the types, and have a cluster's creation wait."""
    from ministack.services.cloudformation import provisioners, stacks

    handlers, on_thread = provisioners._RESOURCE_HANDLERS, stacks._runs_on_worker_thread
    handlers[ENTRY] = {"create": create_entry, "update": update_entry, "delete": delete_entry}
    handlers[ASSOCIATION] = {
        "create": create_association,
        "update": update_association,
        "delete": delete_association,
    }
    create = handlers[CLUSTER]["create"]

    def create_and_wait(logical_id: str, properties: dict[str, Any], stack: str) -> Created:
        name, _ = create(logical_id, properties, stack)
        return name, _when_active(name)

    handlers[CLUSTER] = {**handlers[CLUSTER], "create": create_and_wait}
    # A cluster takes seconds to start and to end, and asks this server who its nodes are meanwhile.
    stacks._runs_on_worker_thread = lambda kind: kind == CLUSTER or on_thread(kind)


def create_entry(logical_id: str, properties: dict[str, Any], stack: str) -> Created:
    """Create it with EKS's own operations, whose error fails the resource; returns its ID and attributes."""
    from ministack.services import eks

    cluster, principal = properties["ClusterName"], properties["PrincipalArn"]
    entry = _answer(eks._create_access_entry(cluster, _entry(properties)))["accessEntry"]
    _associate(properties)
    return f"{principal}|{cluster}", {"AccessEntryArn": entry["accessEntryArn"]}


def update_entry(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str) -> Created:
    """Groups, name and policies are changed in place; another cluster, principal or type is another entry."""
    from ministack.services import eks

    if any(old.get(name) != new.get(name) for name in ("ClusterName", "PrincipalArn", "Type")):
        return create_entry("", new, stack)
    cluster, principal = new["ClusterName"], new["PrincipalArn"]
    entry = _answer(eks._update_access_entry(cluster, principal, _entry(new)))["accessEntry"]
    kept = {policy["PolicyArn"] for policy in new.get("AccessPolicies", [])}
    for policy in old.get("AccessPolicies", []):
        if policy["PolicyArn"] not in kept:
            _answer(eks._disassociate_access_policy(cluster, principal, policy["PolicyArn"]))
    _associate(new)
    return physical_id, {"AccessEntryArn": entry["accessEntryArn"]}


def delete_entry(physical_id: str, properties: dict[str, Any]) -> None:
    """Delete it, if it exists."""
    from ministack.services import eks

    principal, _, cluster = physical_id.rpartition("|")
    eks._delete_access_entry(cluster, principal)


def create_association(logical_id: str, properties: dict[str, Any], stack: str) -> Created:
    """Create it with EKS's own operation, whose error fails the resource; returns its ARN and attributes."""
    from ministack.services import eks

    body = {
        "namespace": properties["Namespace"],
        "serviceAccount": properties["ServiceAccount"],
        "roleArn": properties["RoleArn"],
        "tags": _tags(properties),
    }
    found = _answer(eks._create_pod_identity_association(properties["ClusterName"], body))["association"]
    return found["associationArn"], {
        "AssociationArn": found["associationArn"],
        "AssociationId": found["associationId"],
    }


def update_association(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str) -> Created:
    """Its role is changed in place; another cluster, namespace or service account is another association."""
    from ministack.services import eks

    if any(old[name] != new[name] for name in ("ClusterName", "Namespace", "ServiceAccount")):
        return create_association("", new, stack)
    number = physical_id.rpartition("/")[2]
    _answer(eks._update_pod_identity_association(new["ClusterName"], number, {"roleArn": new["RoleArn"]}))
    return physical_id, {"AssociationArn": physical_id, "AssociationId": number}


def delete_association(physical_id: str, properties: dict[str, Any]) -> None:
    """Delete it, if it exists."""
    from ministack.services import eks

    _, cluster, number = physical_id.rsplit("/", 2)
    eks._delete_pod_identity_association(cluster, number)


def _when_active(name: str) -> dict[str, str]:
    """A cluster's attributes, once it is active; it is created by another thread."""
    from ministack.services import eks
    from ministack.services.cloudformation import provisioners

    end = time.monotonic() + CLUSTER_SECONDS
    while (cluster := eks._clusters[name])["status"] == "CREATING" and time.monotonic() < end:
        time.sleep(0.1)
    if cluster["status"] != "ACTIVE":
        raise ValueError(f"the cluster {name} is {cluster['status']}")
    attributes: dict[str, str] = provisioners._eks_cluster_attrs(cluster)
    return attributes


def _entry(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "principalArn": properties["PrincipalArn"],
        "kubernetesGroups": properties.get("KubernetesGroups", []),
        "username": properties.get("Username", ""),
        "type": properties.get("Type", "STANDARD"),
        "tags": _tags(properties),
    }


def _associate(properties: dict[str, Any]) -> None:
    from ministack.services import eks

    for policy in properties.get("AccessPolicies", []):
        scope = policy["AccessScope"]
        body = {
            "policyArn": policy["PolicyArn"],
            "accessScope": {"type": scope["Type"], "namespaces": scope.get("Namespaces", [])},
        }
        _answer(eks._associate_access_policy(properties["ClusterName"], properties["PrincipalArn"], body))


def _answer(answer: tuple[int, Any, bytes]) -> dict[str, Any]:
    status, _, body = answer
    found: dict[str, Any] = json.loads(body)
    if status >= 400:
        raise ValueError(found["message"])
    return found


def _tags(properties: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}
