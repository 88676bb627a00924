"""Random draws for the scenario: a seed gives the same numbers on every platform and every Python.

Python only guarantees the sequence of ``Random.random()`` for a seed, and the last bit of ``math.log``,
``exp`` and ``pow`` depends on the platform. So everything here uses ``random()``, the four operations of
IEEE 754 and comparisons, nothing else. Counts in a short span are an expected number rounded up or down by
chance, not Poisson, so that the documented figures of the scenario hold for every seed.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Generic, TypeVar

T = TypeVar("T")


class Draw:
    """One random stream. Each part of the scenario has its own, so changing one part leaves the others."""

    def __init__(self, seed: int, stream: int) -> None:
        """``seed`` is at least 0; ``stream`` is below 1,000 and distinguishes the parts."""
        # S311: this is a simulation; a seed that can be repeated is the point.
        self.random = random.Random(seed * 1000 + stream).random  # noqa: S311

    def below(self, limit: int) -> int:
        """A whole number from 0 to limit - 1."""
        return int(self.random() * limit)

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self.random() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random() < probability

    def pick(self, values: Sequence[T]) -> T:
        """One of the values, with equal probability."""
        return values[int(self.random() * len(values))]

    def count(self, expected: float) -> int:
        """``expected`` rounded up or down, so that the average is right."""
        return int(expected + self.random())

    def times(self, start_ms: int, span_ms: int, count: int) -> list[int]:
        """``count`` times within ``span_ms`` from ``start_ms``, in order."""
        return sorted(start_ms + int(self.random() * span_ms) for _ in range(count))

    def tail_ms(self, scale_ms: int) -> int:
        """A delay with a heavy tail: half are below ``scale_ms``, one in a hundred is above 99 times that.

        The attention for a post fades like this (log-logistic distribution with shape 1).
        """
        chance = self.random()
        return int(scale_ms * chance / (1.0 - chance))


class Weighted(Generic[T]):
    """Values, each with a weight."""

    def __init__(self, weights: Iterable[tuple[T, float]]) -> None:
        pairs = list(weights)
        self.values = [value for value, _ in pairs]
        self._bounds = list(accumulate(weight for _, weight in pairs))

    def pick(self, draw: Draw) -> T:
        """A value, with a probability that is proportional to its weight."""
        at = draw.random() * self._bounds[-1]
        return self.values[bisect_right(self._bounds, at, hi=len(self.values) - 1)]


def interpolate(knots: Sequence[tuple[int, float]], at: float) -> float:
    """Value at ``at`` of the line through the knots (sorted by their first member), constant outside."""
    if at <= knots[0][0]:
        return knots[0][1]
    for (left, low), (right, high) in pairwise(knots):
        if at < right:
            return low + (high - low) * (at - left) / (right - left)
    return knots[-1][1]
