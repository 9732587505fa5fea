"""The emulator's cluster, which a bootstrap creates; on AWS the cluster is its administrator's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_delivery.cloud import code_of
from ml_delivery.errors import CloudError, Unsettled
from ml_delivery.waiting import wait

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud
    from ml_delivery.targets.eks.client import Tree

__all__ = ["ensure"]

# How the emulator gets a cluster, where it has none.
WAYS = (
    "start docker, which runs k3s, or name a cluster: PIPELINE_CLUSTER=FILE invoke cloud.up, where FILE is its kubeconfig, "
    "or, as root on Debian, a build of Kubernetes' servers"
)


def ensure(cloud: Cloud, cluster: str, role: str) -> None:
    """Create the emulator's cluster, unless it exists, and wait until it is active.

    Raises:
        CloudError: this machine has no way to one, or the emulator has one of another name.
        Unsettled: it failed to start; the message has the reason.
    """
    eks: Any = cloud.client("eks")
    with cloud.faults():
        try:
            eks.describe_cluster(name=cluster)
        except Exception as error:  # botocore makes the classes of a client's errors when it makes the client
            if code_of(error) != "ResourceNotFoundException":
                raise
            try:
                eks.create_cluster(name=cluster, roleArn=role, resourcesVpcConfig={})
            except Exception as refusal:  # likewise
                if code_of(refusal) == "ResourceLimitExceededException":
                    other = "set function.cluster to that in pipeline.toml, or invoke cloud.reset, which deletes it and all else"
                    raise CloudError(str(refusal), next=f"{other}; then run this again") from refusal
                if code_of(refusal) != "InvalidRequestException":
                    raise
                raise CloudError(str(refusal), next=f"{WAYS}; then run this again") from refusal

        def settled() -> Tree | None:
            found: Tree = eks.describe_cluster(name=cluster)["cluster"]
            return None if found["status"] == "CREATING" else found

        found = wait(settled, what=f"the EKS cluster {cluster}", seconds=180)
        if found["status"] != "ACTIVE":
            why = "".join(f": {issue['message']}" for issue in found.get("health", {}).get("issues", []))
            raise Unsettled(
                f"the EKS cluster {cluster} is {found['status']}{why}",
                next=f"remove the cause, or {WAYS}; then invoke cloud.down, and run this again",
            )
