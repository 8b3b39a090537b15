"""Scoped routes, virtual hosts on demand: cases 31 to 39. Pointsman doesn't offer virtual hosts (VHDS)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import grpc
import pytest
from conformance_server import Server, made
from envoy_data_plane.envoy.config.route.v3 import (
    RouteConfiguration,
    ScopedRouteConfiguration,
    ScopedRouteConfigurationKey,
    ScopedRouteConfigurationKeyFragment,
)
from xds_client import CDS, RDS, SRDS, VHDS, Client, DeltaStream, Stream

from xds.directory import Directory
from xds.errors import PointsmanError
from xds.gds.model import Endpoint, Pod, Snapshot
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.resources.types import SCOPE, resource


def refused(client: Client, ask: Callable[[DeltaStream], None]) -> None:
    """On a stream of its own the request meets UNIMPLEMENTED; on the aggregated one silence, and that stream lives."""
    alone = client.delta(of=VHDS)
    ask(alone)
    assert alone.end().code is grpc.StatusCode.UNIMPLEMENTED
    aggregated = client.delta()
    ask(aggregated)
    others_are_served(aggregated)
    ask(aggregated)
    aggregated.quiet()


def others_are_served(stream: Stream) -> None:
    stream.quiet()
    assert stream.ask(CDS).names == {"a"}
    assert stream.ask(RDS, "table-0").names == {"table-0"}


@pytest.fixture(autouse=True)
def _content(server: Server) -> None:
    server.together({CDS: {"a": "1"}, RDS: {"table-0": "a"}})


def test_c31_virtual_hosts_are_not_served_over_sotw(client: Client) -> None:
    stream = client.sotw()
    stream.want(VHDS, "table-0/a.test")
    others_are_served(stream)


def test_c31_virtual_hosts_are_not_offered_over_sotw_on_a_stream_of_their_own(client: Client) -> None:
    stream = client.sotw(of=VHDS)
    stream.want(VHDS, "table-0/a.test")
    assert stream.end().code is grpc.StatusCode.UNIMPLEMENTED


def test_c31_virtual_hosts_are_not_offered_over_delta(client: Client) -> None:
    refused(client, lambda stream: stream.subscribe(VHDS, "table-0/a.test"))


@pytest.mark.parametrize("names", [(), ("*",)], ids=["empty", "star"])
def test_c32_asking_for_all_virtual_hosts_brings_none(client: Client, names: tuple[str, ...]) -> None:
    refused(client, lambda stream: stream.subscribe(VHDS, *names))


def test_c33_no_route_table_waits_for_virtual_hosts() -> None:
    """None has ``vhds`` set, so no listener can wait for a first answer."""
    edge = EdgeResources(4, timedelta(seconds=5))
    directory = Snapshot("e", 1, (Pod("pod", "dc", (Endpoint("10.0.0.1", 80),)),), [("a.test", "pod")])
    edge.update(Directory().replace(directory))
    tables = [RouteConfiguration.parse(edge.tables.encoded(number)) for number in range(len(edge.tables))]
    assert any(table.virtual_hosts for table in tables)
    assert all(table.vhds is None for table in tables)


@pytest.mark.parametrize("name", ["table-0/a.test", "table-0/a.test:8443", "a/b/a.test", "no-table", "/"])
def test_c34_a_virtual_host_asked_by_table_and_name_is_refused_however_it_is_written(client: Client, name: str) -> None:
    refused(client, lambda stream: stream.subscribe(VHDS, name))


def test_c35_an_unknown_virtual_host_is_refused_like_a_known_one(client: Client) -> None:
    refused(client, lambda stream: stream.subscribe(VHDS, "table-0/unknown.test"))


def test_c36_several_virtual_hosts_at_once_are_refused(client: Client) -> None:
    refused(client, lambda stream: stream.subscribe(VHDS, "table-0/a.test", "table-0/www.a.test"))


def test_c37_virtual_hosts_held_from_before_are_neither_sent_nor_removed(client: Client) -> None:
    held = {"table-0/a.test": "1", "table-0/gone.test": "1"}
    refused(client, lambda stream: stream.subscribe(VHDS, "table-0/a.test", initial=held, drop=("table-0/gone.test",)))


def test_c39_a_publish_of_two_scopes_with_one_key_is_refused(server: Server, client: Client, variant: str) -> None:
    server.take({SCOPE: made(SRDS, {"ab": "table-0"})})
    stream = client.stream(variant)
    stream.ask(SRDS)
    twin = resource(SCOPE, "twin", bytes(_scope("twin", key="ab")))
    with pytest.raises(PointsmanError, match="twin"):
        server.take({SCOPE: {"twin": twin}})
    stream.quiet()


def test_c39_no_two_scopes_that_are_made_have_one_key(server: Server, client: Client, variant: str) -> None:
    server.take(EdgeResources(4, timedelta(seconds=5)).fixed(Edge()))
    scopes = client.stream(variant).ask(SRDS).bodies
    keys = [tuple(fragment.string_key for fragment in scope.key.fragments) for scope in scopes.values()]
    assert len(keys) > 1000
    assert len(set(keys)) == len(keys)


def test_c39_a_scope_renamed_under_its_key_goes_and_comes_in_one_response(
    server: Server, client: Client, variant: str
) -> None:
    server.take({SCOPE: made(SRDS, {"ab": "table-0", "cd": "table-0"})})
    stream = client.stream(variant)
    stream.ask(SRDS)
    renamed = resource(SCOPE, "renamed", bytes(_scope("renamed", key="ab")))
    server.take({SCOPE: {"ab": None, "renamed": renamed}})
    (heard,) = stream.settle()
    if isinstance(stream, DeltaStream):
        assert (heard.names, heard.removed) == ({"renamed"}, ["ab"])
    else:
        assert heard.names == {"renamed", "cd"}


def _scope(name: str, key: str) -> ScopedRouteConfiguration:
    fragment = ScopedRouteConfigurationKeyFragment(string_key=key)
    return ScopedRouteConfiguration(
        name=name, route_configuration_name="table-0", key=ScopedRouteConfigurationKey(fragments=[fragment])
    )
