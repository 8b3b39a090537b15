"""The server under test: the real one on a real cache, listening on loopback in an event loop of its own thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import betterproto2
import grpc
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import DataSource, Locality
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, LocalityLbEndpoints
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import (
    RouteConfiguration,
    ScopedRouteConfiguration,
    ScopedRouteConfigurationKey,
    ScopedRouteConfigurationKeyFragment,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import GenericSecret, Secret
from xds_client import CDS, EDS, LDS, RDS, SDS, SRDS

from xds.cache import Cache, Changed
from xds.protocol.state import TypeState
from xds.resources.types import BY_URL, Resource, Update, resource
from xds.server.limits import Limits
from xds.server.streams import NodeState
from xds.server.xds import XdsServer

T = TypeVar("T")

START_STOP = 30.0


class LoopThread:
    """An event loop in a thread; `call` and `run` wait for the result."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="conformance server")
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(START_STOP)

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        async def called() -> T:
            return function(*arguments)

        return self.run(called())

    def tasks(self) -> set[str]:
        """What is under way in the loop, by name; the asking itself isn't."""

        async def others() -> set[str]:
            return {repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()}

        return self.run(others())

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(START_STOP)
        self.loop.close()


@dataclass(frozen=True)
class Server:
    """A running server. What the tests do to it is done in its own loop, and is done when the call returns."""

    port: int
    cache: Cache
    xds: XdsServer
    thread: LoopThread

    def publish(self, kind: str, **contents: str | None) -> None:
        """``name="content"`` is put, ``name=None`` removed."""
        self.together({kind: contents})

    def together(self, contents: Mapping[str, Mapping[str, str | None]]) -> None:
        """One publish over several types."""
        self.take({BY_URL[kind]: made(kind, named) for kind, named in contents.items()})

    def take(self, update: Update) -> Changed:
        return self.thread.call(self.cache.publish, update)

    def open_gate(self) -> None:
        self.thread.call(self.xds.open_gate)

    def nodes(self) -> list[NodeState]:
        return self.thread.call(self.xds.nodes)

    def state(self, kind: str, node: str = "envoy-1") -> TypeState:
        """What the server says of a type on the one stream of a node."""
        (found,) = [one for one in self.nodes() if one.node == node]
        (state,) = [state for state in found.types if state.type == BY_URL[kind].name]
        return state


def made(kind: str, contents: Mapping[str, str | None]) -> dict[str, Resource | None]:
    """Resources with a content each that `xds_client.CONTENT` reads."""
    return {
        name: None if content is None else resource(BY_URL[kind], name, bytes(body(kind, name, content)))
        for name, content in contents.items()
    }


def body(kind: str, name: str, content: str) -> betterproto2.Message:
    fragment = ScopedRouteConfigurationKeyFragment(string_key=name)
    builders: dict[str, Callable[[], betterproto2.Message]] = {
        CDS: lambda: Cluster(name=name, alt_stat_name=content),
        EDS: lambda: ClusterLoadAssignment(
            cluster_name=name, endpoints=[LocalityLbEndpoints(locality=Locality(zone=content))]
        ),
        SDS: lambda: Secret(name=name, generic_secret=GenericSecret(secret=DataSource(inline_string=content))),
        LDS: lambda: Listener(name=name, stat_prefix=content),
        SRDS: lambda: ScopedRouteConfiguration(
            name=name, route_configuration_name=content, key=ScopedRouteConfigurationKey(fragments=[fragment])
        ),
        RDS: lambda: RouteConfiguration(name=name, virtual_hosts=[VirtualHost(name=content, domains=["*"])]),
    }
    return builders[kind]()


@contextmanager
def serving(
    thread: LoopThread,
    limits: Limits | None = None,
    *,
    gate: bool = True,
    credentials: Callable[[], grpc.ServerCredentials] | None = None,
    **options: Any,
) -> Iterator[Server]:
    """A server for as long as the block runs; it holds nothing but the probes. ``options`` are XdsServer's."""
    stop = asyncio.Event()
    ready: asyncio.Future[Server] = thread.call(thread.loop.create_future)

    async def serve() -> None:
        try:
            cache = Cache()
            xds = XdsServer(cache, limits or Limits(), **options)
            async with xds.listening("127.0.0.1", 0, credentials() if credentials else None) as port:
                ready.set_result(Server(port, cache, xds, thread))
                await stop.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    async def started() -> Server:
        return await ready

    running = asyncio.run_coroutine_threadsafe(serve(), thread.loop)
    server = thread.run(started())
    try:
        for kind in (SDS, EDS):
            server.publish(kind, **{"probe-0": "probe", "probe-1": "probe"})
        if gate:
            server.open_gate()
        yield server
    finally:
        thread.loop.call_soon_threadsafe(stop.set)
        running.result(START_STOP)
