"""When GDS isn't asked at all: after failures in a row it has a pause, then one question tries it. Pure."""

from __future__ import annotations

from typing import Literal

State = Literal["closed", "open", "trying"]
STATES: tuple[State, ...] = ("closed", "open", "trying")

LONGEST = 30
"""How many times as long as the first the longest pause is."""
_NEVER = float("inf")


class Breaker:
    """Open after ``failures`` in a row, for ``pause`` seconds; for twice as long each time that the try fails, too.

    The failures of one host count once: what GDS can't say of it says nothing of others, and whoever asks for it again
    and again must not shut it for all.
    """

    def __init__(self, failures: int, pause: float) -> None:
        self.opened = 0
        """Times that it opened."""
        self._failures = failures
        self._first = self._pause = pause
        self._hosts: set[str] = set()
        self._of_all = 0
        """Failures in a row that are no host's."""
        self._until: float | None = None
        self._tries = _NEVER
        """When the try began."""
        self._early = False
        """The try didn't wait for the end of the pause."""

    @property
    def state(self) -> State:
        if self._until is None:
            return "closed"
        return "open" if self._tries == _NEVER else "trying"

    def allows(self, now: float, *, early: bool = False) -> bool:
        """Whether a question may be asked; ``early``: it may be the try though the pause isn't over. What comes of it
        must be told: `answered`, `succeeded` or `failed`."""
        if self._until is None:
            return True
        if self._tries != _NEVER or (now < self._until and not early):
            return False
        self._tries, self._early = now, now < self._until
        return True

    def rest(self, now: float) -> float:
        """Seconds in which nothing is allowed but an early try."""
        return 0.0 if self._until is None else max(0.0, self._until - now)

    def succeeded(self) -> None:
        self._hosts, self._of_all, self._until, self._tries, self._pause = set(), 0, None, _NEVER, self._first

    def answered(self, begun: float) -> None:
        """GDS is there, and refused one host: that ends a pause, and no row of failures. ``begun``: as `failed`."""
        if begun >= self._tries:
            self.succeeded()

    def failed(self, now: float, host: str | None, begun: float) -> None:
        """The question for ``host`` that was ``begun`` then failed; None: whichever it had been for."""
        if self._until is not None and begun < self._tries:
            return  # asked before it opened
        if self._until is None:
            if host is None:
                self._of_all += 1
            else:
                self._hosts.add(host)
            if self._of_all + len(self._hosts) < self._failures:
                return
        elif self._early:
            self._tries = _NEVER  # the pause goes on
            return
        else:
            self._pause = min(2 * self._pause, LONGEST * self._first)
        self._tries = _NEVER
        self._until = now + self._pause
        self.opened += 1
