"""The guard: whether what GDS says may go to the edge by itself, or waits until somebody has looked at it. Pure.

What counts are the domains that would be routed otherwise than now: moved to another pod, or gone. Domains that are
added harm nobody and don't count, nor do pods by themselves: one that is removed counts by the domains on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from xds.gds.model import Pod

Reason = Literal["empty", "removed", "moved", "rollback"]
REASONS: tuple[Reason, ...] = ("empty", "removed", "moved", "rollback")


@dataclass(frozen=True, slots=True)
class Limits:
    """``share`` of the domains, between 0 and 1, that one change may move or remove; ``minimum``: fewer than so many
    are never held, but for the last ones. ``allow_empty``: a first directory without a domain isn't held."""

    share: float = 0.10
    minimum: int = 100
    enabled: bool = True
    allow_empty: bool = False

    @property
    def holds_empty(self) -> bool:
        return self.enabled and not self.allow_empty

    def allows(self, touched: int, domains: int) -> bool:
        """Whether a change of so many records, of a directory of so many ``domains``, passes whatever it does."""
        return not self.enabled or (touched < domains and touched <= self.most(domains))

    def most(self, domains: int) -> int:
        """How many domains a change may move or remove."""
        return max(self.minimum - 1, int(self.share * domains))


@dataclass(frozen=True, slots=True)
class Counts:
    """Of a difference, in domains but for the last two."""

    moved: int = 0
    removed: int = 0
    added: int = 0
    pods_removed: int = 0
    pods_changed: int = 0
    """Pods that are added or say something else."""

    @property
    def at_stake(self) -> int:
        return self.moved + self.removed


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a change is held: a reason for metrics, one for people."""

    reason: Reason
    text: str


def count(
    domains: Mapping[str, tuple[str | None, str | None]], pods: Mapping[str, tuple[Pod | None, Pod | None]]
) -> Counts:
    """Counts a difference, given as name -> (old, new)."""
    removed = sum([new is None for _, new in domains.values()])
    added = sum([old is None for old, _ in domains.values()])
    gone = sum([new is None for _, new in pods.values()])
    return Counts(len(domains) - removed - added, removed, added, gone, len(pods) - gone)


def judge(counts: Counts, domains: int, limits: Limits) -> Verdict | None:
    """None when a change of a directory of so many ``domains`` passes."""
    if not limits.enabled or not counts.at_stake:
        return None
    share = f"{counts.at_stake / domains:.0%} of {domains}" if domains else "all"
    if counts.removed == domains and not counts.added and domains > 1:
        return Verdict("empty", f"no domain of {domains} would be left")
    if counts.at_stake <= limits.most(domains):
        return None
    text = (
        f"{counts.removed} domains would be removed and {counts.moved} moved to another pod: {share}, and more than "
        f"{limits.most(domains)} are held (settings guard.share, guard.minimum)"
    )
    return Verdict("removed" if counts.removed >= counts.moved else "moved", text)
