"""Who made a change and when: taken from a header, kept with the revision and the entry, told to whoever asks."""

from __future__ import annotations

import socket
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from gds_harness import Gds, run, serving

from gds_mock.negotiation import prefers_json
from gds_mock.opening import open_store
from gds_mock.values import Entry, Pod, PutDomain

JSON = {"Accept": "application/json"}
ADA = {"GDS-Actor": "Ada Lovelace <ada@example.com>"}


def entry(gds: Gds, host: str) -> dict[str, object]:
    answer = gds.client.get(f"/backend/{host}", headers=JSON)
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, object] = answer.json()
    return found


def put(gds: Gds, host: str, pod: str, headers: dict[str, str] | None = None) -> int:
    answer = gds.client.put(f"/backend/{host}", json={"pod": pod}, headers=headers)
    assert answer.status_code in (200, 201), answer.text
    return int(answer.json()["revision"])


def is_recent(at: object) -> bool:
    assert isinstance(at, str)
    assert at.endswith("Z")
    return abs(datetime.now(UTC) - datetime.fromisoformat(at)) < timedelta(minutes=5)


def test_an_entry_says_who_put_it_there_and_when(gds: Gds) -> None:
    revision = put(gds, "a.example.com", "pod1", ADA)
    found = entry(gds, "A.example.com:443")
    assert is_recent(found.pop("at"))
    assert found == {"domain": "a.example.com", "pod": "pod1", "revision": revision, "by": ADA["GDS-Actor"]}


def test_a_wildcard_answers_with_its_own_entry(gds: Gds) -> None:
    revision = put(gds, "*.example.com", "pod1", ADA)
    put(gds, "other.example.net", "pod1", {"GDS-Actor": "somebody else"})
    found = entry(gds, "shop.example.com")
    assert (found["domain"], found["revision"], found["by"]) == ("*.example.com", revision, ADA["GDS-Actor"])


def test_who_changes_it_next_is_its_author_and_without_a_header_it_is_nobody(gds: Gds) -> None:
    put(gds, "a.example.com", "pod1", ADA)
    put(gds, "a.example.com", "pod1", {"GDS-Actor": "who changes nothing"})
    assert entry(gds, "a.example.com")["by"] == ADA["GDS-Actor"]
    put(gds, "a.example.com", "pod2")
    found = entry(gds, "a.example.com")
    assert "by" not in found
    assert is_recent(found["at"])


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("application/json, text/plain, */*", False),
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ("APPLICATION/JSON", True),
        ("application/json, */*;q=0.5", True),
        ("application/*", True),
        ("application/json;q=0", False),
        ("application/json;q=much", False),
        (",;q=,", False),
    ],
)
def test_text_is_the_answer_unless_json_is_preferred(accept: str, *, json: bool) -> None:
    assert prefers_json(accept) is json


@pytest.mark.parametrize("actor", [b"", b"  ", b"a\tb", "a\u202eb".encode(), b"x" * 201, "\u0085".encode()])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PUT pod", "DELETE pod"])
def test_who_can_t_be_shown_is_refused_and_nothing_is_written(gds: Gds, method: str, actor: bytes) -> None:
    put(gds, "a.example.com", "pod1")
    before = gds.position()
    path = {"POST": "/backends", "PUT pod": "/pods/pod1", "DELETE pod": "/pods/pod2"}.get(
        method, "/backend/a.example.com"
    )
    body = {"POST": b'{"op":"delete","domain":"a.example.com"}\n', "PUT": b'{"pod":"pod2"}', "PUT pod": b"{}"}
    answer = gds.client.request(method.split()[0], path, content=body.get(method), headers=[(b"GDS-Actor", actor)])
    assert answer.status_code == 400
    assert "GDS-Actor" in answer.json()["detail"]
    assert gds.position() == before


