"""One Envoy stops reading, one rejects everything, many come and go: the others see nothing of it."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from edge_harness import until
from faulty_edge import FaultyEdge
from wire_envoy import WireEnvoy

from demo.system import LOOPBACK


@contextmanager
def others_see_nothing(edge: FaultyEdge) -> Iterator[None]:
    """Under load, moves arrive at the good Envoy while the block's Envoys are there, as they do without them."""

    def moves(count: int) -> float:
        took = []
        for turn in range(count):
            domain = edge.where.domains[turn]
            began = edge.move(domain, edge.elsewhere(domain))
            edge.arrives(domain)
            took.append(time.monotonic() - began)
        return statistics.median(took)

    streams = next(iter(edge.nodes()))["connected_seconds"]
    with edge.load_on() as load:
        alone = moves(10)
        yield
        beside = moves(10)
        load.wait(50)
    load.prove()
    assert beside < 10 * alone + 1.0, f"a move took {beside:.3f} s, and {alone:.3f} s without them"
    good = [node for node in edge.nodes() if node["node"] == "edge-1"]
    assert [node["connected_seconds"] > streams for node in good] == [True], "the good Envoy's stream was ended"
    assert sum(kind["nacked"] for node in good for kind in node["types"]) == 0


def where(edge: FaultyEdge) -> tuple[str, int]:
    return LOOPBACK, edge.system.ports.xds


def test_envoys_that_stop_reading(edge: FaultyEdge) -> None:
    with ExitStack() as stack:
        for number in range(5):
            stack.enter_context(WireEnvoy(edge.system.folder, where(edge), f"deaf-{number}", reads=False))
        until(lambda: len(edge.nodes()) == 6, "all of them are connected")
        with others_see_nothing(edge):
            pass
        assert edge.memory("pointsman-0") < 600_000_000


def test_an_envoy_that_rejects_everything(edge: FaultyEdge) -> None:
    with WireEnvoy(edge.system.folder, where(edge), "no-1", answer="nack") as bad:
        until(lambda: bad.responses >= 3, "it has rejected something")
        with others_see_nothing(edge):
            pass
        assert edge.ready()["set_aside"] == 0, "a record was taken away from all, for one Envoy"


def test_a_flood_of_reconnects(edge: FaultyEdge) -> None:
    ended = threading.Event()
    came = [0]

    def flood(number: int) -> None:
        while not ended.is_set():
            with WireEnvoy(edge.system.folder, where(edge), f"flood-{number}") as client:
                end = time.monotonic() + 2
                while not client.responses and time.monotonic() < end:
                    time.sleep(0.01)
            came[0] += 1

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(3)]
    with others_see_nothing(edge):
        for thread in threads:
            thread.start()
        until(lambda: came[0] >= 10, "they come and go")
        time.sleep(0.1)
    ended.set()
    for thread in threads:
        thread.join()
    assert came[0] >= 10
    until(lambda: len(edge.nodes()) == 1, "nothing is left of them")
