"""Envoys that left: which of them came back, and which aren't waited for any more."""

from __future__ import annotations

from xds.absences import Absences, Absent


def gone(number: int, who: str, left: float, position: int = 0) -> Absent:
    return Absent(number, who, who, position, left)


def test_one_that_left_is_absent_until_it_is_back() -> None:
    absences = Absences(grace=30)
    absences.add(gone(1, "edge-1", 0))
    assert [absent.who for absent in absences] == ["edge-1"]
    assert absences.returned("edge-2") is None
    assert absences.returned("edge-1") == gone(1, "edge-1", 0)
    assert absences.returned("edge-1") is None
    assert not len(absences)


def test_one_whose_time_is_over_is_not_absent_any_more() -> None:
    absences = Absences(grace=30)
    absences.add(gone(1, "edge-1", 0))
    absences.add(gone(2, "edge-2", 10))
    assert absences.over(29.9) == []
    assert absences.over(30) == [gone(1, "edge-1", 0)]
    assert [absent.who for absent in absences] == ["edge-2"]


def test_of_several_of_a_name_the_one_that_left_first_is_back_first() -> None:
    absences = Absences(grace=30)
    absences.add(gone(2, "edge-1", 0))
    absences.add(gone(1, "edge-1", 5))
    assert [absences.returned("edge-1"), absences.returned("edge-1")] == [gone(2, "edge-1", 0), gone(1, "edge-1", 5)]


def test_of_more_than_can_be_remembered_the_one_that_is_gone_the_longest_is_given_up() -> None:
    absences = Absences(grace=30, most=2)
    for number in range(3):
        absences.add(gone(number, f"edge-{number}", 0))
    assert [absent.number for absent in absences.over(1)] == [0]
    assert len(absences) == 2
