"""Which Envoys lack something that was published a while ago, however much was published since."""

from __future__ import annotations

import pytest

from xds.milestones import Milestones
from xds.receipts import Receipts

LATE = 5.0


def receipts(*envoys: str) -> Receipts:
    made = Receipts()
    for name in envoys:
        made.joined(name, name, 0.0)
        made.reached(name, 0, 0.0)
    return made


@pytest.mark.parametrize("rate", [0.5, 2, 20, 500])
def test_an_envoy_that_hangs_is_late_at_any_rate_of_changes(rate: float) -> None:
    fleet = receipts("well", "hangs")
    for number in range(1, int(60 * rate) + 1):
        at = number / rate
        fleet.published("E", number, number, at)
        fleet.reached("well", number, at + 0.01)
        if at > LATE + 2 + 1 / rate:
            assert fleet.late(at - LATE) == ["hangs"]
    fleet.reached("hangs", int(60 * rate), 61.0)
    assert fleet.late(61.0 - LATE) == []


def test_an_envoy_that_is_behind_only_the_newest_change_is_not_late() -> None:
    fleet = receipts("a")
    fleet.published("E", 1, 1, 10.0)
    fleet.reached("a", 1, 10.1)
    fleet.published("E", 2, 2, 20.0)
    assert fleet.late(24.0 - LATE) == []


def test_the_last_change_before_silence_counts_though_another_came_just_before_it() -> None:
    fleet = receipts("a")
    for number, at in enumerate((10.0, 10.1, 10.2), 1):
        fleet.published("E", number, number, at)
    fleet.reached("a", 2, 10.3)
    assert fleet.late(60.0 - LATE) == ["a"]


def test_an_envoy_that_has_just_come_or_has_left_is_not_late() -> None:
    fleet = receipts("a")
    fleet.published("E", 1, 1, 10.0)
    fleet.joined("new", "new", 19.0)
    fleet.left("a", 19.5)
    assert fleet.late(20.0 - LATE) == []
    assert fleet.late(25.0 - LATE) == ["new"], "it says nothing for longer than five seconds"


def test_milestones_are_bounded() -> None:
    marks = Milestones(kept=10)
    for number in range(100_000):
        marks.note(number, number / 100)
    assert marks.before(1_000.0) == 99_999
    assert marks.before(998.0) in range(99_700, 99_801), "the newest from then or a little before"
    assert marks.before(1.0) is None
