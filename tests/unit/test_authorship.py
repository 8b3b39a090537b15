"""Who made a change and when: read from what GDS says, whatever that is, and told with the change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from answering_gds import AnsweringGds, Said, answering
from tracked_world import World, view_of

from xds.errors import GdsError
from xds.gds import client as gds_client
from xds.gds.authorship import UNTOLD, Authorship, authorship
from xds.gds.client import GdsClient, Timeouts
from xds.gds.entry import Entry, Unreadable, entry_of
from xds.gds.model import PutDomain, Transaction
from xds.gds.watch import Assembler, Event
from xds.http.app import create_app
from xds.http.asked import ask, attributed, differing, said
from xds.http.explanation import Record
from xds.http.feed import Feed
from xds.receipt import Receipt
from xds.slices import drained

AT = "2026-03-01T12:00:00Z"
SECONDS = 1772366400.0
HOSTILE = "\x1b[31m[bold]<b>&\u202eada\n\x00"
ADA = Authorship("ada", SECONDS)


# What GDS sends


@pytest.mark.parametrize("at", [AT, "2026-03-01T12:00:00.000Z", "2026-03-01T14:00:00+02:00"])
def test_who_and_when_are_read(at: str) -> None:
    assert authorship("ada", at) == ADA


@pytest.mark.parametrize("by", [None, 7, [], {}, "", "  "])
@pytest.mark.parametrize(
    "at", [None, 7, "yesterday", "", "2026-03-01", "2026-03-01T12:00:00", "0001-01-01T00:00:00+23:59"]
)
def test_what_is_no_author_and_no_time_counts_as_not_said(by: object, at: object) -> None:
    assert authorship(by, at) is UNTOLD


def test_who_is_one_line_that_nothing_obeys_and_no_longer_than_it_may_be() -> None:
    made = authorship(HOSTILE, None).by
    assert made.isprintable()
    assert "ada" in made
    assert len(authorship("x" * 10_000_000, None).by) == 200


def change(revision: int, more: bool = False, **said_of_it: Any) -> Event:
    changes = [{"op": "put", "kind": "domain", "domain": "a.test", "pod": "pod1"}]
    return Event("change", json.dumps({"revision": revision, "changes": changes, "more": more, **said_of_it}).encode())


def taken(*events: Event) -> Transaction:
    assembler = Assembler("E")
    found = [assembler.take(event) for event in events]
    assert isinstance(found[-1], Transaction)
    return found[-1]


def test_the_watch_tells_who_made_a_revision_and_when() -> None:
    assert taken(change(1, by="ada", at=AT)).author == ADA


def test_a_revision_in_several_events_has_the_author_of_whichever_names_one() -> None:
    assert taken(change(1, True, by="ada", at=AT), change(1)).author == ADA
    assert taken(change(1, True), change(1, by="ada", at=AT)).author == ADA


def test_the_author_of_one_revision_is_not_that_of_the_next() -> None:
    assert taken(change(1, by="ada", at=AT), change(2)).author is UNTOLD


@pytest.mark.parametrize("rubbish", [{"by": ["ada"]}, {"at": 5}, {"by": {"x": 1}, "at": "never"}, {"by": None}])
def test_rubbish_for_an_author_does_not_end_the_watch(rubbish: dict[str, Any]) -> None:
    made = taken(change(1, **rubbish))
    assert (made.author, made.changes) == (UNTOLD, [PutDomain("a.test", "pod1")])


# One host


def entry(**fields: Any) -> bytes:
    return json.dumps({"domain": "a.test", "pod": "pod1", "revision": 7, "by": "ada", "at": AT, **fields}).encode()


def test_an_entry_is_read_whole_and_without_an_author_too() -> None:
    assert entry_of("a.test", 200, "application/json", entry()) == Entry("pod1", "a.test", 7, ADA)
    assert entry_of("x.a.test", 200, "application/json", entry(domain="*.a.test")) == Entry("pod1", "*.a.test", 7, ADA)
    assert entry_of("a.test", 200, "application/json", entry(by=None, at=3)) == Entry("pod1", "a.test", 7)
    assert entry_of("a.test", 200, "text/plain", b"pod1\n") == Entry("pod1")
    assert entry_of("a.test", 404, "application/problem+json", b"{}") is None


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "application/json", b"{"),
        (200, "application/json", b"\xff"),
        (200, "application/json", b"[" * 5_000),
        (200, "application/json", b"null"),
        (200, "application/json", entry(domain="b.test")),
        (200, "application/json", entry(domain="*.b.test")),
        (200, "application/json", entry(domain="A\x1b")),
        (200, "application/json", entry(pod="\x1b[31m")),
        (200, "application/json", entry(revision=-1)),
        (200, "application/json", entry(revision="7")),
        (200, "application/json", b" " * 20_000),
        (200, "text/html", b"<html>"),
        (200, "text/plain", b"<html>"),
        (200, "", b""),
        (302, "text/plain", b"pod1"),
        (401, "text/plain", b"pod1"),
    ],
)
def test_what_is_no_answer_is_unreadable(status: int, kind: str, body: bytes) -> None:
    with pytest.raises(Unreadable):
        entry_of("a.test", status, kind, body)


@pytest.fixture
def gds() -> Iterator[AnsweringGds]:
    with answering() as running:
        yield running


async def test_gds_is_asked_for_json_and_for_nothing_that_is_packed(gds: AnsweringGds) -> None:
    gds.answers["/rest/backend/a.test"] = Said(entry(), kind="application/json; charset=utf-8")
    async with GdsClient(gds.url) as client:
        assert await client.entry("a.test") == Entry("pod1", "a.test", 7, ADA)
        assert await client.entry("b.test") is None
    assert gds.asked[0][1]["accept"] == "application/json"
    assert gds.asked[0][1]["accept-encoding"] == "identity"


async def test_an_answer_without_end_is_not_read_to_its_end(gds: AnsweringGds) -> None:
    gds.otherwise = Said(b"[" * 50_000_000, kind="application/json")
    async with GdsClient(gds.url) as client:
        with pytest.raises(Unreadable):
            await client.entry("a.test")


async def test_a_gds_that_says_nothing_is_not_waited_for(gds: AnsweringGds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gds_client, "ANSWER", 0.2)
    gds.otherwise = Said(entry(), kind="application/json", after=3.0)
    async with GdsClient(gds.url, Timeouts(read=60)) as client:
        async with asyncio.timeout(2.5):
            with pytest.raises(GdsError, match=r"within 0\.2 s"):
                await client.entry("a.test")


async def test_however_many_look_gds_is_asked_for_a_few_hosts_at_a_time(gds: AnsweringGds) -> None:
    gds.otherwise = Said(entry(), kind="application/json", after=0.05)
    async with GdsClient(gds.url) as client:
        await asyncio.gather(*(client.entry("a.test") for _ in range(40)), return_exceptions=True)
    assert 1 < gds.most_together <= 8


# What that adds to a record


def record(revision: int = 7, domain: str = "a.test", pod: str = "pod1") -> Record:
    nobody = {"by": None, "committed_at": None, "source": None, "unknown_because": None}
    return Record(domain=domain, pod=pod, revision=revision, received_at=None, previous_pod=None, **nobody)


def receipt(author: Authorship) -> Receipt:
    return Receipt("E", 7, "change", 1, (), 0.0, 0.0, author=author)


def told(of: Record, entry: Entry | None, of_change: Receipt | None = None, base: int = 1) -> Record:
    attributed(of, said(entry), of_change, base)
    return of


def test_gds_itself_says_who_made_the_record() -> None:
    found = told(record(), Entry("pod1", "a.test", 7, ADA), receipt(Authorship("eve", 1.0)))
    assert (found.by, found.committed_at, found.source, found.unknown_because) == ("ada", SECONDS, "gds", None)


def test_of_what_came_with_a_snapshot_gds_says_it_with_the_revision_of_long_before() -> None:
    assert told(record(revision=50), Entry("pod1", "a.test", 7, ADA), base=50).by == "ada"
    assert differing("a.test", record(revision=50), said(Entry("pod1", "a.test", 7, ADA)), 50) is None


@pytest.mark.parametrize(
    "entry", [None, Entry("pod1"), Entry("pod1", "a.test", 7), Entry("pod2", "a.test", 8, Authorship("eve", 1.0))]
)
def test_what_the_change_said_when_it_came_stands_in_for_a_gds_that_does_not_tell(entry: Entry | None) -> None:
    found = told(record(), entry, receipt(ADA))
    assert (found.by, found.committed_at, found.source) == ("ada", SECONDS, "change")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (Entry("pod1"), "this GDS names the pod alone"),
        (Entry("pod1", "a.test", 7), "GDS doesn't say who"),
        (Entry("pod2", "a.test", 8, ADA), "another record"),
        (None, "doesn't know the host"),
    ],
)
def test_where_nobody_knows_it_is_said_why(entry: Entry | None, why: str) -> None:
    found = told(record(), entry, receipt(UNTOLD))
    assert (found.by, found.committed_at, found.source) == (None, None, None)
    assert why in (found.unknown_because or "")


def test_it_is_noted_when_gds_says_something_else_by_now() -> None:
    def note(entry: Entry | None, of: Record | None) -> str | None:
        return differing("a.test", of, said(entry), 1)

    assert note(Entry("pod1", "a.test", 7, ADA), record()) is None
    assert note(Entry("pod1"), record()) is None
    assert note(None, None) is None
    assert "on pod2; here a.test is on pod1" in (note(Entry("pod2"), record()) or "")
    assert "on pod2 since revision 8; here a.test is on pod1" in (note(Entry("pod2", "a.test", 8), record()) or "")
    assert "since revision 9; here since revision 7" in (note(Entry("pod1", "a.test", 9), record()) or "")
    assert "since revision 3; here since revision 7" in (note(Entry("pod1", "a.test", 3), record()) or "")
    assert "*.test is on pod1" in (note(Entry("pod1", "*.test", 7), record()) or "")
    assert "knows no a.test" in (note(None, record()) or "")
    assert "nobody knows it" in (note(Entry("pod1", "a.test", 2), None) or "")


async def test_a_gds_that_is_away_answers_rubbish_or_names_pods_alone_is_told_apart() -> None:
    def failing(error: GdsError) -> Any:
        async def asks(host: str) -> Entry | None:
            raise error

        return asks

    assert (await ask(failing(GdsError("no route")), "a.test")).model_dump(include={"state", "text"}) == {
        "state": "away",
        "text": "no route",
    }
    assert (await ask(failing(Unreadable("<html>")), "a.test")).state == "unreadable"
    assert (await ask(None, "a.test")).state == "not_asked"


# Told with the change


class Told:
    """The API over a world whose GDS answers what a test lays out."""

    def __init__(self) -> None:
        self.world = World(domains=20)
        self.answer: Entry | GdsError | None = None
        view = view_of(self.world, asks_gds=self._asks)
        transport = httpx.ASGITransport(create_app(view))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://pointsman")

    async def _asks(self, host: str) -> Entry | None:
        if isinstance(self.answer, GdsError):
            raise self.answer
        return self.answer

    def change(self, revision: int, author: Authorship, domain: str = "d1.test") -> None:
        made = Transaction("E", revision, [PutDomain(domain, "pod2")], author=author)
        drained(self.world.follower.applying(made))

    async def get(self, path: str) -> Any:
        answer = await self.client.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()


async def test_a_receipt_keeps_who_made_the_change_and_when() -> None:
    told = Told()
    told.change(2, ADA)
    told.change(3, UNTOLD, "d2.test")
    for path in ("revisions/2", "revisions/2/trace"):
        found = await told.get(path)
        assert (found["by"], found["committed_at"]) == ("ada", SECONDS)
    listed = (await told.get("revisions"))["items"]
    assert [(one["by"], one["committed_at"]) for one in listed] == [(None, None), ("ada", SECONDS), (None, None)]
    assert (await told.get("revisions/99"))["by"] is None


async def test_a_held_change_says_who_made_it() -> None:
    told = Told()
    many = [PutDomain(f"d{number}.test", "pod2") for number in range(20)]
    drained(told.world.follower.applying(Transaction("E", 2, many, author=ADA)))
    found = await told.get("revisions/2")
    assert (found["state"], found["by"]) == ("held", "ada")


async def test_explain_says_who_and_falls_back_on_the_change_when_gds_is_away() -> None:
    told = Told()
    told.change(2, ADA)
    told.answer = Entry("pod2", "d1.test", 2, Authorship("grace", SECONDS + 1))
    found = await told.get("domains/d1.test/explain")
    assert (found["record"]["by"], found["record"]["source"], found["gds"]["state"]) == ("grace", "gds", "told")
    told.answer = GdsError("GDS can't be read")
    found = await told.get("domains/d1.test/explain")
    assert (found["record"]["by"], found["record"]["source"], found["gds"]["state"]) == ("ada", "change", "away")
    assert not any("by now" in note for note in found["notes"])
    found = await told.get("domains/d5.test/explain")
    assert (found["record"]["by"], found["record"]["unknown_because"]) == (None, "GDS can't be read")
    told.answer = Entry("pod1", "d1.test", 3, ADA)
    found = await told.get("domains/d1.test/explain")
    assert any("GDS by now says that d1.test is on pod1 since revision 3" in note for note in found["notes"])


def test_the_events_tell_who_made_a_change() -> None:
    feed = Feed()
    with feed.listening() as (_, queue):
        feed.tell("received", receipt(ADA), "")
        feed.tell("received", receipt(UNTOLD), "")
        first, second = (json.loads((queue.get_nowait() or ("", ""))[1]) for _ in range(2))
    assert (first["by"], first["committed_at"]) == ("ada", SECONDS)
    assert "by" not in second
