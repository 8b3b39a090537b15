"""Delta: cases 13 to 23."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta

import pytest
from conformance_server import Server
from xds_client import CDS, EDS, LDS, NAMED, RDS, SDS, SRDS, WHOLE, Client, resources

from xds.directory import Directory
from xds.gds.model import Endpoint, Pod, Snapshot
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.resources.secrets import CertificatePair

Serve = Callable[..., AbstractContextManager[Server]]

EVERY = [*WHOLE, *NAMED]


def probing(kind: str) -> str:
    """A type to probe by that isn't ``kind``."""
    return EDS if kind == SDS else SDS


@pytest.mark.parametrize("kind", WHOLE)
def test_c13_a_first_request_for_all_is_answered_though_there_is_nothing(client: Client, kind: str) -> None:
    stream = client.delta()
    response = stream.ask(kind)
    assert (response.contents, response.removed) == ({}, [])
    stream.quiet()


@pytest.mark.parametrize("kind", WHOLE)
def test_c14_a_subscription_goes_from_all_to_all_and_one_to_one_to_none(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.delta()
    assert stream.ask(kind).names == {"a", "b"}

    stream.subscribe(kind, "a")
    stream.settle()
    server.publish(kind, a="2", b="2")
    assert resources(stream.settle(), kind) == {"a": "2", "b": "2"}

    stream.unsubscribe(kind, "*")
    stream.settle()
    server.publish(kind, a="3", b="3")
    assert resources(stream.settle(), kind) == {"a": "3"}

    stream.unsubscribe(kind, "a")
    stream.settle()
    server.publish(kind, a="4", b="4", c="1")
    stream.quiet()


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("first", [(), ("*",)], ids=["empty", "star"])
def test_c15_a_name_unsubscribed_within_all_comes_back(
    server: Server, client: Client, kind: str, first: tuple[str, ...]
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.delta()
    stream.ask(kind, *first)
    stream.subscribe(kind, "a")
    stream.settle()
    stream.unsubscribe(kind, "a")
    (answer,) = stream.settle()
    assert (answer.contents, answer.removed) == ({"a": "1"}, [])


@pytest.mark.parametrize("kind", WHOLE)
def test_c15_a_missing_name_unsubscribed_within_all_is_said_to_be_removed(client: Client, kind: str) -> None:
    stream = client.delta()
    stream.ask(kind)
    stream.subscribe(kind, "z")
    stream.settle()
    stream.unsubscribe(kind, "z")
    (answer,) = stream.settle()
    assert (answer.contents, answer.removed) == ({}, ["z"])


@pytest.mark.parametrize("kind", EVERY)
def test_c16_a_name_held_at_the_current_version_is_sent_again_to_who_subscribes_again(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.delta(probe=probing(kind))
    first = stream.ask(kind, "a", "b")
    again = stream.ask(kind, "a")
    assert again.contents == {"a": "1"}
    assert again.versions["a"] == first.versions["a"]
    stream.quiet()


@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind != EDS])
def test_c17_a_missing_name_is_said_to_be_removed_and_pushed_when_it_comes(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1")
    stream = client.delta(probe=probing(kind))
    heard = stream.ask(kind, "a", "z")
    assert (heard.contents, heard.removed) == ({"a": "1"}, ["z"])
    stream.quiet()
    server.publish(kind, z="1")
    (pushed,) = stream.settle()
    assert (pushed.contents, pushed.removed) == ({"z": "1"}, [])


def test_c17_missing_endpoints_are_an_empty_assignment_and_pushed_when_they_come(
    server: Server, client: Client
) -> None:
    stream = client.delta()
    heard = stream.ask(EDS, "z")
    assert (heard.contents, heard.removed) == ({"z": ""}, [])
    stream.quiet()
    server.publish(EDS, z="1")
    (pushed,) = stream.settle()
    assert (pushed.contents, pushed.removed) == ({"z": "1"}, [])


@pytest.mark.parametrize("kind", WHOLE)
def test_c18_a_client_that_comes_back_gets_what_differs_and_what_is_gone(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1", c="1")
    held = client.delta().ask(kind).versions
    server.publish(kind, b="2", c=None)
    stream = client.delta()
    stream.subscribe(kind, initial=held)
    heard = stream.take()
    assert (heard.contents, heard.removed) == ({"b": "2"}, ["c"])
    stream.quiet()


@pytest.mark.parametrize("kind", [SDS, RDS, *WHOLE])
def test_c18_a_client_that_comes_back_with_names_gets_what_differs_and_what_is_gone(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1", c="1")
    held = client.delta().ask(kind, "a", "b", "c").versions
    server.publish(kind, b="2", c=None)
    stream = client.delta(probe=probing(kind))
    stream.subscribe(kind, "a", "b", "c", initial=held)
    heard = stream.take()
    assert (heard.contents, heard.removed) == ({"b": "2"}, ["c"])
    stream.quiet()


def test_c18_what_a_client_holds_from_before_is_pushed_when_it_changes(server: Server, client: Client) -> None:
    server.publish(RDS, a="1")
    held = client.delta().ask(RDS, "a").versions
    stream = client.delta()
    stream.subscribe(RDS, "a", initial=held)
    stream.quiet()
    server.publish(RDS, a="2")
    assert resources(stream.settle(), RDS) == {"a": "2"}
    server.publish(RDS, a=None)
    assert [response.removed for response in stream.settle()] == [["a"]]


def test_c19_endpoints_are_sent_again_to_a_client_that_comes_back_holding_them(server: Server, client: Client) -> None:
    server.publish(EDS, a="1", b="1")
    held = client.delta().ask(EDS, "a", "b").versions
    stream = client.delta()
    stream.subscribe(EDS, "a", "b", initial=held)
    heard = stream.take()
    assert heard.contents == {"a": "1", "b": "1"}
    assert heard.versions == held
    stream.quiet()


@pytest.mark.parametrize("kind", EVERY)
def test_c20_one_change_brings_only_that_one(server: Server, client: Client, kind: str) -> None:
    server.publish(kind, a="1", b="1", c="1")
    stream = client.delta(probe=probing(kind))
    stream.ask(kind, "a", "b", "c")
    server.publish(kind, b="2")
    (heard,) = stream.settle()
    assert (heard.contents, heard.removed) == ({"b": "2"}, [])


@pytest.mark.parametrize("kind", EVERY)
def test_c20_versions_are_of_the_content_and_equal_on_every_replica(serve: Serve, kind: str) -> None:
    versions = []
    for order in ((("a", "1"), ("b", "1")), (("b", "2"), ("b", "1"), ("a", "1"))):
        with serve() as server, Client(server.port) as client:
            for name, content in order:
                server.publish(kind, **{name: content})
            versions.append(client.delta().ask(kind, "a", "b").versions)
    assert versions[0] == versions[1]
    assert versions[0]["a"] != versions[0]["b"]


def test_c20_content_that_comes_back_has_the_version_that_it_had(server: Server, client: Client) -> None:
    server.publish(CDS, a="1")
    stream = client.delta()
    first = stream.ask(CDS)
    server.publish(CDS, a="2")
    second = stream.take()
    server.publish(CDS, a="1")
    third = stream.take()
    assert first.versions == third.versions != second.versions


def test_c21_whatever_is_asked_at_once_no_name_comes_twice_in_a_response(server: Server, client: Client) -> None:
    """The client ends the stream at a response with a name twice, in both lists, or with a body of another type."""
    server.publish(CDS, a="1", b="1")
    stream = client.delta()
    stream.subscribe(CDS, "*", "a", "a", "z", "z", initial={"a": "old", "gone": "1", "z": "1"}, drop=("b", "b"))
    stream.subscribe(CDS, "a", "b", drop=("a", "z"))
    stream.subscribe(CDS, "z", "a")
    assert resources(stream.settle(), CDS) == {"a": "1", "b": "1"}


def test_c21_what_is_asked_removed_and_put_again_before_an_ack_comes_once(server: Server, client: Client) -> None:
    server.publish(CDS, a="1", b="1")
    stream = client.delta()
    stream.subscribe(CDS, "*")
    first = stream.receive()
    server.publish(CDS, a=None, b="2")
    server.publish(CDS, a="2", b=None)
    stream.subscribe(CDS, "a", "b")
    server.publish(CDS, b="3")
    stream.ack(first)
    assert resources(stream.settle(), CDS) == {"a": "2", "b": "3"}


def test_c21_what_is_dropped_and_taken_up_in_one_request_comes_once(server: Server, client: Client) -> None:
    server.publish(RDS, a="1")
    stream = client.delta()
    stream.ask(RDS, "a")
    stream.subscribe(RDS, "a", drop=("a",))
    for response in stream.settle():
        assert response.names.isdisjoint(response.removed)


PODS = (
    Pod("pod-1", "dc1", (Endpoint("10.0.0.1", 80, "z1"), Endpoint("10.0.0.2", 80, "z2"))),
    Pod("pod-2", "dc1", (Endpoint("10.0.0.3", 80, "z1"),)),
)


@pytest.fixture(scope="module")
def edge() -> EdgeResources:
    return EdgeResources(4, timedelta(seconds=5))


@pytest.fixture
def published(server: Server, edge: EdgeResources) -> Server:
    """A server that holds what Pointsman makes of a directory."""
    delta = Directory().replace(Snapshot("e", 1, PODS, [("a.test", "pod-1"), ("b.test", "pod-2")]))
    for update in (
        edge.update(delta),
        edge.fixed(Edge()),
        edge.every_table(),
        edge.secrets([CertificatePair("edge", b"chain", b"key")]),
    ):
        server.take(update)
    return server


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (CDS, ()),
        (EDS, ("pod-1", "pod-2")),
        (SDS, ("edge",)),
        (LDS, ()),
        (SRDS, ("scope-a1", "scope-Zz", "scope-0.", "scope-x-")),
        (RDS, ("table-0", "table-1", "table-2", "table-3")),
    ],
)
def test_c22_every_resource_that_is_made_bears_the_name_that_it_is_sent_under(
    published: Server, client: Client, kind: str, names: tuple[str, ...]
) -> None:
    """The client ends the stream at a resource whose body bears another name or is of another type."""
    heard = client.delta().ask(kind, *names)
    assert heard.names >= set(names)
    assert heard.contents
    assert heard.removed == []


def test_c22_an_assignment_is_found_under_the_name_that_its_cluster_asks_for(published: Server, client: Client) -> None:
    stream = client.delta()
    clusters = stream.ask(CDS).bodies
    services = {body.eds_cluster_config.service_name or name for name, body in clusters.items()}
    assert services == {"pod-1", "pod-2"}
    assignments = stream.ask(EDS, *services).bodies
    assert {body.cluster_name for body in assignments.values()} == services
    assert all(body.endpoints for body in assignments.values())


@pytest.mark.parametrize("kind", NAMED)
def test_c23_a_subscription_change_with_a_stale_nonce_is_applied(server: Server, client: Client, kind: str) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.delta(probe=probing(kind))
    stale = stream.ask(kind, "a")
    server.publish(kind, a="2")
    stream.take()
    stream.subscribe(kind, "b", nonce=stale.nonce)
    assert resources(stream.settle(), kind) == {"b": "1"}
    stream.subscribe(kind, nonce=stale.nonce, drop=("a",))
    stream.quiet()
    server.publish(kind, a="3", b="2")
    assert resources(stream.settle(), kind) == {"b": "2"}


@pytest.mark.parametrize("nonce", ["nonsense", "999999", "-1"])
def test_c23_an_unknown_nonce_is_ignored(server: Server, client: Client, nonce: str) -> None:
    server.publish(LDS, a="1")
    stream = client.delta()
    stream.subscribe(LDS)
    first = stream.receive()
    stream.subscribe(LDS, nonce=nonce)
    stream.nack(replace(first, nonce=nonce), "no")
    stream.quiet()
    assert (server.state(LDS).acked, server.state(LDS).nacked) == (0, 0)
    stream.ack(first)
    stream.quiet()
    assert server.state(LDS).acked == 1


@pytest.mark.parametrize("kind", EVERY)
def test_c23_unsubscribing_what_was_never_subscribed_is_met_with_silence(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.delta(probe=probing(kind))
    stream.ask(kind, "a")
    stream.unsubscribe(kind, "b", "never")
    stream.quiet()


@pytest.mark.parametrize("kind", WHOLE)
def test_c23_unsubscribing_within_all_what_was_never_subscribed_is_met_with_silence(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1")
    stream = client.delta()
    stream.ask(kind)
    stream.unsubscribe(kind, "a", "never")
    stream.quiet()
    server.publish(kind, a="2")
    assert resources(stream.settle(), kind) == {"a": "2"}
