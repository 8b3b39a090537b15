"""The guard: what is large against the directory waits for somebody; small directories and small changes never do."""

from __future__ import annotations

import pytest

from xds.gds.model import Pod
from xds.guard import Counts, Limits, count, judge

LIMITS = Limits(share=0.10, minimum=100)


def test_counts_are_of_domains_by_what_happens_to_them() -> None:
    moves = {"a": ("p", "q"), "b": ("p", None), "c": (None, "p"), "d": ("q", None)}
    pods = {"p": (Pod("p"), None), "q": (None, Pod("q"))}
    assert count(moves, pods) == Counts(moved=1, removed=2, added=1, pods_removed=1, pods_changed=1)


@pytest.mark.parametrize(
    ("counts", "domains", "reason"),
    [
        (Counts(moved=100), 1000, None),
        (Counts(moved=101), 1000, "moved"),
        (Counts(removed=500), 1000, "removed"),
        (Counts(removed=60, moved=60), 1000, "removed"),
        (Counts(removed=20, moved=90), 1000, "moved"),
        (Counts(added=100_000), 1000, None),
        (Counts(removed=1000), 1000, "empty"),
        (Counts(removed=1000, added=1000), 1000, "removed"),
    ],
)
def test_more_than_the_share_is_held(counts: Counts, domains: int, reason: str | None) -> None:
    verdict = judge(counts, domains, LIMITS)
    assert (verdict.reason if verdict else None) == reason


@pytest.mark.parametrize(
    ("counts", "domains", "held"),
    [
        (Counts(moved=2), 3, False),
        (Counts(moved=99), 150, False),
        (Counts(moved=100), 150, True),
        (Counts(removed=1), 1, False),
        (Counts(removed=3), 3, True),
        (Counts(), 0, False),
    ],
)
def test_a_small_directory_is_held_only_when_all_of_it_would_go(counts: Counts, domains: int, held: bool) -> None:
    assert (judge(counts, domains, LIMITS) is not None) == held


def test_a_guard_that_is_off_holds_nothing() -> None:
    assert judge(Counts(removed=1000), 1000, Limits(enabled=False)) is None
    assert Limits(enabled=False).allows(1000, 1000)


@pytest.mark.parametrize("domains", [1, 3, 99, 100, 101, 5000])
@pytest.mark.parametrize("touched", [0, 1, 2, 99, 100, 101, 500, 501])
def test_what_passes_unseen_would_pass_the_judge_whatever_it_does(domains: int, touched: int) -> None:
    if touched <= domains and LIMITS.allows(touched, domains):
        assert judge(Counts(removed=touched), domains, LIMITS) is None
        assert judge(Counts(moved=touched), domains, LIMITS) is None


def test_the_reason_says_how_many_and_which_setting() -> None:
    verdict = judge(Counts(removed=500_000, moved=3), 1_000_000, LIMITS)
    assert verdict
    assert "500000 domains would be removed and 3 moved" in verdict.text
    assert "guard.share" in verdict.text
