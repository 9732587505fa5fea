"""What the pods' requests of processors and memory would cost, as an estimate by the list prices of Fargate.

Nodes of one's own have other prices, and room that is paid for and not used; what EKS charges for a cluster is not counted.
"""

from __future__ import annotations

from ml_delivery.records import Cost

__all__ = ["estimate"]

# https://aws.amazon.com/fargate/pricing/ (US East, as published in 2025; other regions differ by a few percent)
DOLLARS_PER_CPU_HOUR = {"x86_64": 0.04048, "arm64": 0.03238}
DOLLARS_PER_GB_HOUR = {"x86_64": 0.004445, "arm64": 0.00356}
HOURS_PER_MONTH = 720


def estimate(rate: float, replicas: int, cpu: int, memory: int, architecture: str, milliseconds: float) -> Cost:
    """The monthly cost of ``replicas`` pods, whatever the request ``rate``; 0 ``milliseconds`` means unknown."""
    hourly = cpu / 1000 * DOLLARS_PER_CPU_HOUR[architecture] + memory / 1024 * DOLLARS_PER_GB_HOUR[architecture]
    return Cost(rate, milliseconds, bool(milliseconds), replicas * hourly * HOURS_PER_MONTH)
