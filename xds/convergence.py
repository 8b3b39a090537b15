"""How long changes take to reach the Envoys: counts by duration, ten seconds each, over the last half hour. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

STEP = 10.0
"""Seconds of one point of the series."""
POINTS = 180
"""Points that are kept."""

_LEAST = 1e-4
_GROWTH = math.log(1.05)
"""Durations are counted in classes of which each is 5 % wider: so far a quantile may be too high."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of ``count`` durations, in seconds; zeros when there are none."""

    count: int = 0
    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """``at``: when its ten seconds began, by the clock that `Convergence` is told."""

    at: float
    quantiles: Quantiles


class _Counts:
    __slots__ = ("classes", "count", "longest", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0
        self.longest = 0.0
        self.classes: dict[int, int] = {}


class Convergence:
    """`note` costs the same however much was noted. Times are seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self.total = 0
        self._points: list[_Counts] = []

    def note(self, at: float, seconds: float) -> None:
        """At ``at`` an Envoy had what came ``seconds`` before."""
        number = int(at // STEP)
        if not self._points or self._points[-1].number != number:
            self._points.append(_Counts(number))
            del self._points[:-POINTS]
        counts = self._points[-1]
        place = max(0, math.ceil(math.log(max(seconds, _LEAST) / _LEAST) / _GROWTH))
        counts.classes[place] = counts.classes.get(place, 0) + 1
        counts.count += 1
        counts.longest = max(counts.longest, seconds)
        self.total += 1

    def series(self, now: float) -> Iterator[Point]:
        """The points of the last half hour in which something was noted, the oldest first."""
        for counts in self._since(now, STEP * POINTS):
            yield Point(counts.number * STEP, _quantiles([counts]))

    def lately(self, now: float, seconds: float) -> Quantiles:
        """Of the last ``seconds``, in whole points."""
        return _quantiles(self._since(now, seconds))

    def _since(self, now: float, seconds: float) -> list[_Counts]:
        least = int((now - seconds) // STEP)
        return [counts for counts in self._points if counts.number > least]


def _quantiles(points: Sequence[_Counts]) -> Quantiles:
    count = sum(one.count for one in points)
    if not count:
        return Quantiles()
    classes: dict[int, int] = {}
    for one in points:
        for place, many in one.classes.items():
            classes[place] = classes.get(place, 0) + many
    longest = max(one.longest for one in points)
    ordered = sorted(classes.items())
    return Quantiles(count, _at(ordered, 0.5 * count, longest), _at(ordered, 0.99 * count, longest), longest)


def _at(ordered: Iterable[tuple[int, int]], rank: float, longest: float) -> float:
    seen = 0
    for place, many in ordered:
        seen += many
        if seen >= rank:
            return min(longest, _LEAST * math.exp(place * _GROWTH))
    return longest
