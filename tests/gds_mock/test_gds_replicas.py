"""Several instances over one PostgreSQL: they serve one directory, and outlive each other and the server."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
from gds_harness import Gds, Watch, serving
from postgres_cluster import Cluster, cluster, programs

from gds_mock.errors import StoreUnavailable
from gds_mock.opening import open_store
from gds_mock.postgres.engine import Limits
from gds_mock.postgres.store import PostgresStore
from gds_mock.values import Pod


@pytest.fixture
def two(pg: str) -> Iterator[tuple[Gds, Gds]]:
    with serving(pg, "--heartbeat", "0.2") as one, serving(pg, "--heartbeat", "0.2") as other:
        one.pod("pod1")
        one.pod("pod2")
        yield one, other


@pytest.fixture
def fragile() -> Iterator[Cluster]:
    """A PostgreSQL of the test's own, to be ended under its instances."""
    if programs() is None:
        pytest.skip("no PostgreSQL is installed here: apt-get install postgresql")
    with cluster() as running:
        yield running


def soon(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.05)


def next_change(watch: Watch) -> int:
    return int(watch.change().data["revision"])


# Instances look for commits every half second: without notifications the median would be about 250 ms.
AT_ONCE = 0.15


def median_wait(writer: Gds, watch: Watch) -> float:
    """Seconds from a put to its event, the median of some."""
    took = []
    for _ in range(15):
        begun = time.monotonic()
        revision = writer.put(f"d{begun}.example.com", "pod1")
        assert next_change(watch) == revision
        took.append(time.monotonic() - begun)
    return sorted(took)[7]


def test_instances_serve_one_directory(two: tuple[Gds, Gds]) -> None:
    one, other = two
    revision = one.put("a.example.com", "pod1")
    assert other.client.get("/backend/a.example.com").text == "pod1"
    assert other.position() == one.position() == (one.position()[0], revision)
    assert one.client.get("/backends").content == other.client.get("/backends").content


@pytest.mark.alone
def test_a_put_to_one_is_seen_by_a_watcher_of_the_other_at_once(two: tuple[Gds, Gds]) -> None:
    one, other = two
    with other.watch(*other.position()) as watch:
        assert median_wait(one, watch) < AT_ONCE


def test_writers_over_two_instances_make_revisions_that_every_watcher_sees_once_in_order(two: tuple[Gds, Gds]) -> None:
    epoch, start = two[0].position()
    count = 60

    def look(gds: Gds) -> list[int]:
        with gds.watch(epoch, start) as watch:
            return [watch.change().data["revision"] for _ in range(count)]

    def write(number: int) -> int:
        return two[number % 2].put(f"d{number}.example.com", "pod1")

    with ThreadPoolExecutor(6) as watching, ThreadPoolExecutor(8) as writing:
        seen = [watching.submit(look, gds) for gds in (*two, *two, *two)]
        written = list(writing.map(write, range(count)))
        assert sorted(written) == list(range(start + 1, start + count + 1))
        assert [each.result(30) for each in seen] == [list(range(start + 1, start + count + 1))] * 6


def test_instances_that_start_together_make_one_store(pg: str) -> None:
    with ThreadPoolExecutor(6) as starting:
        stores = list(starting.map(lambda _: open_store(pg), range(6)))
    assert len({store.epoch for store in stores}) == 1
    for store in stores:
        store.close()


def test_kill_9_in_the_middle_of_a_load_leaves_nothing_of_it_and_the_other_goes_on(two: tuple[Gds, Gds]) -> None:
    one, other = two
    before = other.position()

    def body() -> Iterator[bytes]:
        for number in range(20_000):
            yield b'{"op":"put","domain":"d%d.example.com","pod":"pod1"}\n' % number
        one.end(signal.SIGKILL)
        yield b"\n"

    with pytest.raises(httpx.TransportError):
        one.client.post("/backends", content=body())
    assert other.position() == before
    assert len(other.client.get("/backends").text.splitlines()) == 1
    assert other.put("a.example.com", "pod1") == before[1] + 1


def test_kill_9_while_a_load_is_applied_is_all_or_nothing_and_frees_the_lock(two: tuple[Gds, Gds], pg: str) -> None:
    one, other = two
    before = other.position()[1]
    count = 100_000
    lines = b"".join(b'{"op":"put","domain":"d%d.example.com","pod":"pod1"}\n' % n for n in range(count))
    with ThreadPoolExecutor(1) as loading, psycopg.connect(pg, autocommit=True) as db:
        load = loading.submit(one.client.post, "/backends", content=lines)
        writing = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%INTO gds_%moved%'"
        soon(lambda: load.done() or db.execute(writing + " AND pid <> pg_backend_pid()").fetchone() != (0,))
        one.end(signal.SIGKILL)
        with contextlib.suppress(httpx.TransportError):
            load.result(30)
    assert other.put("after.example.com", "pod1") in (before + 1, before + 2)
    assert len(other.client.get("/backends").text.splitlines()) in (2, count + 2)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restarted", "crashed"])
