"""Secrets that are made when they are asked for, by the host that a client named, on streams of their own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

import pytest
from conformance_mtls import Certificates
from conformance_server import LoopThread, Server, body
from xds_client import EDS, SDS, Client, resources

from xds.certificates.customers import Shown
from xds.certificates.leases import Leases
from xds.resources.types import SECRET, resource
from xds.server.access import Access, rule
from xds.server.on_demand import OnDemand

Serve = Callable[..., AbstractContextManager[Server]]


class Source:
    """What there is, by name; of the certificate of that name."""

    stranger = ""

    def __init__(self) -> None:
        self.contents: dict[str, str] = {"a.test": "a-1", "b.test": "b-1"}

    def allowed(self, name: str) -> bool:
        return name in self.contents

    def certificate(self, name: str) -> str:
        return name if name in self.contents else ""

    async def secret(self, name: str) -> Shown | None:
        content = self.contents.get(name)
        if content is None:
            return None
        return Shown(name, resource(SECRET, name, bytes(body(SDS, name, content))))

    def outdated(self, shown: Shown) -> bool:
        return False

    def settled(self, shown: Shown, error: str | None) -> None:
        pass


class World:
    def __init__(self, names: int = 10) -> None:
        self.now = 0.0
        self.source = Source()
        self.on_demand = OnDemand(self.source, Leases(names, 60.0), lambda: self.now)

    def renew(self, thread: LoopThread, names: Collection[str]) -> None:
        thread.run(self.on_demand.renew(names))


@pytest.fixture
def world() -> World:
    return World()


def test_a_name_is_answered_when_it_is_asked_for_and_an_unknown_one_is_told_as_removed(
    serve: Serve, world: World
) -> None:
    with serve(on_demand=world.on_demand) as server, Client(server.port) as client:
        heard = client.delta(of=SDS).ask(SDS, "a.test", "nobody.test")
        assert (heard.contents, heard.removed) == ({"a.test": "a-1"}, ["nobody.test"])
        assert world.on_demand.held == 1


def test_a_renewed_one_is_pushed_and_one_that_is_gone_is_withdrawn(serve: Serve, world: World) -> None:
    with serve(on_demand=world.on_demand) as server, Client(server.port) as client:
        stream = client.delta(of=SDS)
        stream.ask(SDS, "a.test")
        world.source.contents["a.test"] = "a-2"
        world.renew(server.thread, ["a.test"])
        heard = stream.receive()
        assert heard.contents == {"a.test": "a-2"}
        stream.ack(heard)
        del world.source.contents["a.test"]
        world.renew(server.thread, ["a.test"])
        assert stream.receive().removed == ["a.test"]
        assert world.on_demand.held == 0


def test_the_aggregated_stream_has_only_what_all_envoys_have(serve: Serve, world: World) -> None:
    with serve(on_demand=world.on_demand) as server, Client(server.port) as client:
        server.publish(SDS, edge="edge-1")
        heard = client.delta(probe=EDS).ask(SDS, "a.test", "edge")
        assert (heard.contents, heard.removed) == ({"edge": "edge-1"}, ["a.test"])


def test_a_client_that_names_an_internal_secret_as_its_host_gets_nothing(serve: Serve, world: World) -> None:
    with serve(on_demand=world.on_demand) as server, Client(server.port) as client:
        server.publish(SDS, **{"#session-tickets": "keys", "edge": "edge-1"})
        heard = client.delta(of=SDS).ask(SDS, "#session-tickets", "edge")
        assert (heard.contents, heard.removed) == ({"edge": "edge-1"}, ["#session-tickets"])


def test_a_name_that_an_identity_may_not_have_is_not_even_made(
    serve: Serve, certificates: Certificates, world: World
) -> None:
    access = Access((rule("shop", secrets=("a.*",)),))
    with (
        serve(credentials=certificates.server, access=access, on_demand=world.on_demand) as server,
        Client(server.port, certificates.client("shop")) as client,
    ):
        heard = client.delta(of=SDS).ask(SDS, "a.test", "b.test")
        assert (heard.contents, heard.removed) == ({"a.test": "a-1"}, ["b.test"])
        assert world.on_demand.asked == 1


def test_over_the_cap_the_name_asked_for_longest_ago_is_withdrawn(serve: Serve) -> None:
    world = World(names=1)
    with serve(on_demand=world.on_demand) as server, Client(server.port) as client:
        first = client.delta(of=SDS)
        first.ask(SDS, "a.test")
        second = client.delta(of=SDS)
        assert second.ask(SDS, "b.test").contents == {"b.test": "b-1"}
        assert first.receive().removed == ["a.test"]
        assert second.ask(SDS, "a.test").contents == {"a.test": "a-1"}, "it may ask again"


def test_a_stream_that_ends_holds_nothing_any_more(serve: Serve, world: World) -> None:
    with serve(on_demand=world.on_demand) as server:
        with Client(server.port) as client:
            client.delta(of=SDS).ask(SDS, "a.test")
            assert server.thread.call(world.on_demand.uses, "a.test")
        for _ in range(200):
            if not server.thread.call(world.on_demand.uses, "a.test"):
                break
            server.thread.call(_turn)
        assert world.on_demand.held == 0


def test_over_sotw_a_name_is_answered_too(serve: Serve, world: World) -> None:
    with serve(on_demand=world.on_demand) as server, Client(server.port) as client:
        stream = client.sotw(of=SDS, probe=SDS)
        stream.subscribe(SDS, "a.test")
        assert resources(stream.settle(), SDS) == {"a.test": "a-1"}


def _turn() -> None:
    """The server's loop goes on for a moment."""
