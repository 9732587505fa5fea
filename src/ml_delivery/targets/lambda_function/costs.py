"""What AWS would charge for a service by list prices: requests, duration and a load balancer; no free tier, logs or traffic."""

from __future__ import annotations

from ml_delivery.records import Cost
from ml_delivery.targets.lambda_function import load_balancer

__all__ = ["DOLLARS_PER_REQUEST", "dollars_per_gb_second", "estimate"]

# https://aws.amazon.com/lambda/pricing/ (first tier, US East, as published in 2025; other regions differ by a few percent)
DOLLARS_PER_REQUEST = 0.20 / 1e6
DOLLARS_PER_GB_SECOND = {"x86_64": 0.0000166667, "arm64": 0.0000133334}
SECONDS_PER_MONTH = 30 * 86_400
ASSUMED_MILLISECONDS = 100.0


def dollars_per_gb_second(architecture: str) -> str:
    """The price of one GB-second in US dollars, as a decimal number without an exponent."""
    return f"{DOLLARS_PER_GB_SECOND[architecture]:.10f}"


def estimate(rate: float, memory: int, architecture: str, milliseconds: float, *, balanced: bool = False) -> Cost:
    """The monthly cost of ``rate`` requests a second with ``memory`` megabytes; 0 ``milliseconds`` means unknown.

    ``balanced``: with that of the load balancer in front, which charges by the hour too; each request has its own connection.
    """
    each = milliseconds or ASSUMED_MILLISECONDS
    gb_seconds = each / 1000 * memory / 1024
    price = DOLLARS_PER_REQUEST + gb_seconds * DOLLARS_PER_GB_SECOND[architecture]
    front = 0.0
    if balanced:
        front = SECONDS_PER_MONTH / 3600 * load_balancer.DOLLARS_PER_HOUR
        price += load_balancer.DOLLARS_PER_REQUEST
    return Cost(rate, each, bool(milliseconds), front + rate * SECONDS_PER_MONTH * price)
