"""Whether the parts grow: memory and open files by role, over the whole run, however often a part was started anew.

A process that is young is small, so what is compared are medians over many samples: of the second quarter of the run,
when every kind of fault has been, and of the last. A leak that each process begins anew is seen within processes: what
one had at its first sample, once it was warm, and at its last.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

WARM = 45.0
"""Seconds of a process's life after which it is compared with itself."""


@dataclass(frozen=True)
class Sample:
    """``at``: seconds since the run began; ``memory``: bytes."""

    at: float
    role: str
    process: int
    memory: int
    files: int


@dataclass(frozen=True)
class Growth:
    """Of a role, in bytes and open files. ``within``: the largest of one process, as long as one lived."""

    role: str
    memory: int
    files: int
    within_memory: int
    within_files: int
    processes: int
    samples: int

    def too_much(self, memory: int, files: int) -> bool:
        return max(self.memory, self.within_memory) > memory or max(self.files, self.within_files) > files


def growths(samples: Iterable[Sample], seconds: float) -> list[Growth]:
    """By role; ``seconds`` is how long the run was."""
    roles: dict[str, list[Sample]] = {}
    for one in samples:
        roles.setdefault(one.role, []).append(one)
    return [_growth(role, found, seconds) for role, found in sorted(roles.items())]


def _growth(role: str, samples: list[Sample], seconds: float) -> Growth:
    early = [one for one in samples if 0.25 * seconds <= one.at < 0.5 * seconds] or samples[:1]
    late = [one for one in samples if one.at >= 0.75 * seconds] or samples[-1:]
    lives: dict[int, list[Sample]] = {}
    for one in samples:
        lives.setdefault(one.process, []).append(one)
    within = [(warm[0], warm[-1]) for life in lives.values() if (warm := _warm(life))]
    return Growth(
        role,
        round(statistics.median(one.memory for one in late) - statistics.median(one.memory for one in early)),
        round(statistics.median(one.files for one in late) - statistics.median(one.files for one in early)),
        max((last.memory - first.memory for first, last in within), default=0),
        max((last.files - first.files for first, last in within), default=0),
        len(lives),
        len(samples),
    )


def _warm(life: list[Sample]) -> list[Sample]:
    return [one for one in life if one.at >= life[0].at + WARM]
