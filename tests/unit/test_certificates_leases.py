"""How many names an Envoy holds, for how long, and which one it gives up."""

from __future__ import annotations

import tracemalloc

from xds.certificates.leases import LONGEST, Leases

IDLE = 10.0


def test_a_name_that_is_not_asked_for_again_is_over() -> None:
    leases = Leases(5, IDLE)
    assert leases.asked("e", "a", "a", 0.0) == []
    assert list(leases.due(IDLE - 1)) == []
    assert list(leases.due(IDLE)) == [("e", "a")]
    assert len(leases) == 0
    assert list(leases.due(1000.0)) == []


def test_a_name_asked_for_again_soon_lasts_longer_each_time_up_to_a_bound() -> None:
    leases, now, lasted = Leases(5, IDLE), 0.0, []
    for _ in range(8):
        leases.asked("e", "a", "a", now)
        began = now
        while not list(leases.due(now)):
            now += IDLE
        lasted.append((now - began) / IDLE)
    assert lasted == [1, 2, 4, 8, 16, 32, 32, 32]
    assert max(lasted) == LONGEST
    leases.asked("e", "a", "a", now + 2 * IDLE)
    assert list(leases.due(now + 3 * IDLE)) == [("e", "a")], "it came back late: it is no busy one any more"


def test_over_the_cap_the_certificate_with_the_most_names_gives_one_up() -> None:
    leases = Leases(4, IDLE)
    for name in ("own", "w1", "w2", "w3"):
        assert leases.asked("e", name, "own" if name == "own" else "wild", 0.0) == []
    assert leases.asked("e", "w4", "wild", 1.0) == [("e", "w1")]
    assert leases.asked("e", "other", "other", 2.0) == [("e", "w2")]
    assert len(leases) == 4


def test_each_envoy_has_a_cap_of_its_own() -> None:
    leases = Leases(1, IDLE)
    assert leases.asked("e", "a", "a", 0.0) == []
    assert leases.asked("f", "b", "b", 0.0) == []
    assert leases.asked("e", "c", "c", 0.0) == [("e", "a")]


def test_over_the_cap_of_all_together_the_envoy_with_the_most_names_gives_one_up() -> None:
    leases = Leases(10, IDLE, together=3)
    for holder, name in (("e", "a"), ("e", "b"), ("f", "c")):
        assert leases.asked(holder, name, name, 0.0) == []
    assert leases.asked("f", "d", "d", 0.0) == [("e", "a")]
    assert len(leases) == 3


def test_one_certificate_may_have_a_bound_of_its_own() -> None:
    leases = Leases(100, IDLE)
    given = [leases.asked("e", f"s{number}", "", 0.0, most=3) for number in range(5)]
    assert given == [[], [], [], [("e", "s0")], [("e", "s1")]]


def test_what_is_dropped_is_neither_due_nor_counted() -> None:
    leases = Leases(2, IDLE)
    leases.asked("e", "a", "a", 0.0)
    leases.dropped("e", "a")
    leases.dropped("e", "never")
    assert (len(leases), list(leases.due(100.0))) == (0, [])


def test_names_given_up_one_after_the_other_leave_nothing_behind() -> None:
    leases, sizes = Leases(100, 3_600.0), []
    tracemalloc.start()
    try:
        for number in range(40_000):
            leases.asked("e", f"stranger{number}.test", "", number * 0.001, most=64)
            if number in (9_999, 39_999):
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] < 2 * sizes[0]
    assert len(leases) == 64
    assert len(list(leases.due(10_000.0))) == 64
