"""What an endpoint's instances cost, whether they are called or not: an estimate, without data transfer, logs and storage.

The prices are those of US East (N. Virginia); other regions differ. None was read from AWS's price list directly: three are as
others quote it, with its usage type and the day; the rest is as public tables of prices agree on, which name no usage type.
"""

from __future__ import annotations

from ml_delivery.records import Cost

__all__ = ["estimate", "monthly"]

# Real-time inference, looked up on 2026-11-26; https://aws.amazon.com/sagemaker/pricing/ has today's. Of other instance types the
# cost is not known here; of ml.t2.large no two tables agree.
DOLLARS_PER_HOUR = {
    # Quoted from AWS's Price List API as USE1-Host:ml.m5.large, and so on; ml.m5.xlarge and ml.m5.2xlarge as of 2026-09-28.
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    # As public tables have them; of ml.t2.medium older ones have 0.065.
    "ml.m5.4xlarge": 0.922,
    "ml.t2.medium": 0.056,
    "ml.c5.large": 0.102,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
}
HOURS_PER_MONTH = 720


def estimate(rate: float, instance_type: str, instances: int, milliseconds: float) -> Cost | None:
    """The monthly cost, whatever the request ``rate``; 0 ``milliseconds`` means unknown. None for a type without a price."""
    dollars = monthly([(instance_type, instances)])
    return None if dollars is None else Cost(rate, milliseconds, bool(milliseconds), dollars)


def monthly(running: list[tuple[str, int]]) -> float | None:
    """What these numbers of instances cost, each with its type; None if one of the types has no price here."""
    prices = [DOLLARS_PER_HOUR.get(instance_type) for instance_type, _ in running]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    return sum(price * count for price, (_, count) in zip(known, running, strict=True)) * HOURS_PER_MONTH
