"""The guard: whether what GDS says may go to the edge by itself, or waits until somebody has looked at it. Pure.

What counts are the domains that would be routed otherwise than now: moved to another pod, or gone. Domains that are
added harm nobody and don't count. A pod that is removed counts by the domains on it; pods that lose all of their
endpoints count as pods, since nobody can tell what their customers would see. Changes that follow each other within
some seconds count together (`xds.recent`), but for endpoints that are replaced: pods are moved one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from xds.gds.model import Pod

Reason = Literal["empty", "removed", "moved", "many", "endpoints", "rollback"]
REASONS: tuple[Reason, ...] = ("empty", "removed", "moved", "many", "endpoints", "rollback")

MOVED_PODS = 10
"""Fewer pods than this may get other endpoints in one change whatever their share: a GDS that was away for a while
brings all that were started anew meanwhile, and the old endpoints may be gone."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``share`` of the domains, between 0 and 1, that one change may move or remove; ``minimum``: fewer than so many
    are never held, but for the last ones. ``window``: seconds within which changes count together.
    ``least``: domains that a first directory has, else it is held; ``allow_empty``: none is right, too."""

    share: float = 0.10
    minimum: int = 100
    enabled: bool = True
    window: float = 60.0
    least: int = 1
    allow_empty: bool = False
    removed: int | None = None
    """Fewer than so many may be removed whatever their share, where that is less than ``minimum``: where GDS removes
    nothing by a word of its own, and an answer of 404 is all that tells."""

    def begins_with(self, domains: int) -> bool:
        """Whether a first directory of so many is served, when nothing is known from before."""
        return not self.enabled or domains >= self.least or (self.allow_empty and not domains)

    def allows(self, touched: int, domains: int) -> bool:
        """Whether a change of so many records, of a directory of so many ``domains``, passes whatever it does, but for
        what it may remove."""
        return not self.enabled or (touched < domains and touched <= self.most(domains))

    def most(self, domains: int) -> int:
        """How many domains a change may move or remove."""
        return max(self.minimum - 1, int(self.share * domains))

    def most_removed(self, domains: int) -> int:
        """How many of these it may remove."""
        return max(min(self.minimum, self.removed or self.minimum) - 1, int(self.share * domains))

    def loses_too_much(self, counts: Counts, pods: int, emptied: int) -> bool:
        """Whether too many of so many ``pods`` lose all of their endpoints; ``emptied`` are those that have, lately."""
        share = int(self.share * pods)
        gone = counts.pods_emptied and counts.pods_emptied + emptied
        return gone > max(1, share) or 0 < gone == pods or gone + counts.pods_replaced > max(MOVED_PODS - 1, share)


@dataclass(frozen=True, slots=True)
class Counts:
    """Of a difference, in domains but for the last two."""

    moved: int = 0
    removed: int = 0
    added: int = 0
    pods_removed: int = 0
    pods_changed: int = 0
    """Pods that are added or say something else."""
    pods_emptied: int = 0
    """Of those, pods that have no endpoint any more."""
    pods_replaced: int = 0
    """Pods that have endpoints, and none that they had."""

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
    return Counts(len(domains) - removed - added, removed, added, *pod_counts(pods))


def pod_counts(pods: Mapping[str, tuple[Pod | None, Pod | None]]) -> tuple[int, int, int, int]:
    """Of `Counts`: the pods removed, changed, emptied, replaced."""
    gone = sum([new is None for _, new in pods.values()])
    lost = [ends_lost(old, new) for old, new in pods.values()]
    return gone, len(pods) - gone, lost.count("emptied"), lost.count("replaced")


def ends_lost(old: Pod | None, new: Pod | None) -> Literal["", "emptied", "replaced"]:
    """How a pod that is there before and after lost all of its endpoints."""
    if old is None or new is None or not old.endpoints:
        return ""
    if not new.endpoints:
        return "emptied"
    before = {(one.address, one.port) for one in old.endpoints}
    return "replaced" if before.isdisjoint((one.address, one.port) for one in new.endpoints) else ""


def judge(
    counts: Counts,
    domains: int,
    limits: Limits,
    *,
    pods: int = 0,
    lately: int = 0,
    removed: int = 0,
    emptied: int = 0,
) -> Verdict | None:
    """None when a change of a directory of so many ``domains`` and ``pods`` passes. ``lately``: so many other domains
    were moved or removed within the window, ``removed`` of them removed; ``emptied``: so many other pods were."""
    if not limits.enabled:
        return None
    if limits.loses_too_much(counts, pods, emptied):
        text = (
            f"of {pods} pods, {counts.pods_emptied + emptied} would be without endpoints and {counts.pods_replaced} "
            "have none that they had (setting guard.share)"
        )
        return Verdict("endpoints", text)
    if not counts.at_stake:
        return None
    share = f"{counts.at_stake / domains:.0%} of {domains}" if domains else "all"
    if counts.removed == domains and not counts.added and domains > 1:
        return Verdict("empty", f"no domain of {domains} would be left")
    if counts.at_stake <= limits.most(domains) < counts.at_stake + lately:
        text = (
            f"{counts.at_stake} domains would be moved or removed, {lately} others were within {limits.window:.0f} s: "
            f"together more than {limits.most(domains)} (settings guard.share, guard.minimum, guard.window)"
        )
        return Verdict("many", text)
    if counts.at_stake <= limits.most(domains):
        return _removes_too_many(counts, domains, limits, removed)
    text = (
        f"{counts.removed} domains would be removed and {counts.moved} moved to another pod: {share}, and more than "
        f"{limits.most(domains)} are held (settings guard.share, guard.minimum)"
    )
    return Verdict("removed" if counts.removed >= counts.moved else "moved", text)


def _removes_too_many(counts: Counts, domains: int, limits: Limits, before: int) -> Verdict | None:
    most = limits.most_removed(domains)
    if not counts.removed or counts.removed + before <= most:
        return None
    others = f", {before} others were within {limits.window:.0f} s" if before else ""
    text = (
        f"of {domains} domains {counts.removed} would be removed{others}: more than {most} are held (settings "
        "guard.share, lookup.minimum)"
    )
    return Verdict("removed" if counts.removed > most else "many", text)
