"""The command line: importing a HAProxy map, and saying clearly what is wrong."""

from __future__ import annotations

import json
import socket
import sqlite3
from pathlib import Path

import pytest
from gds_harness import run, serving

from gds_mock.opening import open_store
from gds_mock.server import listen

MAP = """\
# host pod
Acme.example.com      pod1

shop.example.com:443\tpod2
   # indented comment
*.wild.example.com.   pod1
acme.example.com pod1
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "backend.map"
    source.write_text(MAP)
    return source


def pods_of(db: str) -> dict[str, str]:
    with open_store(db) as store:
        hosts = ("acme.example.com", "shop.example.com", "a.wild.example.com")
        return {host: store.lookup(host).pod for host in hosts}


def test_a_map_is_imported_as_one_revision(db: str, source: Path) -> None:
    done = run("import", source, "--db", db)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 domains put, revision 1" in done.stdout
    assert "created without endpoints: pod1, pod2" in done.stdout
    assert pods_of(db) == {"acme.example.com": "pod1", "shop.example.com": "pod2", "a.wild.example.com": "pod1"}
    with open_store(db) as store:
        assert store.revision() == 1
        assert [pod.endpoints for pod in store.pods()] == [(), ()]


def test_the_same_map_again_changes_nothing(db: str, source: Path) -> None:
    run("import", source, "--db", db)
    done = run("--db", db, "import", source)
    assert done.returncode == 0
    assert "0 domains put, revision 1" in done.stdout


def test_an_import_can_bring_the_pods_with_it(db: str, source: Path, tmp_path: Path) -> None:
    pods = tmp_path / "pods.json"
    pods.write_text(json.dumps([{"name": "pod1", "endpoints": [{"address": "127.0.0.1", "port": 20001}]}]))
    done = run("import", source, "--db", db, "--pods", pods)
    assert "created without endpoints: pod2" in done.stdout
    with open_store(db) as store:
        assert store.revision() == 1
        assert store.pod("pod1")[0].endpoints[0].port == 20001


def test_pods_that_are_none_are_named_and_nothing_is_imported(db: str, source: Path, tmp_path: Path) -> None:
    pods = tmp_path / "pods.json"
    pods.write_text('[{"name": "pod1", "endpoints": [{"address": "localhost", "port": 1}]}]')
    done = run("import", source, "--db", db, "--pods", pods)
    assert done.returncode == 1
    assert f"{pods}: pod pod1: endpoints[0].address" in done.stderr
    with open_store(db) as store:
        assert store.revision() == 0


def test_bad_lines_are_named_and_nothing_is_imported(db: str, source: Path) -> None:
    bad = b"not_a_host pod1\nlonely.example.com\na.example.com pod1 pod2\nb.example.com -pod\n\xff\xfe pod1\n"
    source.write_bytes(MAP.encode() + bad)
    done = run("import", source, "--db", db)
    assert done.returncode == 1
    assert [line.split(": ")[0] for line in done.stderr.splitlines()[:-1]] == [f"{source}:{n}" for n in range(8, 13)]
    assert done.stderr.splitlines()[-1] == "gds_mock: 5 bad lines: nothing was applied"
    with open_store(db) as store:
        assert store.revision() == 0


def test_a_map_that_contradicts_itself_is_refused(db: str, source: Path) -> None:
    source.write_text(MAP + "ACME.example.com pod2\n")
    done = run("import", source, "--db", db)
    assert done.returncode == 1
    assert f"{source}:8: acme.example.com is on pod2 here, but on pod1 in line 2" in done.stderr


def assert_one_line(stderr: str, *words: str) -> None:
    assert stderr.count("\n") == 1, stderr
    assert stderr.startswith("gds_mock: ")
    for word in words:
        assert word in stderr


def test_a_map_that_is_not_there_is_one_clear_line(db: str, tmp_path: Path) -> None:
    done = run("import", tmp_path / "missing.map", "--db", db)
    assert done.returncode == 1
    assert_one_line(done.stderr, "missing.map", "No such file")


def test_a_busy_port_is_one_clear_line(db: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        done = run("--db", db, "--port", port)
    assert done.returncode == 1
    assert_one_line(done.stderr, f"127.0.0.1:{port}", "in use")


def test_a_port_that_is_none_is_one_clear_line(db: str) -> None:
    done = run("--db", db, "--port", 70000)
    assert done.returncode == 1
    assert_one_line(done.stderr, "127.0.0.1:70000")


def test_a_file_that_is_not_sqlite_is_one_clear_line_and_stays_as_it_is(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database " * 1_000)
    done = run("--db", text, "--port", 0)
    assert done.returncode == 1
    assert_one_line(done.stderr, str(text), "not a database")
    assert text.read_text() == "not a database " * 1_000


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs(x)")
    other.close()
    done = run("--db", path, "--port", 0)
    assert done.returncode == 1
    assert_one_line(done.stderr, str(path), "something else")


@pytest.mark.parametrize("path", [".", "no/such/folder/gds.sqlite"])
def test_a_file_that_cannot_be_written_is_one_clear_line(tmp_path: Path, path: str) -> None:
    done = run("--db", tmp_path / path, "--port", 0)
    assert done.returncode == 1
    assert_one_line(done.stderr, "can't open the store")


def test_it_listens_on_loopback_unless_told_otherwise(db: str) -> None:
    with serving(db) as gds:
        assert gds.client.base_url.host == "127.0.0.1"


def test_no_answer_waits_for_the_acknowledgement_of_its_head() -> None:
    with listen("127.0.0.1", 0) as sock, socket.create_connection(sock.getsockname()):
        accepted, _ = sock.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
