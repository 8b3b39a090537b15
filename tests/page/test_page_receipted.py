"""A change's own page, from its receipt: which Envoys have it, in pages, and which don't."""

from __future__ import annotations

import asyncio
import time

import pytest
from page_plane import Plane

from xds.gds.authorship import Authorship
from xds.http.page.content import OneChange
from xds.http.page.listings import PAGE
from xds.http.page.receipted import one_change
from xds.http.view import View
from xds.receipt import Move, Receipt

ENVOYS = PAGE + 9
MOVES = tuple(Move("domain", f"d{number}.test", "pod1", "pod2") for number in range(3))


@pytest.fixture
def view() -> View:
    """Of so many Envoys all but two have ACKed a change; one of these rejected it."""

    async def made() -> View:
        return Plane(1, 0).view

    view = asyncio.run(made())
    receipts, now = view.tracker.receipts, time.monotonic()
    names = [f"edge-{number}" for number in range(ENVOYS)]
    for name in names:
        receipts.joined(name, name, now)
        receipts.reached(name, view.cache.publishes, now)
    mark, author = view.cache.publishes + 1, Authorship("ada", 1e9)
    receipts.received(Receipt("e", 50, "change", 5, MOVES, now, 1e9, author=author))
    receipts.published("e", 50, mark, now + 0.5)
    receipts.refused(names[1], mark, "route", "no such thing", now + 0.6)
    for name in names[2:]:
        receipts.reached(name, mark, now + 0.75)
    return view


def change(view: View, after: str = "") -> OneChange:
    (receipt,) = [one for one in view.tracker.receipts.newest_first() if one.revision == 50]
    found = one_change(view, receipt.number, after)
    assert found is not None
    return found


def test_those_that_have_it_are_a_list_that_goes_on_to_its_end(view: View) -> None:
    first = change(view)
    rest = change(view, first.acks.next)
    assert [row.node for row in (*first.acks.rows, *rest.acks.rows)] == [f"edge-{n}" for n in range(2, ENVOYS)]
    assert (len(first.acks.rows), first.acks.total, rest.acks.next) == (PAGE, ENVOYS - 2, "")
    assert {round(row.seconds, 3) for row in first.acks.rows} == {0.25}


def test_those_that_lack_it_are_named_and_who_rejected_it_with_its_reason(view: View) -> None:
    found = change(view)
    assert sorted(found.lacking) == ["edge-0", "edge-1"]
    assert [(one.node, one.kind, one.reason) for one in found.nacks] == [("edge-1", "route tables", "no such thing")]
    assert [one.current for one in found.nacks] == [True]
    assert (found.row.state, found.row.tone) == ("rejected", "bad")


def test_it_says_what_it_changed_and_who_made_it_when(view: View) -> None:
    found = change(view)
    assert found.moves == [f"d{number}.test: pod1 → pod2" for number in range(3)]
    assert found.more_moves == 2
    facts = dict(found.facts)
    assert (facts["Made by"], facts["Made at"]) == ("ada", "2001-09-09 01:46:40")
    assert (facts["Published after"], facts["First ACK after its publish"]) == ("500 ms", "250 ms")
    assert facts["Envoys that have it"] == f"{ENVOYS - 2} of {ENVOYS}"


def test_a_change_that_is_not_remembered_has_no_page(view: View) -> None:
    newest = max(one.number for one in view.tracker.receipts.newest_first())
    assert one_change(view, newest + 1, "") is None
    assert one_change(view, 10**15, "") is None
