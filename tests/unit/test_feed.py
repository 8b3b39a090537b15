"""The feed of what happens: bounded for each listener and for all."""

from __future__ import annotations

import json

import pytest

from xds.http import feed as feeds
from xds.http.feed import Feed, Told
from xds.receipt import Move, Publish, Receipt


def receipt(revision: int) -> Receipt:
    moves = tuple(Move("domain", f"d{number}.test", None, "pod1") for number in range(20))
    return Receipt("E", revision, "change", 1_000, moves, 0.0, 0.0)


def test_a_listener_is_told_what_happens_and_only_the_first_of_many_changes() -> None:
    feed = Feed(clock=lambda: 5.0, wall=lambda: 1e9)
    with feed.listening() as (_, queue):
        feed.tell("received", receipt(7), "")
        feed.tell("complete", Publish(1, 3.0, 7, 2, 0), "")
        name, data, _ = queue.get_nowait() or ("", "", "")
        told = json.loads(data)
        assert (name, told["revision"], told["changes"], len(told["first_changes"])) == ("received", 7, 1_000, 5)
        _, data, _ = queue.get_nowait() or ("", "", "")
        assert json.loads(data)["seconds"] == 2.0


def test_a_listener_that_does_not_read_is_let_go_and_the_others_go_on() -> None:
    now = [0.0]
    feed = Feed(clock=lambda: now[0])
    with feed.listening() as (_, slow), feed.listening() as (_, quick):
        for number in range(feeds.QUEUE + 10):
            now[0] += 1
            feed.tell("received", receipt(number), "")
            assert quick.get_nowait() is not None
        assert slow.qsize() == 1
        assert slow.get_nowait() is None, "it is told that it missed something"


def test_of_very_many_events_the_rest_is_counted() -> None:
    now = [0.0]
    feed = Feed(clock=lambda: now[0])
    with feed.listening() as (_, queue):
        for number in range(feeds.RATE + 30):
            feed.tell("received", receipt(number), "")
        assert queue.qsize() == feeds.RATE
        now[0] = 1.0
        feed.tell("received", receipt(0), "")
        told = [queue.get_nowait() for _ in range(feeds.RATE + 1)]
        assert json.loads((told[-1] or ("", "", ""))[1])["skipped"] == 30


def test_without_a_listener_nothing_is_kept() -> None:
    feed = Feed()
    feed.tell("received", receipt(1), "")
    with feed.listening() as (_, queue):
        assert queue.empty()


def revisions(events: list[Told]) -> list[int | str]:
    """Of each event its revision, or its name where it has none."""
    return [json.loads(data).get("revision", name) for name, data, _ in events]


def heard(feed: Feed, *numbers: int) -> str:
    """The id of the last of these, by a listener that then goes away."""
    with feed.listening() as (_, queue):
        for number in numbers:
            feed.tell("received", receipt(number), "")
        told = [queue.get_nowait() for _ in numbers]
    last = told[-1]
    assert last is not None
    return last[2]


def test_who_comes_back_is_told_what_came_meanwhile_and_nothing_twice() -> None:
    feed = Feed()
    last = heard(feed, 1, 2)
    feed.tell("received", receipt(3), "")
    feed.tell("received", receipt(4), "")
    with feed.listening(last) as (missed, queue):
        assert (revisions(missed), queue.empty()) == ([3, 4], True)
        feed.tell("received", receipt(5), "")
        told = queue.get_nowait()
    assert told is not None
    with feed.listening(told[2]) as (missed, _):
        assert missed == []


def test_who_comes_back_too_late_is_told_that_something_is_missing() -> None:
    now = [0.0]
    feed = Feed(clock=lambda: now[0])
    last = heard(feed, 1)
    for number in range(feeds.KEPT + 1):
        now[0] += 0.1
        feed.tell("received", receipt(number), "")
    with feed.listening(last) as (missed, _):
        assert revisions(missed) == ["missed", *range(1, feeds.KEPT + 1)]
        again = missed[0][2]
    with feed.listening(again) as (missed, _):
        assert revisions(missed) == [*range(1, feeds.KEPT + 1)], "and goes on from there when it is cut off again"


@pytest.mark.parametrize("last", ["of-another-7", "7", "-", "x", "\u0664", "0" * 90])
def test_who_was_at_another_control_plane_is_told_that_something_is_missing(last: str) -> None:
    feed = Feed()
    heard(feed, 1)
    with feed.listening(last) as (missed, _):
        assert revisions(missed) == ["missed", 1]


def test_what_comes_long_after_the_last_listener_went_is_not_kept_and_that_is_told() -> None:
    now = [0.0]
    feed = Feed(clock=lambda: now[0])
    last = heard(feed, 1)
    now[0] += feeds.AWAY + 1
    feed.tell("received", receipt(2), "")
    with feed.listening(last) as (missed, _):
        assert revisions(missed) == ["missed"]
        feed.tell("received", receipt(3), "")
