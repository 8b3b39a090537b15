"""When what changed is published: one by one at once, a burst together, a removed pod's cluster after its grace."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest

from xds.cache import Cache, Changed
from xds.errors import HistoryGone
from xds.gds.model import Change, DeletePod, Pod, PutDomain, PutPod, Snapshot, Transaction
from xds.pipeline import Pace, Pipeline
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.resources.secrets import CertificatePair
from xds.resources.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPE, SECRET, ResourceType

TABLES = 8


class World:
    """A pipeline whose time is moved by hand; ``published`` are the names of each publish."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.turn = itertools.count()
        self.cache = Cache()
        self.completed = 0
        self.published: list[dict[ResourceType, set[str]]] = []
        self.cache.watch(self._seen)
        self.pipeline = Pipeline(
            EdgeResources(TABLES, timedelta(seconds=1)),
            self.cache,
            Edge(),
            Pace(coalesce=0.005, removal_grace=2.0),
            later=lambda seconds, call: heapq.heappush(self.timers, (self.now + seconds, next(self.turn), call)),
            clock=lambda: self.now,
            on_complete=self._completed,
        )

    def start(self, *domains: str) -> None:
        pods = (Pod("pod1"), Pod("pod2"))
        self.pipeline.replace(Snapshot("e", 1, pods, [(domain, "pod1") for domain in domains]))
        self.published.clear()
        self.pass_by(1.0)

    def change(self, *changes: Change) -> None:
        self.pipeline.apply(Transaction("e", self.pipeline.directory.revision + 1, changes))

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            self.now, _, call = heapq.heappop(self.timers)
            call()
        self.now = end

    def next_timer(self) -> None:
        self.now, _, call = heapq.heappop(self.timers)
        call()

    def _seen(self, changed: Changed) -> None:
        self.published.append({kind: set(names) for kind, names in changed.items()})

    def _completed(self) -> None:
        self.completed += 1


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_snapshot_brings_everything_in_one_publish_and_completes(world: World) -> None:
    assert world.pipeline.position is None
    world.pipeline.replace(Snapshot("e", 7, (Pod("pod1"),), [("a.example.com", "pod1")]))
    (first,) = world.published
    assert set(first) == {CLUSTER, ENDPOINT, LISTENER, SCOPE, ROUTE}
    assert first[CLUSTER] == first[ENDPOINT] == {"pod1"}
    assert first[ROUTE] == {"rescope", *(f"table-{number}" for number in range(TABLES))}
    assert world.completed == 1
    assert world.pipeline.position == ("e", 7)


def test_a_change_that_comes_alone_is_published_at_once(world: World) -> None:
    world.start("a.example.com")
    world.change(PutDomain("a.example.com", "pod2"))
    assert [set(update) for update in world.published] == [{ROUTE}]


def test_changes_that_follow_closely_go_together_and_none_is_lost(world: World) -> None:
    world.start()
    for number in range(100):
        world.change(PutDomain(f"{chr(97 + number % 26)}{number}.example.com", "pod1"))
        world.pass_by(0.0001)
    world.pass_by(0.1)
    assert 2 <= len(world.published) <= 4
    assert len(world.pipeline.directory.domains) == 100
    names = b"".join(resource.any for resource in world.cache.view(ROUTE).values())
    assert all(f"{chr(97 + n % 26)}{n}.example.com".encode() in names for n in range(100))


def test_what_went_and_came_back_within_a_burst_is_not_published(world: World) -> None:
    world.start("a.example.com")
    world.change(PutDomain("b.example.com", "pod1"))
    world.change(PutDomain("a.example.com", "pod2"))
    world.change(PutDomain("a.example.com", "pod1"))
    world.pass_by(1)
    assert len(world.published) == 1


def test_a_new_snapshot_publishes_only_what_differs(world: World) -> None:
    world.start("a.example.com", "b.example.com")
    pods = (Pod("pod1"), Pod("pod2"))
    world.pipeline.replace(Snapshot("other", 3, pods, [("a.example.com", "pod1"), ("b.example.com", "pod2")]))
    world.pass_by(1)
    (update,) = world.published
    assert set(update) == {ROUTE}
    assert len(update[ROUTE]) == 1
    assert world.completed == 1


def test_a_removed_pods_cluster_stays_for_its_grace(world: World) -> None:
    world.start("a.example.com")
    world.change(PutDomain("a.example.com", "pod2"), DeletePod("pod1"))
    world.pass_by(1.9)
    assert "pod1" in world.cache.view(CLUSTER)
    world.pass_by(0.2)
    assert "pod1" not in world.cache.view(CLUSTER)
    assert "pod1" not in world.cache.view(ENDPOINT)


def test_a_pod_that_comes_back_within_its_grace_stays(world: World) -> None:
    world.start("a.example.com")
    world.change(DeletePod("pod2"))
    world.pass_by(1)
    world.change(PutPod(Pod("pod2", max_connections=7)))
    world.pass_by(10)
    assert "pod2" in world.cache.view(CLUSTER)


def test_a_gap_in_the_revisions_changes_nothing(world: World) -> None:
    world.start("a.example.com")
    with pytest.raises(HistoryGone):
        world.pipeline.apply(Transaction("e", 9, (PutDomain("a.example.com", "pod2"),)))
    assert world.published == []
    assert world.pipeline.position == ("e", 1)


def test_a_renewed_certificate_is_one_secret(world: World) -> None:
    world.pipeline.certificates([CertificatePair("edge", b"1", b"k"), CertificatePair("other", b"1", b"k")])
    world.published.clear()
    world.pipeline.certificates([CertificatePair("edge", b"2", b"k"), CertificatePair("other", b"1", b"k")])
    assert world.published == [{SECRET: {"edge"}}]


