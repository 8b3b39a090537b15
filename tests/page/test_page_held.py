"""What is held, as its section says it: what a release would do, and what may be ordered."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any, cast

import pytest
from page_plane import Plane

from xds.hold import Hold, decode
from xds.http.orders import HoldShown
from xds.http.page import render
from xds.http.page.facts import facts_of
from xds.http.page.gather import Gathered
from xds.kept import Kept
from xds.operator import Operator

NOTHING = {"moved": 0, "removed": 0, "added": 0, "pods_removed": 0, "pods_changed": 0, "pods_emptied": 0}
NOTHING |= {"pods_replaced": 0}
BY = "ada at 192.0.2.7"
REFUSE = "pointsman hold refuse"


class Desk:
    def __init__(self, hold: Hold, changes: dict[str, int] | None) -> None:
        self._hold, self._changes = hold, changes

    def hold(self) -> dict[str, Any]:
        return {
            "state": self._hold.state,
            "reason": self._hold.reason,
            "text": self._hold.text,
            "since": self._hold.since,
            "by": self._hold.by,
            "held_at": {"epoch": "e", "revision": self._hold.revision},
            "gds": {"epoch": "e", "revision": 9} if self._changes is not None else None,
            "changes": self._changes,
            "examples": [],
        }


@pytest.fixture(scope="module")
def plane() -> Plane:
    async def made() -> Plane:
        return Plane(10, 1)

    return asyncio.run(made())


def shown(plane: Plane, hold: Hold, changes: dict[str, int] | None = NOTHING) -> str:
    """The section's text."""
    no_calls = cast(Any, None)
    page = Gathered(plane.view, cast(Operator, Desk(hold, changes)), no_calls, no_calls)
    return " ".join(re.sub("<[^>]+>", " ", render.section("held", page.status())).split())


def hold(reason: Any = "moved", by: str = "", refused: int | None = None) -> Hold:
    return Hold(reason, "why it is", 1e9, "e", 7, refused, by)


def test_a_rollback_is_called_so_and_is_not_offered_to_be_refused(plane: Plane) -> None:
    said = shown(plane, hold("rollback", BY))
    assert "Rolled back since" in said
    assert REFUSE not in said
    assert "pointsman hold release" in said


def test_a_held_change_may_be_refused_and_a_refused_one_may_not_again(plane: Plane) -> None:
    assert REFUSE in shown(plane, hold())
    said = shown(plane, hold(by=BY, refused=3))
    assert f"Refused since 2001-09-09 01:46:40 at revision 7 of GDS, by {BY}" in said
    assert REFUSE not in said


def test_what_was_held_before_a_restart_and_can_not_be_read_is_no_rollback(plane: Plane) -> None:
    lost = decode(b"damaged", 1e9)
    said = shown(plane, lost)
    assert "Held since" in said
    assert "Rolled back" not in said
    assert REFUSE not in said, "it would be answered 409"


def test_a_gds_that_says_what_the_edge_has_is_told_from_one_that_did_not_answer_yet(plane: Plane) -> None:
    assert "A release would change nothing: GDS says what the edge has." in shown(plane, hold("rollback", BY))
    assert "GDS hasn't answered since the start" in shown(plane, hold("rollback", BY), None)
    assert "A release would serve what GDS says, as it is." in shown(plane, hold("empty"))


def test_pods_that_would_lose_their_endpoints_are_told_of_in_words(plane: Plane) -> None:
    said = shown(plane, hold("endpoints"), NOTHING | {"pods_changed": 5, "pods_emptied": 3, "pods_replaced": 2})
    for words in ("pods added or changed 5", "pods without endpoints 3", "pods with other endpoints 2"):
        assert words in said
    assert "domains moved" not in said


def test_the_api_says_as_much_of_a_release(plane: Plane) -> None:
    changes = NOTHING | {"pods_changed": 5, "pods_emptied": 3, "pods_replaced": 2}
    assert HoldShown(**Desk(hold("endpoints"), changes).hold()).model_dump()["changes"] == changes


@pytest.mark.parametrize(
    ("held", "known"),
    [(hold(), "held"), (hold(refused=1), "refused"), (hold("rollback", BY), "rollback"), (decode(b"", 1.0), "held")],
)
def test_the_sentence_knows_a_rollback_from_a_held_change(plane: Plane, held: Hold, known: str) -> None:
    assert facts_of(replace(plane.view, kept=lambda: Kept(hold=held))).hold == known
