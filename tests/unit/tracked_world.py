"""A control plane without sockets: the real gate, pipeline, cache, protocol and receipts, and Envoys that take what
they are sent when a test says so."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from xds.cache import Cache
from xds.gate import Gate
from xds.gds.mirror import MirrorStatus
from xds.gds.model import Change, Pod, Snapshot, Transaction
from xds.guard import Limits
from xds.http.view import Counts, View
from xds.pipeline import Pace, Pipeline
from xds.protocol.messages import DeltaRequest, Node
from xds.protocol.stream import Stream
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.resources.types import CLUSTER, ENDPOINT, ROUTE, SCOPE, ResourceType
from xds.slices import drained
from xds.tracker import Tracker

PODS = (Pod("pod1"), Pod("pod2"))
TABLES = 4


class World:
    """More than 9 of 100 domains are held. ``events`` are what a listener is told."""

    def __init__(self, domains: int = 100, tables: int = TABLES, crowded: int = 3_000, grace: float = 0.0) -> None:
        self.now = 0.0
        self.events: list[str] = []
        self.cache = Cache(lambda: self.now)
        self.resources = EdgeResources(tables, timedelta(seconds=1), crowded, clock=lambda: self.now)
        turn = itertools.count()
        self.pipeline = Pipeline(
            self.resources,
            self.cache,
            Edge(),
            Pace(0.0, 0.0),
            later=lambda _, call: call(),
            clock=lambda: float(next(turn)),
            on_complete=self.cache.begin,
            on_published=lambda *position: self.tracker.published(*position),
        )
        self.gate = Gate(self.pipeline, Limits(share=0.10, minimum=10), now=lambda: 1000.0, clock=lambda: self.now)
        self.tracker = Tracker(
            self.pipeline.directory,
            grace=grace,
            publishes=lambda: self.cache.publishes,
            changes=lambda: self.pipeline.changes,
            held=lambda: self.gate.hold is not None,
            followed=lambda: self.gate.followed,
            listener=lambda event, about, node: self.events.append(event),
            clock=lambda: self.now,
        )
        self.follower = self.tracker.following(self.gate)
        self.snapshot(1, {f"d{number}.test": "pod1" for number in range(domains)})

    def snapshot(self, revision: int, domains: dict[str, str], epoch: str = "E") -> None:
        drained(self.follower.replacing(Snapshot(epoch, revision, PODS, [*domains.items()])))

    def change(self, revision: int, *changes: Change) -> None:
        drained(self.follower.applying(Transaction("E", revision, changes)))

    def state(self, revision: int) -> str:
        return self.tracker.receipts.standing(revision).state


class Envoy:
    """It takes what it is sent when it is told to, and ACKs it, or not."""

    def __init__(self, world: World, name: str = "edge-1") -> None:
        self._world = world
        self.stream = Stream(world.cache.view, newest=lambda: world.cache.publishes)
        self._node = Node(name)
        world.cache.watch(self.stream.changed)
        world.tracker.joined(self.stream, name)

    def subscribe(self) -> None:
        for kind in (CLUSTER, SCOPE):
            self._say(DeltaRequest(kind.url, ("*",), node=self._node))
        self.take()
        self._say(DeltaRequest(ENDPOINT.url, ("pod1", "pod2")))
        tables = tuple(f"table-{number}" for number in range(len(self._world.resources.tables)))
        self._say(DeltaRequest(ROUTE.url, tables))
        self.take()

    def ask(self, kind: ResourceType, *names: str) -> None:
        """Asks for these, too; they come when it takes."""
        self._say(DeltaRequest(kind.url, names))

    def leave(self) -> None:
        self._world.tracker.left(self.stream)

    def take(self, error: str | None = None) -> None:
        """Everything that is due is taken and ACKed, or NACKed with ``error``."""
        while responses := list(self.stream.responses()):
            for response in responses:
                self._say(DeltaRequest(response.type_url, nonce=response.nonce, error=error))

    def _say(self, request: DeltaRequest) -> None:
        settled = self.stream.receive(request)
        if settled is not None:
            self._world.tracker.settled(self.stream, settled)


def view_of(world: World, **more: Any) -> View:
    """What the API looks at, of a world; ``more`` are the view's own fields."""
    return View(
        world.pipeline.directory,
        MirrorStatus(),
        world.resources.tables,
        list,
        lambda: Counts(0, 0, 0, 0, {}),
        tracker=world.tracker,
        cache=world.cache,
        **more,
    )
