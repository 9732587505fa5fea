"""The next hyperparameters to try: at random, or where earlier trials were good.

``Bayesian`` here is a tree-structured Parzen estimator: the best quarter of the trials and the rest are each described by a
density for each parameter, and of some draws from the first that is taken which is likelier there than in the second.
Bergstra et al., 2011: https://papers.nips.cc/paper/4443-algorithms-for-hyper-parameter-optimization
SageMaker's own is Gaussian processes; both learn from finished trials, and neither promises a certain choice.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

STARTUP = 8  # trials at random, before there is something to learn from
DRAWS = 24
Values = dict[str, str]


@dataclass(frozen=True)
class Range:
    """One tuned parameter: between two numbers on a scale, or one of ``choices``."""

    name: str
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    scale: str = "Linear"
    choices: tuple[str, ...] = ()

    def value(self, place: float) -> str:
        """The value at a place between 0 and 1, as the string that a container gets."""
        if self.choices:
            return self.choices[min(int(place * len(self.choices)), len(self.choices) - 1)]
        if self.whole and self.scale == "Linear":
            return str(min(int(self.low + place * (self.high - self.low + 1)), int(self.high)))
        low, high = self._to(self.low), self._to(self.high)
        found = min(max(self._back(low + place * (high - low)), self.low), self.high)
        return str(round(found)) if self.whole else repr(found)

    def place(self, value: str) -> float:
        """Where a value is, between 0 and 1."""
        if self.choices:
            return (self.choices.index(value) + 0.5) / len(self.choices) if value in self.choices else 0.5
        if self.whole and self.scale == "Linear":
            return (float(value) - self.low + 0.5) / (self.high - self.low + 1)
        low, high = self._to(self.low), self._to(self.high)
        return (self._to(float(value)) - low) / (high - low) if high > low else 0.5

    def _to(self, number: float) -> float:
        if self.scale == "Logarithmic":
            return math.log(number)
        return -math.log(1 - number) if self.scale == "ReverseLogarithmic" else number

    def _back(self, number: float) -> float:
        if self.scale == "Logarithmic":
            return math.exp(number)
        return 1 - math.exp(-number) if self.scale == "ReverseLogarithmic" else number


@dataclass(frozen=True)
class Trial:
    """A finished trial; a smaller ``loss`` is better."""

    values: Values
    loss: float


def propose(ranges: Sequence[Range], trials: Sequence[Trial], chance: random.Random, *, learns: bool) -> Values:
    """The values to try next, each as a string."""
    if not learns or len(trials) < STARTUP:
        return {r.name: r.value(chance.random()) for r in ranges}
    ordered = sorted(trials, key=lambda trial: trial.loss)
    count = max(2, math.ceil(len(ordered) / 4))
    return {r.name: _likely(r, ordered[:count], ordered[count:], chance) for r in ranges}


def _likely(tuned: Range, good: Sequence[Trial], rest: Sequence[Trial], chance: random.Random) -> str:
    inside, outside = ([tuned.place(t.values[tuned.name]) for t in group] for group in (good, rest))
    if tuned.choices:
        best, other = _shares(tuned, inside), _shares(tuned, outside)
        drawn = chance.choices(tuned.choices, [best[c] for c in tuned.choices], k=DRAWS)
        return max(drawn, key=lambda choice: best[choice] / other[choice])
    spread = 1 / math.sqrt(len(inside) + 1) / 2
    # One of the kernels is the whole range, so that no part of it is ever given up.
    centres: list[float | None] = [*inside, None]
    places = [_draw(chance.choice(centres), spread, chance) for _ in range(DRAWS)]
    good_at, rest_at = _density(inside, spread), _density(outside, 1 / math.sqrt(len(outside) + 1) / 2)
    return tuned.value(max(places, key=lambda place: good_at(place) / rest_at(place)))


def _shares(tuned: Range, places: Sequence[float]) -> dict[str, float]:
    seen = [tuned.value(place) for place in places]
    return {choice: (seen.count(choice) + 1) / (len(seen) + len(tuned.choices)) for choice in tuned.choices}


def _draw(centre: float | None, spread: float, chance: random.Random) -> float:
    while centre is not None:
        if 0 <= (place := chance.gauss(centre, spread)) <= 1:
            return place
    return chance.random()


def _density(centres: Sequence[float], spread: float) -> Callable[[float], float]:
    def at(place: float) -> float:
        kernels = sum(math.exp(-(((place - c) / spread) ** 2) / 2) / spread / math.sqrt(2 * math.pi) for c in centres)
        return (1 + kernels) / (len(centres) + 1)

    return at
