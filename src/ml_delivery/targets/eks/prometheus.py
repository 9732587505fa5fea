"""What a pod measured, from its metrics in Prometheus's text format.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

__all__ = ["Measured", "read"]

SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.M)
LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Measured:
    """Requests of users, and those answered with a status of 500 or above; how many took at most so many seconds."""

    requests: int = 0
    failures: int = 0
    buckets: dict[float, int] = field(default_factory=dict)

    def __add__(self, other: Measured) -> Measured:
        bounds = {*self.buckets, *other.buckets}
        buckets = {bound: self.buckets.get(bound, 0) + other.buckets.get(bound, 0) for bound in sorted(bounds)}
        return Measured(self.requests + other.requests, self.failures + other.failures, buckets)

    @property
    def p95(self) -> float:
        """The 95th percentile in milliseconds, as ``histogram_quantile`` estimates it; 0 without requests.

        https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
        """
        total = self.buckets.get(math.inf, 0)
        below, count = 0.0, 0
        for bound, upto in sorted(self.buckets.items()):
            if total and upto >= 0.95 * total:
                if math.isinf(bound):
                    return below * 1000
                return (below + (bound - below) * (0.95 * total - count) / max(upto - count, 1)) * 1000
            below, count = bound, upto
        return 0.0


def read(text: str) -> Measured:
    """What the metrics ``http_requests_total`` and ``http_request_duration_seconds`` in ``text`` say."""
    requests = failures = 0
    buckets: dict[float, int] = {}
    for name, labels, value in SAMPLE.findall(text):
        of = dict(LABEL.findall(labels))
        if name == "http_requests_total":
            requests += int(float(value))
            failures += int(float(value)) if of.get("status", "").startswith("5") else 0
        elif name == "http_request_duration_seconds_bucket":
            bound = float(of["le"])
            buckets[bound] = buckets.get(bound, 0) + int(float(value))
    return Measured(requests, failures, buckets)
