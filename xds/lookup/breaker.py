"""When GDS isn't asked at all: after failures in a row it has a pause, then one question tries it. Pure."""

from __future__ import annotations

from typing import Literal

State = Literal["closed", "open", "trying"]
STATES: tuple[State, ...] = ("closed", "open", "trying")

LONGEST = 30
"""How many times as long as the first the longest pause is."""


class Breaker:
    """Open after ``failures`` in a row, for ``pause`` seconds; for twice as long each time that the try fails, too."""

    def __init__(self, failures: int, pause: float) -> None:
        self.opened = 0
        """Times that it opened."""
        self._failures = failures
        self._first = self._pause = pause
        self._row = 0
        self._until: float | None = None
        self._trying = False

    @property
    def state(self) -> State:
        if self._until is None:
            return "closed"
        return "trying" if self._trying else "open"

    def allows(self, now: float) -> bool:
        """Whether a question may be asked. What comes of it must be told: `succeeded` or `failed`."""
        if self._until is None:
            return True
        if now < self._until or self._trying:
            return False
        self._trying = True
        return True

    def rest(self, now: float) -> float:
        """Seconds in which nothing is allowed."""
        return 0.0 if self._until is None else max(0.0, self._until - now)

    def succeeded(self) -> None:
        self._row, self._until, self._trying, self._pause = 0, None, False, self._first

    def failed(self, now: float) -> None:
        self._row += 1
        if self._until is not None and not self._trying:
            return  # asked before it opened
        if self._trying:
            self._pause = min(2 * self._pause, LONGEST * self._first)
        elif self._row < self._failures:
            return
        self._trying = False
        self._until = now + self._pause
        self.opened += 1