SPREAD = [f"{chr(97 + number % 26)}{chr(97 + number % 7)}{number}.example.com" for number in range(200)]


@pytest.fixture
def portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xds.pipeline.MANY", 10)
    monkeypatch.setattr("xds.pipeline.TOGETHER", 2)


@pytest.mark.usefixtures("portions")
def test_a_large_change_goes_some_tables_at_a_time_each_once_and_ends_like_any_other(world: World) -> None:
    world.start(*SPREAD)
    world.change(*(PutDomain(domain, "pod2") for domain in SPREAD))
    assert world.pipeline.published == 1
    world.pass_by(0.1)
    tables = [update[ROUTE] for update in world.published]
    assert all(len(names) <= 2 for names in tables)
    assert sum(map(len, tables)) == len(set().union(*tables)) == TABLES
    assert world.pipeline.published == 2
    other = World()
    other.pipeline.replace(Snapshot("e", 1, (Pod("pod1"), Pod("pod2")), [(domain, "pod2") for domain in SPREAD]))
    assert dict(world.cache.view(ROUTE)) == dict(other.cache.view(ROUTE))


@pytest.mark.usefixtures("portions")
def test_a_change_that_comes_amid_a_large_one_goes_next(world: World) -> None:
    world.start(*SPREAD)
    world.change(*(PutDomain(domain, "pod2") for domain in SPREAD))
    late = list(world.pipeline._backlog)[-1][1]
    domain = next(name for name in SPREAD if f"table-{world.pipeline._resources.tables.number_of(name)}" == late)
    world.change(PutDomain(domain, "pod1"))
    world.published.clear()
    world.pass_by(0.0)
    assert late in world.published[0][ROUTE]


@pytest.mark.usefixtures("portions")
def test_a_pod_stays_until_its_grace_after_the_last_portion(world: World) -> None:
    world.start(*SPREAD)
    world.change(*(PutDomain(domain, "pod2") for domain in SPREAD), DeletePod("pod1"))
    assert world.pipeline._parting
    assert not world.pipeline._leaving
    world.pass_by(1.9)
    assert "pod1" in world.cache.view(CLUSTER)
    world.pass_by(0.3)
    assert "pod1" not in world.cache.view(CLUSTER)


def test_nothing_of_a_large_change_is_seen_before_all_of_it(world: World) -> None:
    world.start(*SPREAD)
    more = [f"{number}.example.com" for number in range(6_000)]
    work = world.pipeline.applying(Transaction("e", 2, tuple(PutDomain(domain, "pod1") for domain in more)))
    seen = set()
    for _ in work:
        seen.add(sum(world.pipeline.directory.lookup(domain) is not None for domain in more))
        assert world.pipeline.published == 1
    assert seen == {0, 6_000}


def test_the_first_snapshot_completes_nothing_before_its_last_slice(world: World) -> None:
    for _ in world.pipeline.replacing(Snapshot("e", 1, (Pod("pod1"),), [(domain, "pod1") for domain in SPREAD])):
        assert world.pipeline.position is None
        assert not world.published
    assert world.pipeline.position == ("e", 1)


@pytest.mark.usefixtures("portions")
def test_wildcards_that_change_faster_than_all_tables_are_published_keep_no_table_waiting(world: World) -> None:
    world.start(*SPREAD)
    for turn in range(4 * TABLES):
        world.change(PutDomain("*.example.org", f"pod{turn % 2 + 1}"))
        world.next_timer()
    published = set().union(*(update[ROUTE] for update in world.published))
    assert published == {f"table-{number}" for number in range(TABLES)}


@pytest.mark.usefixtures("portions")
def test_single_changes_that_fill_every_portion_do_not_keep_a_large_change_waiting(world: World) -> None:
    world.start(*SPREAD)
    tables = world.pipeline._resources.tables
    busy = [next(name for name in SPREAD if tables.number_of(name) == number) for number in (0, 1)]
    world.change(*(PutDomain(domain, "pod2") for domain in SPREAD))
    for turn in range(TABLES):
        world.change(*(PutDomain(domain, f"pod{turn % 2 + 1}") for domain in busy))
        world.next_timer()
    published = set().union(*(update[ROUTE] for update in world.published))
    assert published == {f"table-{number}" for number in range(TABLES)}


@pytest.mark.usefixtures("portions")
def test_nothing_more_is_published_once_a_large_change_was_cut_off_amid_the_tables(world: World) -> None:
    world.start(*SPREAD)
    world.change(PutDomain(SPREAD[0], "pod2"))
    world.change(PutDomain(SPREAD[1], "pod2"))  # waits, and goes with what comes next
    world.published.clear()
    changes: tuple[Change, ...] = (PutPod(Pod("pod3")), *(PutDomain(domain, "pod3") for domain in SPREAD))
    work = world.pipeline.applying(Transaction("e", 4, changes))
    next(work)
    work.close()
    world.pass_by(1.0)
    assert world.published == []


def test_listeners_that_change_while_the_first_snapshot_is_taken_are_published(world: World) -> None:
    newest = Edge(https_port=4321)
    wanted = world.pipeline._resources.listeners(newest)[LISTENER]
    work = world.pipeline.replacing(Snapshot("e", 1, (Pod("pod1"),), [(domain, "pod1") for domain in SPREAD]))
    slices = 0
    for slices, _ in enumerate(work, 1):  # noqa: B007
        pass
    for late in range(1, slices + 1):
        other = World()
        work = other.pipeline.replacing(Snapshot("e", 1, (Pod("pod1"),), [(domain, "pod1") for domain in SPREAD]))
        for at, _ in enumerate(work, 1):
            if at == late:
                other.pipeline.listen(newest)
        assert dict(other.cache.view(LISTENER)) == dict(wanted)
