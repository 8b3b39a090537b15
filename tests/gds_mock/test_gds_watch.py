"""The watch over a real socket: what is sent, in which order, and where a watcher goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from gds_harness import Gds, run, serving

from gds_mock.errors import HistoryGone
from gds_mock.opening import open_store
from gds_mock.sqlite.store import SqliteStore
from gds_mock.values import Pod


def test_a_watch_begins_with_a_heartbeat_of_where_gds_is(live: Gds) -> None:
    epoch, revision = live.position()
    with live.watch(epoch, revision) as watch:
        first = watch.event()
    assert (first.name, first.data, first.id) == ("heartbeat", {"epoch": epoch, "revision": revision}, None)


def test_heartbeats_go_on_while_nothing_changes(live: Gds) -> None:
    epoch, revision = live.position()
    with live.watch(epoch, revision) as watch:
        assert [watch.event().name for _ in range(3)] == ["heartbeat"] * 3


def test_every_kind_of_change_comes_as_the_contract_says(live: Gds) -> None:
    epoch, start = live.position()
    pod = {"name": "pod9", "datacenter": "fra", "endpoints": [], "max_connections": 5}
    with live.watch(epoch, start) as watch:
        live.client.put("/pods/pod9", json=pod)
        live.put("a.example.com", "pod9")
        live.client.delete("/backend/a.example.com")
        live.client.delete("/pods/pod9")
        events = [watch.change() for _ in range(4)]
    assert [event.data["changes"] for event in events] == [
        [{"op": "put", "kind": "pod", "pod": pod}],
        [{"op": "put", "kind": "domain", "domain": "a.example.com", "pod": "pod9"}],
        [{"op": "delete", "kind": "domain", "domain": "a.example.com"}],
        [{"op": "delete", "kind": "pod", "name": "pod9"}],
    ]
    assert [event.data["revision"] for event in events] == list(range(start + 1, start + 5))
    assert [event.id for event in events] == [f"{epoch}:{start + n}" for n in range(1, 5)]
    assert {event.data["more"] for event in events} == {False}
    assert {event.name for event in events} == {"change"}


def test_a_put_is_on_the_watch_before_the_next_heartbeat(db: str) -> None:
    with serving(db, "--heartbeat", "600") as gds:
        gds.pod("pod1")
        with gds.watch(*gds.position()) as watch:
            assert watch.event().name == "heartbeat"
            revision = gds.put("a.example.com", "pod1")
            assert watch.event().data["revision"] == revision


def test_a_large_transaction_comes_in_several_events_of_one_revision(live: Gds) -> None:
    epoch, start = live.position()
    live.load(*({"op": "put", "domain": f"l{n:04}.example.com", "pod": "pod1"} for n in range(2_500)))
    live.put("after.example.com", "pod1")
    with live.watch(epoch, start) as watch:
        events = [watch.change() for _ in range(4)]
    assert [len(event.data["changes"]) for event in events] == [1000, 1000, 500, 1]
    assert [event.data["more"] for event in events] == [True, True, False, False]
    assert [event.data["revision"] - start for event in events] == [1, 1, 1, 2]
    assert [event.id for event in events] == [None, None, f"{epoch}:{start + 1}", f"{epoch}:{start + 2}"]
    domains = [change["domain"] for event in events[:3] for change in event.data["changes"]]
    assert domains == [f"l{n:04}.example.com" for n in range(2_500)]


@pytest.mark.parametrize("sizes", [[1000, 1000], [1, 999, 1000, 1001], [999, 2, 1], [2000], [2001]])
def test_revisions_are_cut_right_wherever_the_thousands_fall(live: Gds, sizes: list[int]) -> None:
    epoch, start = live.position()
    for turn, size in enumerate(sizes):
        name = f"{start}-{turn}"
        live.load(*({"op": "put", "domain": f"c{n}.{name}.example.com", "pod": "pod1"} for n in range(size)))
    got: dict[int, int] = {}
    with live.watch(epoch, start) as watch:
        while True:
            event = watch.change()
            assert event.data["revision"] == start + len(got) + (event.data["revision"] not in got)
            got[event.data["revision"]] = got.get(event.data["revision"], 0) + len(event.data["changes"])
            assert (event.id is None) == event.data["more"]
            if event.id == f"{epoch}:{start + len(sizes)}":
                break
    assert list(got.values()) == sizes


def test_a_watch_resumes_after_the_revision_of_the_query(live: Gds) -> None:
    epoch, _ = live.position()
    first = live.put("resume.example.com", "pod1")
    live.put("resume.example.com", "pod2")
    with live.watch(epoch, first) as watch:
        assert watch.change().data["revision"] == first + 1


def test_last_event_id_beats_the_query(live: Gds) -> None:
    epoch, _ = live.position()
    first = live.put("resume.example.com", "pod1")
    live.put("resume.example.com", "pod2")
    with live.watch("another", 0, last_event_id=f"{epoch}:{first}") as watch:
        assert watch.change().data["revision"] == first + 1
    with live.watch(last_event_id=f"{epoch}:{first}") as watch:
        assert watch.change().id == f"{epoch}:{first + 1}"


@pytest.mark.parametrize(
    "query", ["", "?epoch=E", "?after=1", "?epoch=E&after=-1", "?epoch=E&after=x", "?epoch=&after=1"]
)
def test_a_watch_must_say_where_it_goes_on(live: Gds, query: str) -> None:
    answer = live.client.get(f"/watch{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


def test_a_last_event_id_that_is_none_is_400(live: Gds) -> None:
    assert live.client.get("/watch", headers={"Last-Event-ID": "nonsense"}).status_code == 400


def test_another_epoch_or_a_revision_yet_to_come_is_410(live: Gds) -> None:
    epoch, revision = live.position()
    for asked, after in (("another", revision), (epoch, revision + 1), (epoch, 10**17)):
        answer = live.client.get("/watch", params={"epoch": asked, "after": after})
        assert (answer.status_code, answer.headers["content-type"]) == (410, "application/problem+json")


def test_history_that_is_gone_is_410_and_what_is_kept_can_be_resumed(db: str) -> None:
    with serving(db, "--keep-changes", "3") as gds:
        for number in range(1, 11):
            gds.pod(f"pod{number}")
        epoch, revision = gds.position()
        assert revision == 10
        answers = {n: gds.client.get("/watch", params={"epoch": epoch, "after": n}).status_code for n in (0, 1, 6)}
        assert answers == {0: 410, 1: 410, 6: 410}
        with gds.watch(epoch, 7) as watch:
            assert [watch.change().data["revision"] for _ in range(3)] == [8, 9, 10]


def test_the_last_revision_is_kept_whole_however_large(db: str) -> None:
    with serving(db, "--keep-changes", "3") as gds:
        gds.pod("pod1")
        gds.load(*({"op": "put", "domain": f"d{n}.example.com", "pod": "pod1"} for n in range(50)))
        epoch, _ = gds.position()
        with gds.watch(epoch, 1) as watch:
            assert len(watch.change().data["changes"]) == 50
        assert gds.client.get("/watch", params={"epoch": epoch, "after": 0}).status_code == 410


def test_the_log_on_disk_stays_bounded(tmp_path: Path) -> None:
    with SqliteStore(str(tmp_path / "gds.sqlite"), keep_changes=10) as store:
        for number in range(100):
            store.put_pod(Pod("pod1", max_connections=number + 1))
        db = store.connection(read_only=True)
        assert db.execute("SELECT count(*), min(revision), max(revision) FROM changes").fetchone() == (10, 91, 100)
        assert db.execute("SELECT min(revision), max(revision) FROM revisions").fetchone() == (90, 100)
        db.close()


def test_a_reader_under_whom_the_log_is_cut_is_told(db: str) -> None:
    with open_store(db, keep_changes=2) as store:
        for number in range(4):
            store.put_pod(Pod(f"pod{number}"))
        assert [entry.revision for entry in store.changes_after(2, 10)] == [3, 4]
        with pytest.raises(HistoryGone):
            store.changes_after(1, 10)


def test_a_watcher_that_reads_nothing_holds_up_nobody(live: Gds) -> None:
    epoch, start = live.position()
    pods = ("pod1", "pod2")
    with live.watch(epoch, 0), live.watch(epoch, start) as quick:  # the first is never read
        for turn in range(6):
            lines = ({"op": "put", "domain": f"s{n}.example.com", "pod": pods[turn % 2]} for n in range(5_000))
            assert live.load(*lines).status_code == 200
        last = live.put("quick.example.com", "pod1")
        while (event := quick.change()).data["revision"] != last:
            pass
    assert event.data["changes"][0]["domain"] == "quick.example.com"


def test_many_watchers_see_the_same_in_the_same_order(live: Gds) -> None:
    epoch, start = live.position()
    seen: list[list[int]] = []

    def look() -> None:
        with live.watch(epoch, start) as watch:
            seen.append([watch.change().data["revision"] for _ in range(30)])

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(30):
        live.put("many.example.com", f"pod{1 + number % 2}")
    for thread in threads:
        thread.join(20)
    assert seen == [list(range(start + 1, start + 31))] * 8


def test_what_another_process_imports_is_on_the_watch(db: str, tmp_path: Path) -> None:
    source = tmp_path / "backend.map"
    source.write_text("a.example.com pod7\n")
    with serving(db, "--heartbeat", "600") as gds, gds.watch(*gds.position()) as watch:
        assert run("import", source, "--db", db).returncode == 0
        changes = watch.change().data["changes"]
    assert [change["kind"] for change in changes] == ["pod", "domain"]


def test_sigterm_ends_open_watches_and_the_process_with_code_0(db: str) -> None:
    with serving(db) as gds, gds.watch(*gds.position()) as watch:
        watch.event()
        begun = time.monotonic()
        assert gds.end() == 0
        assert time.monotonic() - begun < 5
        with pytest.raises(StopIteration):
            watch.event()
