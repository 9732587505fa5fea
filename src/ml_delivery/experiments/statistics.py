"""Statistics that stay valid however often one looks, and whenever one stops.

A test that is made for one look reports a difference far too often when it is read again and again until there is one. Here the
probability that a wrong statement is *ever* made, over all looks together, is at most alpha.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Sample", "interval", "split_evidence"]

# How strongly the test of the split expects small deviations: of about 1.6 percentage points at 50 %.
CONCENTRATION = 1000.0


@dataclass(frozen=True)
class Sample:
    """The units of one release: how many, and the mean and variance of their values, those of 0 included."""

    count: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: Iterable[float], count: int) -> Sample:
        """``count`` units, of which those without one of ``values`` have the value 0."""
        known = list(values)
        if not count:
            return cls(0, 0.0, 0.0)
        mean = math.fsum(known) / count
        squares = math.fsum((value - mean) ** 2 for value in known) + (count - len(known)) * mean**2
        return cls(count, mean, squares / count)


def interval(control: Sample, challenger: Sample, alpha: float, planned: int) -> tuple[float, float]:
    """An asymptotic confidence sequence for the difference of two means, challenger minus control.

    With probability 1 - alpha, as the number of units grows, it contains the true difference at all looks at once. For t
    units with standard deviation s, it is the mean ± s √(2(tρ² + 1) / (t²ρ²) · ln(√(tρ² + 1) / α)), which is tightest at t =
    ``planned`` with ρ² = (-2 ln α + ln(1 - 2 ln α)) / ``planned``: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform
    central limit theory and asymptotic confidence sequences", https://arxiv.org/abs/2103.06476, theorem 2.2 and its appendix on
    ρ. s² / t is the variance of the difference of two independent means.

    Args:
        control, challenger: both with at least one unit.
        alpha: between 0 and 1.
        planned: for which number of units, of both together, it is tightest.
    """
    t = control.count + challenger.count
    rho2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / planned
    variance = t * (control.variance / control.count + challenger.variance / challenger.count)
    growth = t * rho2 + 1
    width = math.sqrt(variance) * math.sqrt(2 * growth / (t * t * rho2) * (math.log(growth) / 2 - math.log(alpha)))
    difference = challenger.mean - control.mean
    return difference - width, difference + width


def split_evidence(control: int, challenger: int, share: float) -> float:
    """Evidence against a split in which ``share`` (between 0 and 1) of the units go to the challenger, as ln of an e-value.

    The split is refuted at level a once this is at least -ln a. If the split is right, that ever happens with probability
    a at most, whichever the number of looks (Ville's inequality); a chi-square test, read as often, would call a right split
    wrong. It is the ratio of the likelihood under a beta mixture around ``share`` to the one under ``share``: Lindon and Malek,
    "Anytime-valid inference for multinomial count data", https://arxiv.org/abs/2011.03567.
    """
    a, b = CONCENTRATION * share, CONCENTRATION * (1 - share)
    mixed = _log_beta(a + challenger, b + control) - _log_beta(a, b)
    return mixed - challenger * math.log(share) - control * math.log(1 - share)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
