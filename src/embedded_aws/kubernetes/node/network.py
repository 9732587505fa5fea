"""The network of the cluster's own namespace: nothing in it reaches the machine's, but by the forwards of ``forward``.

The addresses on the loopback interface are the node's, the API server's as pods know it, and the one at which a pod finds
AWS, which is that of EKS's own agent: https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html
"""

from __future__ import annotations

import subprocess

NODE = "10.88.255.1"
SERVICES = "10.96.0.0/16"
API = "10.96.0.1"  # the first of SERVICES: https://kubernetes.io/docs/concepts/services-networking/service/
AWS = "169.254.170.23"
PODS = "10.88.0.0/17"
POD_GATEWAY = "10.88.0.1"


def up() -> None:
    """Bring up the loopback interface with these addresses; pods' traffic is routed."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (NODE, API, AWS):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
