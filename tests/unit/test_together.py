"""Several control planes tell of the same change: it is one event, with those that have it and those that don't."""

from __future__ import annotations

from typing import Any

import pytest

from xds.cli.together import TOGETHER, Together

A, B = "http://a:1", "http://b:1"


class Heard:
    def __init__(self, *urls: str) -> None:
        self.together = Together(urls)
        self.now = 100.0
        for url in urls:
            self.status(url)
        self.told()

    def status(self, url: str, revision: int = 0, published: int = 0, hold: str = "none") -> None:
        word = {"epoch": "E", "revision": revision, "published": published, "hold": {"state": hold}}
        self.together.heard(url, "status", word, self.now)

    def say(self, url: str, event: str, revision: int, epoch: str = "E", **more: Any) -> None:
        self.together.heard(url, event, {"event": event, "revision": revision, "epoch": epoch, **more}, self.now)

    def told(self, after: float = 0.0) -> list[tuple[str, dict[str, Any]]]:
        self.now += after
        return [(event, told) for event, told in self.together.due(self.now) if event != "status"]


def test_what_all_tell_is_told_once_as_soon_as_the_last_has_said_it() -> None:
    heard = Heard(A, B)
    heard.say(A, "published", 7, envoys=2, pending=2)
    assert heard.told(0.1) == []
    heard.say(B, "published", 7, envoys=1, pending=1)
    ((event, told),) = heard.told()
    assert (event, told["revision"], told["envoys"], told["pending"]) == ("published", 7, 3, 3)
    assert (told["control_planes"], told["lacking"]) == ([A, B], [])
    assert heard.told(60.0) == []


def test_who_does_not_tell_it_in_time_lacks_it_and_is_told_of_late() -> None:
    heard = Heard(A, B)
    heard.say(A, "complete", 7)
    assert heard.told(TOGETHER - 0.1) == []
    ((_, told),) = heard.told(0.2)
    assert (told["control_planes"], told["lacking"], "late" in told) == ([A], [B], False)
    heard.say(B, "complete", 7)
    ((_, told),) = heard.told()
    assert (told["control_planes"], told["lacking"], told["late"]) == ([B], [], True)


def test_what_comes_first_is_told_first_whatever_waits() -> None:
    heard = Heard(A, B)
    heard.say(A, "published", 7)
    heard.together.heard(A, "nack", {"event": "nack", "node": "edge-1"}, heard.now)
    heard.say(A, "first_ack", 7)
    heard.say(B, "first_ack", 7)
    assert heard.told(0.1) == []
    heard.say(B, "published", 7)
    found = heard.told()
    assert [event for event, _ in found] == ["published", "nack", "first_ack"]
    assert [told["control_planes"] for _, told in found] == [[A, B], [A], [A, B]]
    assert "lacking" not in found[1][1], "an Envoy is at one of them"


def test_it_is_complete_when_the_last_has_it_also_where_one_has_no_envoys() -> None:
    heard = Heard(A, B)
    heard.say(A, "complete", 7, envoys=0)
    heard.say(B, "first_ack", 7)
    assert heard.told() == []
    heard.say(B, "complete", 7, envoys=3)
    assert [event for event, _ in heard.told()] == ["first_ack", "complete"]


def test_who_has_published_what_came_later_has_this_too() -> None:
    heard = Heard(A, B)
    heard.say(B, "published", 8)
    heard.say(A, "published", 7)
    heard.say(A, "published", 8)
    assert [(told["revision"], told["control_planes"]) for _, told in heard.told()] == [(8, [A, B]), (7, [A, B])]
    heard.status(B, revision=9, published=9)
    heard.say(A, "published", 9)
    assert [told["lacking"] for _, told in heard.told()] == [[]], "its status says so"


def test_who_holds_it_back_has_it_not_though_it_published_what_came_later() -> None:
    heard = Heard(A, B)
    heard.say(B, "held", 7)
    heard.say(A, "published", 7)
    heard.say(A, "published", 8)
    heard.say(B, "published", 8)
    heard.status(B, revision=8, published=8, hold="held")
    found = heard.told(TOGETHER)
    assert [(event, told["revision"], told["control_planes"], told["lacking"]) for event, told in found] == [
        ("held", 7, [B], [A]),
        ("published", 7, [A], [B]),
        ("published", 8, [A, B], []),
    ]


def test_a_release_is_told_once_and_what_was_held_is_then_published() -> None:
    heard = Heard(A, B)
    for event in ("held", "released"):
        for url in (A, B):
            heard.say(url, event, 7)
    heard.say(A, "published", 7)
    heard.say(B, "published", 8)
    found = [(event, told["revision"], told["lacking"]) for event, told in heard.told()]
    assert found == [("held", 7, []), ("released", 7, []), ("published", 7, [])]


def test_who_did_not_go_back_with_another_has_not_what_that_one_has_now() -> None:
    heard = Heard(A, B)
    for url in (A, B):
        heard.say(url, "published", 5)
        heard.say(url, "published", 9)
    heard.told()
    heard.say(A, "published", 5)
    ((_, told),) = heard.told(TOGETHER)
    assert (told["revision"], told["control_planes"], told["lacking"]) == (5, [A], [B])
    heard.say(A, "published", 9)
    ((_, told),) = heard.told()
    assert (told["revision"], told["control_planes"]) == (9, [A, B])


def test_a_revision_of_another_epoch_is_another_one() -> None:
    heard = Heard(A, B)
    heard.say(B, "published", 9)
    heard.say(A, "published", 3, epoch="F")
    found = heard.told(TOGETHER)
    assert [(told["epoch"], told["lacking"]) for _, told in found] == [("E", [A]), ("F", [B])]


def test_one_that_is_lost_holds_up_nothing_and_has_not_what_is_told() -> None:
    heard = Heard(A, B)
    heard.together.lost(B)
    heard.say(A, "published", 7)
    ((_, told),) = heard.told()
    assert (told["control_planes"], told["lacking"]) == ([A], [B])
    heard.status(B, revision=7, published=7)
    heard.say(A, "published", 8)
    assert heard.told(0.1) == [], "it is heard again, so it is waited for"


@pytest.mark.parametrize("changes", [5_000])
def test_what_is_remembered_is_bounded(changes: int) -> None:
    heard = Heard(A, B)
    for revision in range(changes):
        for url in (A, B):
            heard.say(url, "published", revision)
        assert len(heard.told()) == 1
    assert len(heard.together._told) <= 1_000