def test_what_is_not_utf_8_is_refused(live: Gds) -> None:
    address = httpx.URL(str(live.client.base_url))
    with socket.create_connection((address.host, address.port or 80)) as connection:
        head = f"DELETE {address.path}backend/a.test HTTP/1.1\r\nHost: gds\r\nConnection: close\r\nGDS-Actor: "
        connection.sendall(head.encode() + b"\xff\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"GDS-Actor is not UTF-8" in answer


def test_who_is_said_twice_is_refused(gds: Gds) -> None:
    answer = gds.client.delete("/backend/a.example.com", headers=[("GDS-Actor", "proxy"), ("GDS-Actor", "client")])
    assert (answer.status_code, "2 times" in answer.json()["detail"]) == (400, True)


def test_a_name_that_is_not_ascii_is_utf_8(gds: Gds) -> None:
    answer = gds.client.put(
        "/backend/a.example.com", json={"pod": "pod1"}, headers=[(b"GDS-Actor", "Zoë Müller, 東京".encode())]
    )
    assert answer.status_code == 201
    assert entry(gds, "a.example.com")["by"] == "Zoë Müller, 東京"


def test_every_writing_call_tells_the_watch_who_and_when(live: Gds) -> None:
    def actor(name: str) -> dict[str, str]:
        return {"GDS-Actor": name}

    client = live.client
    with live.watch(*live.position()) as watch:
        client.put("/pods/pod7", json={"endpoints": []}, headers=actor("one"))
        put(live, "a.example.com", "pod7", actor("two"))
        client.post("/backends", content=b'{"op":"put","domain":"b.test","pod":"pod7"}\n', headers=actor("three"))
        client.post("/backends", content=b'{"op":"delete","domain":"b.test"}\n', headers=actor("four"))
        client.delete("/backend/a.example.com", headers=actor("five"))
        client.delete("/pods/pod7", headers=actor("six"))
        live.pod("pod8")
        events = [watch.change().data for _ in range(7)]
    assert [event.get("by") for event in events] == ["one", "two", "three", "four", "five", "six", None]
    assert all(is_recent(event["at"]) for event in events)


def test_a_load_makes_its_author_that_of_each_entry_it_changes(gds: Gds) -> None:
    put(gds, "same.test", "pod1", ADA)
    put(gds, "moves.test", "pod1", ADA)
    body = b"".join(
        b'{"op":"put","domain":"%s.test","pod":"pod%d"}\n' % one for one in [(b"same", 1), (b"moves", 2), (b"new", 2)]
    )
    answer = gds.client.post("/backends", content=body, headers={"GDS-Actor": "the load"})
    assert answer.status_code == 200
    assert [entry(gds, f"{name}.test")["by"] for name in ("same", "moves", "new")] == [
        ADA["GDS-Actor"],
        "the load",
        "the load",
    ]


def test_who_and_when_are_kept_when_the_history_is_gone(db: str) -> None:
    with open_store(db, keep_changes=1) as store:
        store.put_pod(Pod("pod1"))
        store.put_domain("a.example.com", "pod1", by="ada")
        for number in range(50):
            store.put_domain(f"d{number}.example.com", "pod1")
        kept = store.lookup("a.example.com")
    with open_store(db) as store:
        assert store.lookup("a.example.com") == kept
        assert kept.by == "ada"


def test_an_import_says_who_it_was(db: str, tmp_path: Path) -> None:
    source = tmp_path / "backend.map"
    source.write_text("a.example.com pod1\n")
    assert run("import", source, "--db", db).returncode == 0
    with open_store(db) as store:
        assert (store.lookup("a.example.com").by or "").endswith(", import of backend.map")
    source.write_text("a.example.com pod2\n")
    assert run("import", source, "--db", db, "--by", "ada, ticket 12").returncode == 0
    with open_store(db) as store:
        assert store.lookup("a.example.com").by == "ada, ticket 12"
    refused = run("import", source, "--db", db, "--by", "a\nb")
    assert (refused.returncode, "--by must be 1 to 200 printable characters" in refused.stderr) == (1, True)


# A store of the layout before, as the version before made it

OLD_SQLITE = """
CREATE TABLE meta(
    one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL, revision INTEGER NOT NULL,
    floor INTEGER NOT NULL, floor_seq INTEGER NOT NULL);
CREATE TABLE pods(name TEXT PRIMARY KEY, body TEXT NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE domains(domain TEXT PRIMARY KEY, pod TEXT NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE changes(
    seq INTEGER PRIMARY KEY, revision INTEGER NOT NULL, op TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    payload TEXT);
CREATE TABLE revisions(revision INTEGER PRIMARY KEY, last INTEGER NOT NULL);
INSERT INTO revisions VALUES (0, 0);
INSERT INTO meta VALUES (1, 'the-epoch', 2, 0, 0);
INSERT INTO pods VALUES ('pod1', '{"name":"pod1"}', 1);
INSERT INTO domains VALUES ('a.example.com', 'pod1', 2);
INSERT INTO changes VALUES (1, 1, 'put', 'pod', 'pod1', '{"name":"pod1"}');
INSERT INTO changes VALUES (2, 2, 'put', 'domain', 'a.example.com', 'pod1');
INSERT INTO revisions VALUES (1, 1), (2, 2);
PRAGMA application_id = 0x47445331;
"""
OLD_POSTGRES = """
CREATE TABLE gds_meta(one integer PRIMARY KEY, version integer NOT NULL, epoch text NOT NULL, revision bigint NOT NULL,
    last_seq bigint NOT NULL, floor bigint NOT NULL, floor_seq bigint NOT NULL, swept bigint NOT NULL,
    swept_seq bigint NOT NULL);
CREATE TABLE gds_pods(name text COLLATE "C" PRIMARY KEY, body text NOT NULL, revision bigint NOT NULL);
CREATE TABLE gds_domains(
    domain text COLLATE "C" PRIMARY KEY, pod text COLLATE "C" NOT NULL, revision bigint NOT NULL);
CREATE TABLE gds_changes(seq bigint PRIMARY KEY, revision bigint NOT NULL, op text NOT NULL, kind text NOT NULL,
    name text COLLATE "C" NOT NULL, payload text);
CREATE TABLE gds_revisions(revision bigint PRIMARY KEY, last bigint NOT NULL);
INSERT INTO gds_meta VALUES (1, 1, 'the-epoch', 2, 2, 0, 0, 0, 0);
INSERT INTO gds_pods VALUES ('pod1', '{"name":"pod1"}', 1);
INSERT INTO gds_domains VALUES ('a.example.com', 'pod1', 2);
INSERT INTO gds_changes VALUES (1, 1, 'put', 'pod', 'pod1', '{"name":"pod1"}');
INSERT INTO gds_changes VALUES (2, 2, 'put', 'domain', 'a.example.com', 'pod1');
INSERT INTO gds_revisions VALUES (0, 0), (1, 1), (2, 2);
"""


@pytest.fixture
def old(db: str) -> str:
    if db.startswith("postgres"):
        with psycopg.connect(db) as connection:
            connection.execute(OLD_POSTGRES)
    else:
        with sqlite3.connect(db) as file:
            file.executescript(OLD_SQLITE)
        file.close()
    return db


def test_a_store_of_the_layout_before_keeps_its_data_epoch_and_revision(old: str) -> None:
    with open_store(old) as store:
        assert (store.epoch, store.revision()) == ("the-epoch", 2)
        assert store.lookup("a.example.com") == Entry("a.example.com", "pod1", 2)
        logged = store.changes_after(0, 10)
        assert logged[1].change == PutDomain("a.example.com", "pod1")
        assert [(one.by, one.at) for one in logged] == [(None, None)] * 2
        store.put_domain("b.example.com", "pod1", by="ada")
    with open_store(old) as store:  # the second time there is nothing to bring up
        assert (store.epoch, store.revision()) == ("the-epoch", 3)
        assert store.lookup("b.example.com").by == "ada"
        assert store.changes_after(2, 10)[0].by == "ada"


def test_a_watcher_goes_on_over_the_new_layout_and_an_old_entry_has_neither_who_nor_when(old: str) -> None:
    with serving(old) as gds:
        assert entry(gds, "a.example.com") == {"domain": "a.example.com", "pod": "pod1", "revision": 2}
        with gds.watch("the-epoch", 1) as watch:
            event = watch.change().data
        assert "by" not in event
        assert "at" not in event


def test_a_store_of_a_later_layout_is_left_alone(pg: str) -> None:
    open_store(pg).close()
    with psycopg.connect(pg) as connection:
        connection.execute("UPDATE gds_meta SET version = 99")
    done = run("--db", pg, "--port", 0)
    assert done.returncode == 1
    assert "version 99" in done.stderr


def test_the_document_has_the_header_and_the_entry(gds: Gds) -> None:
    document = gds.client.get(str(httpx.URL(str(gds.client.base_url)).join("/openapi.json"))).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            names = [each["name"].lower() for each in operation.get("parameters", ())]
            assert ("gds-actor" in names) is (method in ("put", "post", "delete")), (method, path)
    one = document["paths"]["/rest/private/gds/backend/{host}"]["get"]["responses"]["200"]["content"]
    assert set(one) == {"text/plain", "application/json"}
