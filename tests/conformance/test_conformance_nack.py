"""NACKs, and publishes that can't be: cases 45 to 48."""

from __future__ import annotations

from datetime import timedelta

import pytest
from conformance_server import Server, made
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DiscoveryRequest
from envoy_data_plane.google.rpc import Status
from xds_client import CDS, EDS, LDS, NAMED, RDS, SDS, SRDS, Client, SotwStream, resources

from xds.errors import PointsmanError
from xds.gds.model import Endpoint, Pod, PutDomain, PutPod, Snapshot, Transaction
from xds.pipeline import Pace, Pipeline
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.resources.types import CLUSTER, ENDPOINT, Resource, Update


def probing(kind: str) -> str:
    """A type to probe by that isn't ``kind``."""
    return EDS if kind == SDS else SDS


@pytest.mark.parametrize("kind", [CDS, LDS, SRDS, *NAMED])
def test_c45_what_was_rejected_is_not_sent_again_until_it_changes(
    server: Server, client: Client, variant: str, kind: str
) -> None:
    server.publish(kind, a="1")
    stream = client.stream(variant, probe=probing(kind))
    stream.subscribe(kind, "a")
    stream.nack(stream.receive(), "a is bad")
    stream.quiet()
    state = server.state(kind)
    assert (state.nacked, state.acked, state.last_nack) == (1, 0, "a is bad")
    server.publish(kind, a="1")
    stream.quiet()
    server.publish(kind, a="2")
    assert [response.contents for response in stream.settle()] == [{"a": "2"}]
    assert server.state(kind).acked == 1


def test_c45_an_error_is_a_rejection_even_with_the_rejected_version(server: Server, client: Client) -> None:
    server.publish(CDS, a="1")
    stream = client.sotw()
    stream.want(CDS)
    response = stream.receive()
    stream.send(
        DiscoveryRequest(
            type_url=CDS,
            version_info=response.version,
            response_nonce=response.nonce,
            error_detail=Status(code=13, message="a is bad"),
        )
    )
    stream.quiet()
    assert (server.state(CDS).nacked, server.state(CDS).acked) == (1, 0)


def test_c45_an_error_without_a_message_is_a_rejection_too(server: Server, client: Client, variant: str) -> None:
    server.publish(CDS, a="1")
    stream = client.stream(variant)
    stream.subscribe(CDS)
    nonce = stream.receive().nonce
    kind = DiscoveryRequest if isinstance(stream, SotwStream) else DeltaDiscoveryRequest
    stream.send(kind(type_url=CDS, response_nonce=nonce, error_detail=Status()))
    stream.quiet()
    state = server.state(CDS)
    assert (state.nacked, state.acked) == (1, 0)
    assert state.last_nack


@pytest.mark.parametrize("kind", [CDS, RDS])
def test_c45_a_change_elsewhere_does_not_bring_the_rejected_again(server: Server, client: Client, kind: str) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.delta()
    stream.subscribe(kind, "a", "b")
    stream.nack(stream.receive(), "a is bad")
    stream.subscribe(kind, "c")
    stream.settle()
    server.publish(kind, c="1")
    assert resources(stream.settle(), kind) == {"c": "1"}