def test_postgres_away_is_503_in_bounded_time_and_everything_comes_back(fragile: Cluster, how: signal.Signals) -> None:
    with fragile.place() as url, serving(url, "--heartbeat", "0.2") as one, serving(url) as other:
        one.pod("pod1")
        position = one.position()
        with one.watch(*position) as watch:
            watch.event()
            fragile.end(how)
            for call, path in (("GET", "/healthz"), ("PUT", "/backend/a.example.com"), ("GET", "/backends")):
                answer = one.client.request(call, path, json={"pod": "pod1"} if call == "PUT" else None, timeout=25)
                assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
                assert "s3cret" not in answer.text
            fragile.start()
            soon(lambda: other.client.get("/healthz").status_code == 200)
            assert other.position() == position
            revision = other.put("a.example.com", "pod1")
            assert next_change(watch) == revision  # the same watch goes on
            soon(lambda: median_wait(other, watch) < AT_ONCE)  # it listens again


def test_a_listener_that_is_cut_off_misses_nothing_and_comes_back(two: tuple[Gds, Gds], pg: str) -> None:
    one, other = two
    listening = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT epoch, revision FROM gds_meta'"
    with other.watch(*other.position()) as watch, psycopg.connect(pg, autocommit=True) as db:
        watch.event()
        first = {pid for (pid,) in db.execute(listening)}
        assert first
        for pid in first:
            db.execute("SELECT pg_terminate_backend(%s)", (pid,))
        revision = one.put("a.example.com", "pod1")
        assert next_change(watch) == revision
        soon(lambda: bool({pid for (pid,) in db.execute(listening)} - first))


@contextlib.contextmanager
def frozen(cluster: Cluster) -> Iterator[None]:
    """PostgreSQL says nothing: its processes are stopped, its sockets are still there."""
    assert cluster.process is not None
    ours = "SELECT pid FROM pg_stat_activity WHERE application_name = 'gds_mock'"
    pids = [*(pid for (pid,) in cluster.run(ours)), cluster.process.pid]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_a_postgres_that_says_nothing_is_503_in_bounded_time(fragile: Cluster) -> None:
    with fragile.place() as url, serving(url) as gds:
        gds.pod("pod1")
        with frozen(fragile):
            begun = time.monotonic()
            assert gds.client.get("/healthz", timeout=60).status_code == 503
            assert time.monotonic() - begun < 40
        soon(lambda: gds.client.get("/healthz").status_code == 200)
        gds.put("a.example.com", "pod1")


def test_sigterm_ends_an_instance_that_waits_for_a_postgres_that_says_nothing(fragile: Cluster) -> None:
    with fragile.place() as url, serving(url) as gds, ThreadPoolExecutor(1) as asking:
        gds.pod("pod1")
        with frozen(fragile):
            waits = asking.submit(gds.client.put, "/backend/a.example.com", json={"pod": "pod1"}, timeout=60)
            time.sleep(1)
            assert not waits.done()
            assert gds.end() == 0
            with contextlib.suppress(httpx.TransportError):
                assert waits.result(30).status_code >= 500


def test_a_lock_that_another_keeps_is_503_and_not_applied(two: tuple[Gds, Gds], pg: str) -> None:
    one, other = two
    with psycopg.connect(pg) as db:
        db.execute("SELECT * FROM gds_meta FOR UPDATE")
        answer = one.client.put("/backend/a.example.com", json={"pod": "pod1"}, timeout=60)
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert one.client.get("/backend/a.example.com").status_code == 404  # readers wait for nobody
    assert other.put("a.example.com", "pod1")


def test_tables_of_another_version_are_left_alone(pg: str) -> None:
    open_store(pg).close()
    with psycopg.connect(pg, autocommit=True) as db:
        db.execute("UPDATE gds_meta SET version = 99")
    with pytest.raises(StoreUnavailable, match="version 99"):
        open_store(pg)


def test_the_log_in_the_database_stays_bounded(pg: str) -> None:
    with open_store(pg, keep_changes=10) as store, psycopg.connect(pg) as db:
        for number in range(1, 101):
            store.put_pod(Pod("pod1", max_connections=number))
        log = db.execute("SELECT count(*), min(revision), max(revision) FROM gds_changes").fetchone()
        assert log == (10, 91, 100)
        assert db.execute("SELECT min(revision), max(revision) FROM gds_revisions").fetchone() == (90, 100)


def test_a_store_that_was_replaced_is_503_until_the_instance_is_started_anew(two: tuple[Gds, Gds], pg: str) -> None:
    one, _ = two
    with psycopg.connect(pg, autocommit=True) as db:
        db.execute("UPDATE gds_meta SET epoch = 'restored'")
        for answer in (
            one.client.get("/healthz"),
            one.client.get("/backends"),
            one.client.put("/backend/a.example.com", json={"pod": "pod1"}),
        ):
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        with serving(pg) as fresh:
            assert fresh.position()[0] == "restored"
            assert fresh.put("a.example.com", "pod1")
        assert one.client.get("/watch", params={"epoch": "restored", "after": 0}).status_code == 503


def test_more_snapshots_than_connections_are_503_and_quick_calls_go_on(pg: str) -> None:
    limits = Limits(long_connections=2, free_connection=0.2)
    with PostgresStore(pg, limits=limits) as store:
        store.put_pod(Pod("pod1"))
        snapshots = [store.snapshot() for _ in range(2)]
        with pytest.raises(StoreUnavailable, match="in use"):
            store.snapshot()
        assert store.put_domain("a.example.com", "pod1").revision == 2
        for snapshot in snapshots:
            assert b"a.example.com" not in snapshot.block()  # it began before
            snapshot.close()
        again = store.snapshot()
        assert b"a.example.com" in again.block()
        again.close()
