"""What an endpoint's instances cost by list prices, whether they are called or not; no data transfer, logs or storage."""

from __future__ import annotations

from ml_delivery.records import Cost

__all__ = ["estimate"]

# Real-time inference in US East, to be compared with https://aws.amazon.com/sagemaker/pricing/: written down from memory, and
# not checked since. Other regions differ. Of other instance types the cost is not known here.
DOLLARS_PER_HOUR = {
    "ml.t2.medium": 0.0556,
    "ml.t2.large": 0.1114,
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.m5.4xlarge": 0.922,
    "ml.c5.large": 0.102,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
}
HOURS_PER_MONTH = 720


def estimate(rate: float, instance_type: str, instances: int, milliseconds: float) -> Cost | None:
    """The monthly cost, whatever the request ``rate``; 0 ``milliseconds`` means unknown. None for a type without a price."""
    price = DOLLARS_PER_HOUR.get(instance_type)
    if price is None:
        return None
    return Cost(rate, milliseconds, bool(milliseconds), instances * price * HOURS_PER_MONTH)
