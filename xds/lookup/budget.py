"""How many questions a second GDS is asked. Pure: time is handed in, in seconds."""

from __future__ import annotations


class Budget:
    """``rate`` a second; after a quiet while ``burst`` at once."""

    def __init__(self, rate: float, burst: int = 1) -> None:
        self._each = 1 / rate
        self._ahead = (burst - 1) * self._each
        self._next = float("-inf")

    def reserve(self, now: float, most: float) -> float | None:
        """Seconds until the question may be asked, and it counts; None when it would wait longer than ``most``."""
        wait = self.wait(now)
        if wait > most:
            return None
        self._next = max(self._next, now) + self._each
        return wait

    def wait(self, now: float) -> float:
        """Seconds until a question may be asked."""
        return max(0.0, max(self._next, now) - self._ahead - now)

    def backlog(self, now: float) -> float:
        """Seconds until nobody would have to wait, and the whole burst is there again."""
        return max(0.0, self._next - now)
