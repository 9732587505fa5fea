"""Which versions of Kubernetes have what is applied here: https://kubernetes.io/releases/."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ml_delivery.errors import CloudError

if TYPE_CHECKING:
    from ml_delivery.targets.eks.client import Client

__all__ = ["LEAST", "require"]

# The oldest one that the tests run on. Older ones drop fields that they don't know, such as a pod's seccompProfile.
LEAST = (1, 20)


def require(client: Client, cluster: str) -> str:
    """The cluster's version, such as ``v1.33.1-eks-1234567``.

    Raises:
        CloudError: it is older than ``LEAST``.
    """
    found = str((client.get("/version") or {}).get("gitVersion", ""))
    numbers = re.match(r"v(\d+)\.(\d+)", found)
    if numbers and (0, 0) < (int(numbers[1]), int(numbers[2])) < LEAST:  # 0.0 is a build that was given no version
        raise CloudError(
            f"the EKS cluster {cluster} runs Kubernetes {found}; {LEAST[0]}.{LEAST[1]} is the oldest that is supported",
            next=f"update the cluster, then invoke bootstrap {client.where}",
        )
    return found or "unknown"
