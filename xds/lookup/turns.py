"""What GDS's answers usually take, and who would have left by the time of theirs. Pure."""

from __future__ import annotations

_WEIGHT = 0.1
"""Of the newest answer: a GDS that turns slow is seen within some twenty answers."""


class Usual:
    """``seconds``: what GDS's answers of late took, failures too."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def took(self, seconds: float) -> None:
        self.seconds += _WEIGHT * (seconds - self.seconds)

    def too_late(self, ahead: int, places: int, left: float) -> bool:
        """Whether one who waits for one of so many ``places``, none of which is free, after ``ahead`` others, is
        answered when it has left, in ``left`` seconds."""
        return ((ahead + 1) / places + 1) * self.seconds > left
