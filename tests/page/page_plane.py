"""A control plane's parts with the page, filled in process, and without a socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, cast

from xds.cache import Cache
from xds.directory import Directory
from xds.gds.mirror import MirrorStatus
from xds.gds.model import Endpoint, Pod, PutDomain, Snapshot, Transaction
from xds.http.page import render
from xds.http.page.gather import Gathered
from xds.http.view import Counts, View
from xds.protocol.messages import DeltaRequest, Node
from xds.resources.routes import RouteTables
from xds.resources.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPE, resource
from xds.server.streams import OpenStream, Peer
from xds.server.xds import XdsServer
from xds.tracker import Tracker

PODS = 24


class Plane:
    """A control plane's parts, filled in process; its Envoys are real streams that have ACKed everything."""

    def __init__(self, domains: int, envoys: int) -> None:
        self.directory, self.cache = Directory(), Cache()
        pods = tuple(Pod(f"pod{n}", "dc1", (Endpoint("10.0.0.1", 443),)) for n in range(PODS))
        pairs = [(f"{n % 999:x}-{n}.example.com", f"pod{n % PODS}") for n in range(domains)]
        self.directory.replace(Snapshot("e", 1, pods, pairs))
        self.tracker = Tracker(
            self.directory, publishes=lambda: self.cache.publishes, changes=lambda: 0, held=lambda: False
        )
        self.server = XdsServer(self.cache, on_joined=self.tracker.joined)
        for kind in (CLUSTER, ENDPOINT, LISTENER, ROUTE):
            self.cache.publish({kind: {"one": resource(kind, "one", b"")}})
        self.tracker.published("e", 1)
        for number in range(envoys):
            self._connect(f"edge-{number}")
        self.tracker.look()
        for revision in range(2, 42):
            change = PutDomain(pairs[revision % len(pairs)][0], f"pod{revision % PODS}")
            self.directory.apply(Transaction("e", revision, (change,)))
        self.view = View(
            self.directory,
            MirrorStatus("following", 41, time.monotonic()),
            RouteTables(512),
            self.server.nodes,
            lambda: Counts(40, 40, 0, 0, {}),
            tracker=self.tracker,
            streams=self.server.streams,
            nodes_of=self.server.nodes_of,
            nodes_after=self.server.nodes_after,
            cache=self.cache,
        )
        no_calls = cast(Callable[..., Any], None)
        self.page = Gathered(self.view, None, no_calls, no_calls)

    def _connect(self, node: str) -> None:
        stream = OpenStream(Peer(f"127.0.0.1:{node}", None), "delta", None, self.server._rim)
        self.server._open[stream] = None
        self.server._said[stream.protocol] = stream
        for kind in (CLUSTER, ENDPOINT, LISTENER, SCOPE, ROUTE):
            names = () if kind.wildcard else ("one",)
            stream.protocol.receive(DeltaRequest(kind.url, names, (), {}, "", None, Node(node)))
        while responses := [*stream.protocol.responses()]:
            for response in responses:
                stream.protocol.receive(DeltaRequest(response.type_url, nonce=response.nonce))
        self.tracker.joined(stream.protocol, node)

    def first_page(self) -> str:
        return render.status_page(self.page.status())

    def sections(self) -> str:
        return json.dumps(dict(render.sections(self.page.status())))

    def envoys(self) -> str:
        rows, said = asyncio.run(self.page.listing("envoys", ""))
        return render.list_page("envoys", rows, said, first=False)
