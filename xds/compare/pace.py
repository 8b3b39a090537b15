"""How much a comparison may ask GDS: so many questions a second, and none any more when it fails again and again. Pure:
the clock is the caller's.
"""

from __future__ import annotations

from xds.errors import CompareError


class Pace:
    """One question after the other, ``rate`` a second; time that wasn't used isn't made up for."""

    def __init__(self, rate: float) -> None:
        self._gap = 1 / rate
        self._next = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next question may be asked; it is the caller's, who must ask."""
        at = max(now, self._next)
        self._next = at + self._gap
        return at - now


class Patience:
    """With one who is asked: after so many ``failures`` in a row it is rather down than unlucky."""

    def __init__(self, name: str, failures: int) -> None:
        self._name = name
        self._failures = failures
        self._row = 0

    def answered(self) -> None:
        self._row = 0

    def failed(self, error: str) -> None:
        """Raises CompareError when it was the last of too many."""
        self._row += 1
        if self._row >= self._failures:
            raise CompareError(f"{self._name} failed {self._row} times in a row and isn't asked any more: {error}")
