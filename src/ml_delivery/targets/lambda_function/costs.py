"""What AWS would charge for a service by list prices: requests, duration and a load balancer; no free tier, logs or traffic."""

from __future__ import annotations

from ml_delivery.records import Cost

__all__ = ["DOLLARS_PER_REQUEST", "dollars_per_gb_second", "estimate"]

# https://aws.amazon.com/lambda/pricing/ (first tier, US East, as published in 2025; other regions differ by a few percent)
DOLLARS_PER_REQUEST = 0.20 / 1e6
DOLLARS_PER_GB_SECOND = {"x86_64": 0.0000166667, "arm64": 0.0000133334}
# https://aws.amazon.com/elasticloadbalancing/pricing/ (US East): a load balancer, called or not; and of its capacity units, one of
# which has 25 new connections a second, what a request on a connection of its own takes.
BALANCER_PER_HOUR = 0.0225
BALANCER_PER_REQUEST = 0.008 / 3600 / 25
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
        front = SECONDS_PER_MONTH / 3600 * BALANCER_PER_HOUR
        price += BALANCER_PER_REQUEST
    return Cost(rate, each, bool(milliseconds), front + rate * SECONDS_PER_MONTH * price)
