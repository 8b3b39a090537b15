"""Whether certificates that are gone from the folder may go from the edge, or so many are gone that it is rather the
folder that is: not mounted, emptied by mistake. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

FEW = 10
"""So many may always go, unless they are all that there are."""


@dataclass(frozen=True, slots=True)
class Limits:
    """As the settings ``guard``: more than ``share`` of all, gone within ``window`` seconds, are kept."""

    share: float = 0.10
    window: float = 60.0
    enabled: bool = True


class Losses:
    """Remembers what went within the window, so that many small losses are one large one."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lately: deque[tuple[float, int]] = deque()

    def may_go(self, gone: int, held: int, now: float) -> bool:
        """``gone``: of those ``held``. ``now``: monotonic seconds."""
        limits = self._limits
        while self._lately and self._lately[0][0] < now - limits.window:
            self._lately.popleft()
        lately = sum(count for _, count in self._lately)
        together, all_before = lately + gone, held + lately
        emptied = gone == held and together > 1
        if limits.enabled and (emptied or together > max(FEW, limits.share * all_before)):
            return False
        if gone:
            self._lately.append((now, gone))
        return True
