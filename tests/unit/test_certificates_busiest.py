"""Which names were asked for most of late."""

from __future__ import annotations

from xds.certificates.busiest import Busiest


def test_the_name_asked_for_most_comes_first_and_who_was_given_it_for_longer_counts_more() -> None:
    busiest = Busiest(100)
    for name in ("b", "a", "b"):
        busiest.asked(name)
    busiest.asked("long", 32)
    assert busiest.top(2) == ["long", "b"]


def test_a_name_that_was_busy_gives_way_to_one_that_is_and_is_forgotten_in_the_end() -> None:
    busiest = Busiest(100)
    busiest.asked("was", 4)
    for _ in range(3):
        busiest.fade()
    busiest.asked("is")
    assert busiest.top(2) == ["is", "was"]
    for _ in range(2):
        busiest.fade()
    assert len(busiest) == 0


def test_whoever_asks_for_name_after_name_fills_no_memory_and_drives_no_busy_one_out() -> None:
    busiest = Busiest(10)
    for _ in range(3):
        busiest.asked("busy")
    for number in range(1_000):
        busiest.asked(f"n{number}")
        assert len(busiest) <= 10
    assert busiest.top(1) == ["busy"]
