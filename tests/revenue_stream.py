"""A simulated A/B: a stream of requests, most of which end without a purchase, the others with one of very different sizes."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from ml_delivery.experiments.reading import LEAST
from ml_delivery.experiments.statistics import Sample, interval, split_evidence

REQUESTS, LOOKS, ALPHA = 40_000, 80, 0.05
# Zero-inflated lognormal: 30 % buy; the logarithm of a purchase has the standard deviation that order lines of one product have
# in the UCI Online Retail set (https://archive.ics.uci.edu/dataset/352), 0.95 in the median product.
BUYS, MEDIAN, SPREAD = 0.3, 3.0, 0.95


@dataclass(frozen=True)
class Ended:
    """How it ended: with the better release by name, or "" for none; and after how many requests."""

    winner: str
    requests: int


def compare(seed: int, lift: float, split: float = 0.5) -> Ended:
    """Look ``LOOKS`` times, and stop at the first look that shows a difference; the challenger earns ``lift`` more."""
    random = Random(seed)
    uniform, purchase = random.random, random.lognormvariate
    counts, positives, totals, squares = [0, 0], [0, 0], [0.0, 0.0], [0.0, 0.0]
    step = REQUESTS // LOOKS
    for look in range(1, LOOKS + 1):
        for _ in range(step):
            arm = uniform() < split
            counts[arm] += 1
            if uniform() < BUYS:
                value = purchase(MEDIAN, SPREAD) * (1 + lift * arm)
                positives[arm] += 1
                totals[arm] += value
                squares[arm] += value * value
        if min(positives) < LEAST:
            continue
        control, challenger = (
            Sample(count, total / count, square / count - (total / count) ** 2)
            for count, total, square in zip(counts, totals, squares, strict=True)
        )
        low, high = interval(control, challenger, ALPHA, REQUESTS)
        if low > 0 or high < 0:
            return Ended("challenger" if low > 0 else "control", look * step)
    return Ended("", REQUESTS)


def largest_evidence(seed: int, share: float, expected: float = 0.5) -> float:
    """The largest evidence against the split that any look sees, when ``share`` of the requests go to the challenger."""
    random = Random(seed)
    counts, largest = [0, 0], 0.0
    for _ in range(LOOKS):
        for _ in range(REQUESTS // LOOKS):
            counts[random.random() < share] += 1
        largest = max(largest, split_evidence(counts[0], counts[1], expected))
    return largest