@pytest.mark.parametrize("kind", NAMED)
def test_c45_a_change_elsewhere_does_not_bring_the_rejected_again_over_sotw(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", c="1")
    stream = client.sotw(probe=probing(kind))
    stream.ask(kind, "a", "c")
    server.publish(kind, a="2")
    stream.nack(stream.receive(), "a is bad")
    stream.quiet()
    server.publish(kind, c="2")
    assert resources(stream.settle(), kind) == {"c": "2"}


@pytest.mark.parametrize("kind", [CDS, RDS])
def test_c45_what_was_rejected_is_not_sent_again_because_it_went_and_came_back_meanwhile(
    server: Server, client: Client, variant: str, kind: str
) -> None:
    server.publish(kind, a="1")
    stream = client.stream(variant)
    stream.ask(kind, "a")
    stream.quiet()
    server.publish(kind, a="2")
    response = stream.receive()
    server.publish(kind, a="3")
    server.publish(kind, a="2")
    stream.nack(response, "a is bad")
    stream.quiet()


def test_c45_a_client_that_rejects_everything_is_sent_each_change_once(
    server: Server, client: Client, variant: str
) -> None:
    stream = client.stream(variant)
    stream.ask(CDS)
    for content in ("1", "2", "3"):
        server.publish(CDS, a=content)
        response = stream.receive()
        assert response.contents == {"a": content}
        stream.nack(response, "no")
    stream.quiet()
    assert server.state(CDS).nacked == 3


@pytest.mark.parametrize("kind", NAMED)
def test_c46_a_rejection_that_asks_for_another_gets_that_one_only(
    server: Server, client: Client, variant: str, kind: str
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.stream(variant, probe=probing(kind))
    stream.subscribe(kind, "a")
    stream.nack(stream.receive(), "a is bad", "b")
    assert [response.contents for response in stream.settle()] == [{"b": "1"}]


@pytest.mark.parametrize("kind", [CDS, LDS, SRDS])
def test_c46_a_rejection_that_asks_for_another_of_a_whole_type_gets_that_one_only(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.delta()
    stream.subscribe(kind, "a")
    stream.nack(stream.receive(), "a is bad", "b")
    assert [response.contents for response in stream.settle()] == [{"b": "1"}]


@pytest.mark.parametrize("kind", [CDS, LDS, SRDS, *NAMED])
def test_c47_what_was_rejected_together_is_tried_again_together(server: Server, client: Client, kind: str) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.delta(probe=probing(kind))
    stream.ask(kind, "a", "b")
    stream.quiet()
    server.publish(kind, a="2", b="2")
    response = stream.receive()
    assert response.contents == {"a": "2", "b": "2"}
    stream.nack(response, "a is bad")
    stream.quiet()
    server.publish(kind, a="3")
    assert [response.contents for response in stream.settle()] == [{"a": "3", "b": "2"}]


def test_c47_a_rejected_change_that_is_taken_back_leaves_the_client_as_it_was(server: Server, client: Client) -> None:
    server.publish(CDS, a="1", b="1")
    stream = client.delta()
    stream.ask(CDS)
    server.publish(CDS, a="2", b="2")
    stream.nack(stream.receive(), "a is bad")
    stream.quiet()
    server.publish(CDS, a="1")
    heard = resources(stream.settle(), CDS)
    assert heard["b"] == "2"
    assert heard.get("a", "1") == "1"


def _broken(kind: str) -> Resource:
    (resource,) = made(kind, {"other": "1"}).values()
    assert resource is not None
    return resource


@pytest.mark.parametrize(
    "invalid",
    [
        {ENDPOINT: {"a": _broken(EDS)}},
        {ENDPOINT: {"other": _broken(CDS)}},
    ],
    ids=["under another name", "of another type"],
)
def test_c48_an_invalid_publish_is_refused_whole_and_nobody_sees_any_of_it(
    server: Server, client: Client, variant: str, invalid: Update
) -> None:
    server.together({CDS: {"a": "1"}, EDS: {"a": "1"}})
    stream = client.stream(variant)
    stream.ask(CDS)
    stream.ask(EDS, "a", "other")
    stream.settle()
    with pytest.raises(PointsmanError):
        server.take({CLUSTER: made(CDS, {"a": "2", "b": "1"}), **invalid})
    stream.quiet()
    server.publish(CDS, a="3")
    assert resources(stream.settle(), CDS) == {"a": "3"}


def test_c48_a_record_of_the_directory_that_can_not_be_is_set_aside_and_no_node_sees_it(
    server: Server, client: Client, variant: str
) -> None:
    loop = server.thread.loop
    edge = EdgeResources(1, timedelta(seconds=5))
    pipeline = Pipeline(edge, server.cache, Edge(), Pace(), later=loop.call_later, clock=loop.time)
    good = Pod("good", "dc", (Endpoint("10.0.0.1", 80),))
    server.thread.call(pipeline.replace, Snapshot("e", 1, (good,), [("a.test", "good")]))
    stream = client.stream(variant)
    stream.ask(CDS)
    stream.ask(RDS, "table-0")
    bad = (PutPod(Pod("good", "dc", (Endpoint("not an address", 80),))), PutDomain("not a host!", "good"))
    server.thread.call(pipeline.apply, Transaction("e", 2, bad))
    assert pipeline.directory.set_aside_total == 2
    stream.quiet()
    server.thread.call(pipeline.apply, Transaction("e", 3, (PutDomain("b.test", "good"),)))
    (routes,) = stream.settle()
    (host,) = routes.bodies["table-0"].virtual_hosts
    assert host.domains == ["a.test", "b.test"]
