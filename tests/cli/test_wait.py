"""``pointsman wait``: how many Envoys must have a change, at one control plane and at several together."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from command import failed, pointsman, said
from stub_control_plane import StubControlPlane


def receipt(have: int, wanted: int = 0, pending: int = 0, missing: tuple[str, ...] = ()) -> dict[str, Any]:
    complete = have >= wanted and not pending
    envoys = {"total": have + pending, "acked": have, "pending": pending, "missing": len(missing)}
    return {
        "revision": 7,
        "epoch": "E",
        "known": True,
        "state": "complete" if complete else "published",
        "complete": complete,
        "envoys": {**envoys, "left": 0, "nacked": 0, "joining": 0, "have": have},
        "lacking": [],
        "missing": list(missing),
        "nacks": [],
        "refused": [],
        "seconds": None,
    }


class ControlPlane(StubControlPlane):
    """Its receipts are made by ``receipt``, of how many Envoys are wanted and how often it was asked before; a status
    instead of one comes with a text. When it is asked with another ``epoch`` than its own, it says so."""

    def __init__(self, receipt: Receipt) -> None:
        self.wanted: list[int] = []
        self.epoch = "E"
        self._receipt = receipt
        super().__init__(self._answered)

    def _answered(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, Any] | str]:
        query = parse_qs(urlsplit(path).query)
        wanted = int(query["envoys"][0])
        body = self._receipt(wanted, len(self.wanted))
        self.wanted.append(wanted)
        if query.get("epoch", [self.epoch]) != [self.epoch]:
            return 409, {"detail": "GDS was replaced"}
        return (body, "away for now") if isinstance(body, int) else (200, body)


Receipt = Callable[[int, int], dict[str, Any] | int]
Making = Callable[[Receipt], ControlPlane]


@pytest.fixture
def plane() -> Iterator[Making]:
    made: list[ControlPlane] = []

    def make(answer: Receipt) -> ControlPlane:
        made.append(ControlPlane(answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_one_control_plane_is_asked_for_as_many_as_are_wanted(plane: Making) -> None:
    two = plane(lambda wanted, _: receipt(2, wanted))
    assert said("wait", "7", "--url", two.url, "--envoys", "2")["complete"]
    assert set(two.wanted) == {2}
    done = pointsman("wait", "7", "--url", two.url, "--envoys", "3", "-t", "300ms")
    assert (done.returncode, "2 connected with it, 3 wanted" in done.stdout) == (4, True)


def test_a_change_that_no_envoy_has_is_not_at_the_edge_unless_none_is_wanted(plane: Making) -> None:
    empty = plane(lambda wanted, _: receipt(0, wanted))
    done = pointsman("wait", "7", "--url", empty.url, "-t", "300ms")
    assert (done.returncode, "0 connected with it, 1 wanted" in done.stdout) == (4, True)
    assert said("wait", "7", "--url", empty.url, "--envoys", "0")["complete"]


def test_the_envoys_of_several_control_planes_count_together(plane: Making) -> None:
    all_of_them, none = plane(lambda wanted, _: receipt(3, wanted)), plane(lambda wanted, _: receipt(0, wanted))
    urls = ["--url", none.url, "--url", all_of_them.url]
    assert [one["answer"]["complete"] for one in said("wait", "7", *urls, "--envoys", "3")] == [True, True]
    done = pointsman("wait", "7", *urls, "--envoys", "4", "-t", "500ms")
    assert (done.returncode, "3 connected with it, 4 wanted" in done.stdout) == (4, True)


def test_several_control_planes_are_asked_again_until_there_are_enough(plane: Making) -> None:
    first = plane(lambda wanted, _: receipt(1, wanted))
    second = plane(lambda wanted, before: receipt(2 if before >= 3 else 1, wanted))
    done = pointsman("wait", "7", "--url", first.url, "--url", second.url, "--envoys", "3", "-t", "20s")
    assert done.returncode == 0, done.stdout
    assert len(second.wanted) > 3


def test_what_is_not_used_is_named_as_far_as_it_is_known(plane: Making) -> None:
    refused = [{"kind": "domain", "name": "a.test", "reason": "no such pod"}]
    aside = {"state": "set_aside", "complete": False, "known": True, "refused": refused, "refused_more": 1_234}
    some = plane(lambda wanted, _: {**receipt(1), **aside})
    done = pointsman("wait", "7", "--url", some.url)
    assert done.returncode == 5
    assert "domain a.test: no such pod; and 1,234 more (see `pointsman set-aside`)" in done.stdout
    forgotten = plane(lambda wanted, _: {**receipt(1), **aside, "known": False, "refused": [], "refused_more": 0})
    done = pointsman("wait", "7", "--url", forgotten.url)
    assert (done.returncode, "isn't remembered, and a record of it may not be used" in done.stdout) == (5, True)


def test_what_is_set_aside_at_one_of_several_is_not_waited_for_at_the_others(plane: Making) -> None:
    aside = plane(lambda wanted, _: {**receipt(1), "state": "set_aside", "complete": False, "refused_more": 0})
    behind = plane(lambda wanted, _: receipt(1, wanted, pending=1))
    begun = time.monotonic()
    done = pointsman("wait", "7", "--url", behind.url, "--url", aside.url, "-t", "100s")
    assert (done.returncode, time.monotonic() - begun < 50) == (5, True)
    assert "not complete after 100 s" not in done.stdout


def nack(node: str, *, mended: bool) -> dict[str, Any]:
    return {"node": node, "type": "route", "reason": "Only unique domains", "at": 1e9, "mended": mended}


def test_an_envoy_that_rejects_it_and_has_it_in_the_end_is_waited_for(plane: Making) -> None:
    def recovers(wanted: int, before: int) -> dict[str, Any]:
        rejects = before < 4
        return {**receipt(1, wanted, pending=int(rejects)), "nacks": [nack("edge-2", mended=not rejects)]}

    recovering = plane(recovers)
    done = pointsman("wait", "7", "--url", recovering.url, "-t", "60s")
    assert (done.returncode, len(recovering.wanted)) == (0, 5), done.stdout
    assert "rejected before by edge-2" in done.stdout


def test_an_envoy_that_rejects_it_still_when_the_time_is_over_is_named(plane: Making) -> None:
    both = [nack("edge-2", mended=False), nack("edge-3", mended=True)]
    rejecting = plane(lambda wanted, _: {**receipt(1, wanted, pending=1), "nacks": both})
    begun = time.monotonic()
    done = pointsman("wait", "7", "--url", rejecting.url, "-t", "1s")
    assert (done.returncode, time.monotonic() - begun >= 1.0) == (5, True)
    assert "edge-2 rejects route: Only unique domains" in done.stdout
    assert "edge-3 rejects" not in done.stdout


def test_an_envoy_that_rejected_it_before_is_not_to_blame_for_one_that_is_late(plane: Making) -> None:
    def late(wanted: int, _: int) -> dict[str, Any]:
        return {**receipt(1, wanted, pending=1), "lacking": ["edge-3"], "nacks": [nack("edge-2", mended=True)]}

    done = pointsman("wait", "7", "--url", plane(late).url, "-t", "300ms")
    assert (done.returncode, "1 connected without it (edge-3)" in done.stdout) == (4, True)
    assert "rejects" not in done.stdout


def test_of_very_many_that_lack_it_it_is_said_how_many_are_not_named(plane: Making) -> None:
    lacking = [f"edge-{number}" for number in range(20)]
    many = plane(lambda wanted, _: {**receipt(1, wanted, pending=500), "lacking": lacking})
    done = pointsman("wait", "7", "--url", many.url, "-t", "300ms")
    assert "500 connected without it (edge-0, " in done.stdout
    assert "edge-19 and 480 more)" in done.stdout


def test_an_envoy_that_left_without_it_is_named(plane: Making) -> None:
    gone = plane(lambda wanted, _: receipt(1, wanted, pending=1, missing=("edge-2",)))
    done = pointsman("wait", "7", "--url", gone.url, "-t", "300ms")
    assert done.returncode == 4
    assert "1 left without it (edge-2), 1/2 Envoys have it" in done.stdout


def test_a_control_plane_that_hangs_costs_no_more_than_the_time_that_was_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        line = failed("wait", "7", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}", "-t", "1s", timeout=40)
    assert "doesn't answer" in line
    assert time.monotonic() - begun < 20, "it had a minute before, whatever the time that was given"


def test_who_waits_is_told_which_envoys_lack_it(plane: Making) -> None:
    behind = plane(lambda wanted, _: {**receipt(1, wanted, pending=2), "lacking": ["edge-2", "edge-3"]})
    done = pointsman("wait", "7", "--url", behind.url, "-t", "300ms")
    assert done.returncode == 4
    assert "2 connected without it (edge-2, edge-3), 1/3 Envoys have it" in done.stdout


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "not complete after 0.3 s: no Envoy is connected with it"),
        ({"state": "expected", "known": False, "envoys": None}, "not complete after 0.3 s: GDS hasn't spoken of it"),
        ({"state": "received", "envoys": None}, "not complete after 0.3 s: it isn't published yet"),
        ({"state": "held", "envoys": None}, "not complete after 0.3 s: it is held (see `pointsman hold show`)"),
    ],
)
def test_of_no_envoys_no_share_is_told(plane: Making, changed: dict[str, Any], words: str) -> None:
    none = plane(lambda wanted, _: {**receipt(0, wanted), **changed})
    done = pointsman("wait", "7", "--url", none.url, "-t", "300ms")
    assert (done.returncode, done.stdout.splitlines()[0]) == (4, f"revision 7: {words}")
    assert "0/0" not in done.stdout


def test_envoys_that_came_after_the_publish_are_told_of(plane: Making) -> None:
    def later(wanted: int, _: int) -> dict[str, Any]:
        made = receipt(2, wanted)
        return {**made, "envoys": {**made["envoys"], "total": 0, "acked": 0}}

    assert "complete, 2 Envoys that came later have it" in pointsman("wait", "7", "--url", plane(later).url).stdout


def test_a_control_plane_that_restarts_meanwhile_is_asked_again(plane: Making) -> None:
    upgraded = plane(lambda wanted, before: 502 if 0 < before < 3 else receipt(1, wanted, pending=int(not before)))
    assert said("wait", "7", "--url", upgraded.url, "-t", "60s")["complete"]
    lost = plane(lambda wanted, before: 502 if before else receipt(1, wanted, pending=1))
    assert "isn't a control plane's API (502, text/plain)" in failed("wait", "7", "--url", lost.url, "-t", "2s")
    never = plane(lambda wanted, _: 502)
    assert failed("wait", "7", "--url", never.url, "-t", "60s", timeout=50), "it isn't waited for"


def test_a_revision_of_a_gds_that_is_replaced_meanwhile_never_comes(plane: Making) -> None:
    def replaced(wanted: int, before: int) -> dict[str, Any]:
        if before:
            one.epoch = "F"
        return {**receipt(1, wanted, pending=int(not before)), "epoch": one.epoch}

    one = plane(replaced)
    found = said("wait", "7", "--url", one.url, "-t", "60s", code=3)
    assert (found["state"], found["complete"]) == ("rolled_back", False)


def test_one_that_is_away_keeps_nothing_of_the_others_back(plane: Making) -> None:
    there = plane(lambda wanted, _: receipt(1, wanted))
    done = pointsman("wait", "7", "--url", "http://127.0.0.1:1", "--url", there.url, "-t", "30s")
    assert (done.returncode, "1 of 2 control planes can't be asked" in done.stderr) == (1, True)
    assert f"{there.url}: revision 7: complete, 1/1 Envoys have it" in done.stdout
