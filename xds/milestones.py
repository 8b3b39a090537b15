"""Which publish was the newest one at some moment of the last seconds, without a list of all of them. Pure."""

from __future__ import annotations

from collections import deque

_APART = 0.5
"""Seconds between two that are remembered: so late, at most, is it seen that a publish is older than asked for."""


class Milestones:
    """``kept``: as many are remembered, some half seconds each while much is published."""

    def __init__(self, kept: int = 60) -> None:
        self._all: deque[tuple[float, int]] = deque(maxlen=kept)

    def note(self, mark: int, at: float) -> None:
        """The newest publish is ``mark``, since ``at`` seconds."""
        if len(self._all) > 1 and at - self._all[-2][0] < _APART:
            self._all[-1] = at, mark
        else:
            self._all.append((at, mark))

    def before(self, at: float) -> int | None:
        """The mark of the newest that is remembered from then or before it; None when there is none."""
        return next((mark for then, mark in reversed(self._all) if then <= at), None)
