"""What the first snapshot makes is made in small pieces, and once; others have their turn between."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from xds.cache import Cache
from xds.gds.model import Endpoint, Pod, Snapshot
from xds.in_slices import InSlices
from xds.pipeline import Pace, Pipeline
from xds.resources import listeners as module
from xds.resources import manager
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge, listeners
from xds.resources.tls import Tls
from xds.resources.types import LISTENER, SCOPE, Resource, resource
from xds.slices import Work

NAMES = ("a.example", "*.b.example")


def edge(*busiest: str) -> Edge:
    return Edge(http3=True, tls=Tls("service", NAMES, on_demand=True, prefetch=("p.test",), busiest=busiest))


def resources() -> EdgeResources:
    return EdgeResources(8, timedelta(seconds=1))


class Calls:
    """Counts the calls of functions that it stands before."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **kwargs: Any) -> Any:
            self.of[name] += 1
            return call(*args, **kwargs)

        return counting


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = Calls()
    monkeypatch.setattr(module, "manager", found.counted("manager", manager.manager))
    monkeypatch.setattr(Resource, "is_a", found.counted("looked at", Resource.is_a))
    return found


def most_in_a_slice(work: Work[Any], calls: Calls) -> Counter[str]:
    most: Counter[str] = Counter()
    before = calls.of.copy()
    for _ in work:
        most |= calls.of - before
        before = calls.of.copy()
    return most | (calls.of - before)


def test_no_slice_makes_two_connection_managers_or_looks_at_all_resources(calls: Calls) -> None:
    cache = Cache()
    pipeline = Pipeline(resources(), cache, edge("q.test"), Pace(), later=lambda *_: None, clock=lambda: 0.0)
    pod = Pod("pod1", endpoints=(Endpoint("127.0.0.1", 1),))
    most = most_in_a_slice(pipeline.replacing(Snapshot("E", 1, (pod,), [("a.test", "pod1")])), calls)
    assert most["manager"] == 1
    assert most["looked at"] <= 1_000 < len(cache.view(SCOPE))
    assert calls.of["manager"] == len(["http", "service", "customers", "http3"])
    assert calls.of["looked at"] == sum(map(len, cache._resources.values()))  # each once


def test_the_busiest_names_stand_in_the_https_listener_and_neither_in_its_version_nor_in_what_is_repeated() -> None:
    made, plain = (resources().listeners(edge(*busiest))[LISTENER] for busiest in (("q.test", "r.test"), ()))
    for busy in listeners(edge("q.test", "r.test"), 8):
        found, without = made[busy.name], plain[busy.name]
        assert found is not None
        assert without is not None
        assert found.any == resource(LISTENER, busy.name, bytes(busy)).any
        assert found.version == without.version
        assert (found.repeated or found.any) == without.any


async def test_a_task_that_waits_for_a_timer_has_its_turn_before_the_next_piece_of_work() -> None:
    done: list[str] = []
    rung = asyncio.get_running_loop().create_future()
    now = 0.0

    def work() -> Work[None]:
        nonlocal now
        for piece in ("first", "second", "third"):
            done.append(piece)
            now += 1
            if piece == "first":
                asyncio.get_running_loop().call_later(0, rung.set_result, None)
            yield

    async def waiting() -> None:
        await rung
        done.append("timer")

    waits = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    await InSlices(lambda: now)(work())
    await waits
    assert done == ["first", "timer", "second", "third"]
