"""The steps of a pair that is split come one after the other, each when the Envoys have taken the one before."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest

from xds.cache import Cache
from xds.gds.model import Change, DeleteDomain, Pod, PutDomain, Snapshot, Transaction
from xds.pipeline import Pace, Pipeline
from xds.protocol.messages import DeltaRequest, Node, Response, SotwRequest
from xds.protocol.stream import Stream
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.resources.rescope import RESCOPE
from xds.resources.routes import hashed_table_of
from xds.resources.types import ROUTE, SCOPE
from xds.rollout import PATIENCE

TABLES = 4
CROWDED = 8
NAMES = tuple(f"table-{number}" for number in range(TABLES))


class Envoy:
    """Holds what it took; ``slow``: it answers nothing until `catch_up`."""

    def __init__(self, world: World, name: str, sotw: bool = False) -> None:
        self.world, self.name, self.sotw = world, name, sotw
        self.stream = Stream(world.cache.view)
        self.slow = False
        self.rejects = False
        self.owed: list[Response] = []
        world.cache.watch(self.stream.changed)
        for kind, names in ((SCOPE, ()), (ROUTE, NAMES)):
            make = SotwRequest if sotw else DeltaRequest
            self.stream.receive(make(kind.url, names, node=Node(name)))

    def read(self) -> bool:
        responses = list(self.stream.responses())
        self.owed += responses
        if not self.slow:
            self.catch_up()
        return bool(responses)

    def catch_up(self) -> None:
        owed, self.owed = self.owed, []
        for response in owed:
            error = "no" if self.rejects and response.type_url == ROUTE.url else None
            names = NAMES if response.type_url == ROUTE.url else ()
            request: DeltaRequest | SotwRequest = DeltaRequest(response.type_url, nonce=response.nonce, error=error)
            if self.sotw:
                request = SotwRequest(response.type_url, names, "", response.nonce, error)
            settled = self.stream.receive(request)
            if settled is not None:
                self.world.pipeline.settled(self.stream, self.name, settled)


class World:
    def __init__(self, *domains: str) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.turn = itertools.count()
        self.cache = Cache()
        self.envoys: list[Envoy] = []
        self.edge = EdgeResources(TABLES, timedelta(seconds=1), CROWDED)
        self.pipeline = Pipeline(
            self.edge,
            self.cache,
            Edge(),
            Pace(),
            later=lambda seconds, call: heapq.heappush(self.timers, (self.now + seconds, next(self.turn), call)),
            clock=lambda: self.now,
            takers=lambda: [envoy.stream for envoy in self.envoys],
        )
        self.pipeline.replace(Snapshot("e", 1, (Pod("pod1"), Pod("pod2")), [(name, "pod1") for name in domains]))

    def envoy(self, name: str, *, sotw: bool = False) -> Envoy:
        self.envoys.append(Envoy(self, name, sotw))
        self.settle()
        return self.envoys[-1]

    def change(self, *changes: Change) -> None:
        self.pipeline.apply(Transaction("e", self.pipeline.directory.revision + 1, changes))

    def put(self, count: int, start: int = 0) -> None:
        self.change(*(PutDomain(f"aa{number}.test", "pod1") for number in range(start, start + count)))

    def settle(self, seconds: float = 3.0) -> None:
        end = self.now + seconds
        self._read()
        while self.timers and self.timers[0][0] <= end:
            self.now, _, call = heapq.heappop(self.timers)
            call()
            self._read()
        self.now = end

    def _read(self) -> None:
        while any([envoy.read() for envoy in self.envoys]):
            pass

    @property
    def is_split(self) -> bool:
        """The scopes that are published lead to the re-scoping table."""
        body = self.cache.view(SCOPE)["scope-aa"].body
        assert (RESCOPE.encode() in body) is self.edge.tables.is_split("aa")
        return RESCOPE.encode() in body

    def holds(self, number: int) -> set[str]:
        shares = self.edge.tables.shares(number).values()
        return {name for names in shares for name in names}

    @property
    def own(self) -> set[str]:
        return self.holds(self.edge.tables._own("aa"))


@pytest.mark.parametrize("sotw", [False, True], ids=["delta", "sotw"])
@pytest.mark.parametrize("count", [CROWDED + 1, 3 * CROWDED], ids=["by and by", "at once"])
def test_the_scopes_wait_for_the_tables_and_the_old_table_for_the_scopes(count: int, sotw: bool) -> None:
    world = World("aa0.test")
    assert world.edge.tables._own("aa") != hashed_table_of("aa0.test", TABLES)
    envoy = world.envoy("e1", sotw=sotw)
    envoy.slow = True
    world.put(count)
    world.settle(0.3)
    kinds: list[str] = []
    while not kinds or envoy.owed:
        owed = [response.type_url for response in envoy.owed]
        kinds += owed
        if "scopes" not in [_short(kind) for kind in kinds]:
            assert not world.is_split  # it doesn't have all of the tables
        if SCOPE.url in owed or not world.is_split:
            assert "aa0.test" in world.own  # it is led there still
        envoy.catch_up()
        world.settle(0.3)
    assert world.is_split
    assert "aa0.test" not in world.own
    assert [kind for kind, _ in itertools.groupby(map(_short, kinds))] == ["tables", "scopes", "tables"]
    assert not world.pipeline.rollout.active


def _short(type_url: str) -> str:
    return "scopes" if type_url == SCOPE.url else "tables"


@pytest.mark.parametrize("sotw", [False, True], ids=["delta", "sotw"])
def test_a_pair_is_split_and_joined(sotw: bool) -> None:
    world = World()
    world.envoy("e1", sotw=sotw)
    world.put(CROWDED + 1)
    world.settle()
    assert world.is_split
    world.change(*(DeleteDomain(f"aa{number}.test") for number in range(1, CROWDED + 1)))
    world.settle()
    assert not world.is_split
    assert world.own == {"aa0.test"}
    assert not world.edge.tables.pairs.placed


def test_without_an_envoy_nothing_is_waited_for() -> None:
    world = World()
    world.put(CROWDED + 1)
    world.settle(0.1)
    assert world.is_split
    assert not world.pipeline.rollout.active


def test_changes_go_on_between_the_steps() -> None:
    world = World("ab0.test")
    envoy = world.envoy("e1")
    envoy.slow = True
    world.put(CROWDED + 1)
    world.settle(0.1)
    for turn in range(30):
        world.change(PutDomain("aa0.test", f"pod{turn % 2 + 1}"), PutDomain("ab0.test", f"pod{turn % 2 + 1}"))
        world.settle(0.1)
        envoy.catch_up()
    assert world.is_split
    assert not world.pipeline.rollout.active
    shares = world.edge.tables.shares(world.edge.tables.number_of("aa0.test"))
    assert [pod for pod, names in shares.items() if "aa0.test" in names] == ["pod2"]


def test_one_of_two_envoys_holds_a_step_up_but_not_for_ever() -> None:
    world = World()
    world.envoy("quick")
    world.envoy("stuck").slow = True
    world.put(CROWDED + 1)
    world.settle(PATIENCE * 0.9)
    assert not world.is_split
    rollout = world.pipeline.rollout
    assert (rollout.active, rollout.lacking, rollout.untaken, world.edge.tables.split_pairs) == (True, 1, 0, 0)
    world.settle(PATIENCE * (TABLES + 2))
    assert world.is_split
    assert (rollout.active, rollout.lacking, world.edge.tables.split_pairs) == (False, 0, 1)
    assert rollout.untaken > 1


def test_an_envoy_that_leaves_is_not_waited_for() -> None:
    world = World()
    world.envoy("quick")
    gone = world.envoy("gone")
    gone.slow = True
    world.put(CROWDED + 1)
    world.settle(0.5)
    assert not world.is_split
    world.envoys.remove(gone)
    world.settle(2.0)
    assert world.is_split


def test_an_envoy_that_rejects_the_tables_is_not_led_to_them() -> None:
    world = World()
    world.envoy("e1").rejects = True
    world.put(CROWDED + 1)
    world.settle(PATIENCE * 0.9)
    assert not world.is_split


def test_an_envoy_that_comes_in_the_middle_is_waited_for() -> None:
    world = World()
    first = world.envoy("first")
    first.slow = True
    world.put(CROWDED + 1)
    world.settle(0.3)
    late = Envoy(world, "late")
    late.slow = True
    world.envoys.append(late)
    world.settle(0.3)
    first.slow = False
    first.catch_up()
    world.settle(1.0)
    assert not world.is_split
    late.slow = False
    late.catch_up()
    world.settle(2.0)
    assert world.is_split
