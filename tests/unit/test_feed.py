"""The feed of what happens: bounded for each listener and for all."""

from __future__ import annotations

import json

from xds.http import feed as feeds
from xds.http.feed import Feed
from xds.receipt import Move, Publish, Receipt


def receipt(revision: int) -> Receipt:
    moves = tuple(Move("domain", f"d{number}.test", None, "pod1") for number in range(20))
    return Receipt("E", revision, "change", 1_000, moves, 0.0, 0.0)


def test_a_listener_is_told_what_happens_and_only_the_first_of_many_changes() -> None:
    feed = Feed(clock=lambda: 5.0, wall=lambda: 1e9)
    with feed.listening() as queue:
        feed.tell("received", receipt(7), "")
        feed.tell("complete", Publish(1, 3.0, 7, 2, 0), "")
        name, data = queue.get_nowait() or ("", "")
        told = json.loads(data)
        assert (name, told["revision"], told["changes"], len(told["first_changes"])) == ("received", 7, 1_000, 5)
        _, data = queue.get_nowait() or ("", "")
        assert json.loads(data)["seconds"] == 2.0


def test_a_listener_that_does_not_read_is_let_go_and_the_others_go_on() -> None:
    now = [0.0]
    feed = Feed(clock=lambda: now[0])
    with feed.listening() as slow, feed.listening() as quick:
        for number in range(feeds.QUEUE + 10):
            now[0] += 1
            feed.tell("received", receipt(number), "")
            assert quick.get_nowait() is not None
        assert slow.qsize() == 1
        assert slow.get_nowait() is None, "it is told that it missed something"


def test_of_very_many_events_the_rest_is_counted() -> None:
    now = [0.0]
    feed = Feed(clock=lambda: now[0])
    with feed.listening() as queue:
        for number in range(feeds.RATE + 30):
            feed.tell("received", receipt(number), "")
        assert queue.qsize() == feeds.RATE
        now[0] = 1.0
        feed.tell("received", receipt(0), "")
        told = [queue.get_nowait() for _ in range(feeds.RATE + 1)]
        assert json.loads((told[-1] or ("", ""))[1])["skipped"] == 30


def test_without_a_listener_nothing_is_kept() -> None:
    feed = Feed()
    feed.tell("received", receipt(1), "")
    with feed.listening() as queue:
        assert queue.empty()
