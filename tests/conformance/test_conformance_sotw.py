"""State of the world: cases 1 to 12."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from conformance_server import Server
from xds_client import CDS, EDS, LDS, NAMED, RDS, SDS, SRDS, WHOLE, Client, DeltaStream, SotwStream, resources

Serve = Callable[..., AbstractContextManager[Server]]


def probing(kind: str) -> str:
    """A type to probe by that isn't ``kind``."""
    return EDS if kind == SDS else SDS


@pytest.mark.parametrize("kind", WHOLE)
def test_c01_the_first_request_without_names_gets_everything_and_its_ack_silence(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.sotw()
    stream.want(kind)
    response = stream.receive()
    assert response.contents == {"a": "1", "b": "1"}
    assert response.nonce
    stream.ack(response)
    stream.quiet()


@pytest.mark.parametrize("kind", WHOLE)
def test_c02_names_go_from_all_to_all_and_one_to_one_to_none_and_never_to_all_again(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.sotw()
    assert stream.ask(kind).names == {"a", "b"}

    stream.want(kind, "*", "a")
    stream.settle()
    server.publish(kind, b="2")
    assert resources(stream.settle(), kind) == {"a": "1", "b": "2"}

    stream.want(kind, "a")
    assert resources(stream.settle(), kind).keys() <= {"a"}
    server.publish(kind, b="3")
    assert resources(stream.settle(), kind).keys() <= {"a"}
    server.publish(kind, a="2")
    assert resources(stream.settle(), kind) == {"a": "2"}

    stream.want(kind)
    assert resources(stream.settle(), kind) == {}
    server.publish(kind, a="3", b="4", c="1")
    assert resources(stream.settle(), kind) == {}


@pytest.mark.parametrize("kind", WHOLE)
def test_c03_one_change_brings_every_resource_in_one_response(server: Server, client: Client, kind: str) -> None:
    server.publish(kind, a="1", b="1", c="1")
    stream = client.sotw()
    stream.ask(kind)
    server.publish(kind, b="2")
    assert [response.contents for response in stream.settle()] == [{"a": "1", "b": "2", "c": "1"}]


@pytest.mark.parametrize("kind", WHOLE)
def test_c03_one_change_brings_every_resource_that_was_asked_for_by_name(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1", c="1")
    stream = client.sotw()
    assert stream.ask(kind, "a", "b").contents == {"a": "1", "b": "1"}
    server.publish(kind, b="2")
    assert [response.contents for response in stream.settle()] == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("kind", NAMED)
def test_c04_one_change_brings_that_one_and_never_what_was_not_asked_for(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1", c="1")
    stream = client.sotw(probe=probing(kind))
    assert stream.ask(kind, "a", "b").names == {"a", "b"}
    server.publish(kind, b="2")
    assert [response.contents for response in stream.settle()] == [{"b": "2"}]
    server.publish(kind, c="2")
    stream.quiet()


@pytest.mark.parametrize("kind", WHOLE)
def test_c05_the_last_one_deleted_brings_an_empty_response_of_another_version(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1")
    stream = client.sotw()
    before = stream.ask(kind)
    server.publish(kind, a=None)
    (after,) = stream.settle()
    assert after.contents == {}
    assert after.version != before.version


@pytest.mark.parametrize("kind", NAMED)
def test_c05_a_deletion_of_a_named_type_needs_no_message_and_its_return_is_pushed(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.sotw(probe=probing(kind))
    stream.ask(kind, "a", "b")
    server.publish(kind, a=None)
    assert resources(stream.settle(), kind) in ({}, {"a": ""})
    server.publish(kind, a="2")
    assert resources(stream.settle(), kind) == {"a": "2"}


@pytest.mark.parametrize("kind", NAMED)
def test_c06_a_name_dropped_and_taken_up_again_is_sent_again(server: Server, client: Client, kind: str) -> None:
    server.publish(kind, a="1")
    stream = client.sotw(probe=probing(kind))
    first = stream.ask(kind, "a")
    stream.want(kind)
    stream.quiet()
    stream.want(kind, "a")
    again = stream.take()
    assert again.contents == {"a": "1"}
    assert again.nonce != first.nonce
    stream.quiet()


@pytest.mark.parametrize("kind", NAMED)
def test_c07_a_name_added_after_the_ack_is_sent_though_nothing_changed(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.sotw(probe=probing(kind))
    stream.ask(kind, "a")
    stream.want(kind, "a", "b")
    assert resources(stream.settle(), kind)["b"] == "1"


@pytest.mark.parametrize("kind", WHOLE)
def test_c07_a_name_added_to_a_whole_type_is_sent_with_all_that_was_asked_for(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1", c="1")
    stream = client.sotw()
    assert stream.ask(kind, "a").names == {"a"}
    stream.want(kind, "a", "b")
    assert [response.contents for response in stream.settle()] == [{"a": "1", "b": "1"}]


@pytest.mark.parametrize("kind", [SDS, RDS, CDS, LDS, SRDS])
def test_c08_a_missing_name_does_not_hold_up_the_others_and_is_pushed_when_it_comes(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1")
    stream = client.sotw(probe=probing(kind))
    assert stream.ask(kind, "a", "z").contents == {"a": "1"}
    server.publish(kind, z="1")
    assert resources(stream.settle(), kind)["z"] == "1"


def test_c08_missing_endpoints_do_not_hold_up_the_others_and_are_pushed_when_they_come(
    server: Server, client: Client
) -> None:
    server.publish(EDS, a="1")
    stream = client.sotw()
    assert stream.ask(EDS, "a", "z").contents["a"] == "1"
    server.publish(EDS, z="1")
    assert resources(stream.settle(), EDS)["z"] == "1"


@pytest.mark.parametrize("kind", NAMED)
def test_c09_a_request_with_an_older_nonce_is_no_answer_and_its_new_name_is_not_lost(
    server: Server, client: Client, kind: str
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.sotw(probe=probing(kind))
    first = stream.ask(kind, "a")
    stream.quiet()
    server.publish(kind, a="2")
    second = stream.receive()
    assert second.contents == {"a": "2"}

    stream.want(kind, "a", "b", nonce=first.nonce, version=first.version)
    before = stream.settle()
    state = server.state(kind)
    assert (state.acked, state.nacked) == (1 + len(before), 0)  # the second response isn't among those answered

    stream.ack(second)
    assert resources([*before, *stream.settle()], kind)["b"] == "1"


@pytest.mark.parametrize("kind", NAMED)
def test_c09_an_error_with_an_older_nonce_is_no_nack(server: Server, client: Client, kind: str) -> None:
    server.publish(kind, a="1")
    stream = client.sotw(probe=probing(kind))
    first = stream.ask(kind, "a")
    stream.quiet()
    server.publish(kind, a="2")
    second = stream.receive()
    stream.nack(first, "too late")
    stream.quiet()
    assert server.state(kind).nacked == 0
    stream.ack(second)
    stream.quiet()
    assert server.state(kind).acked == 2


def test_c10_the_node_of_the_first_message_holds_for_the_stream(server: Server, client: Client) -> None:
    server.publish(CDS, a="1")
    server.publish(EDS, a="1")
    stream = client.sotw(node="edge-7")
    assert stream.ask(CDS).names == {"a"}
    assert stream.ask(EDS, "a").names == {"a"}
    assert [node.node for node in server.nodes()] == ["edge-7"]


def test_c10_an_ack_with_another_types_nonce_is_none(server: Server, client: Client) -> None:
    server.publish(CDS, a="1")
    server.publish(RDS, a="1")
    stream = client.sotw()
    stream.want(CDS)
    clusters = stream.receive()
    stream.want(RDS, "a")
    routes = stream.receive()
    assert clusters.nonce != routes.nonce
    stream.want(CDS, nonce=routes.nonce)
    stream.quiet()
    assert server.state(CDS).acked == 0
    stream.ack(clusters)
    stream.ack(routes)
    stream.quiet()
    assert (server.state(CDS).acked, server.state(RDS).acked) == (1, 1)


def test_c10_a_types_version_changes_with_its_own_content_only(server: Server, client: Client) -> None:
    server.together({CDS: {"a": "1"}, LDS: {"l": "1"}})
    stream = client.sotw()
    stream.ask(CDS)
    listeners = stream.ask(LDS)
    server.publish(CDS, a="2")
    stream.settle()
    stream.want(LDS, "*", "l")  # asked again: the same content comes, if anything does
    for response in stream.settle():
        assert response.version == listeners.version


def test_c11_other_content_after_a_restart_has_another_version(serve: Serve) -> None:
    versions = []
    for content in ("1", "2"):
        with serve() as server, Client(server.port) as client:
            server.publish(CDS, a=content)
            versions.append(client.sotw().ask(CDS).version)
    assert versions[0] != versions[1]


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize("after", ["1", "2"], ids=["same", "other"])
def test_c11_a_client_that_comes_back_after_a_restart_is_sent_its_names_again(
    serve: Serve, kind: str, after: str
) -> None:
    with serve() as server, Client(server.port) as client:
        server.publish(kind, a="1")
        held = client.sotw(probe=probing(kind)).ask(kind, "a").version
    with serve() as server, Client(server.port) as client:
        server.publish(kind, a=after)
        stream = client.sotw(probe=probing(kind))
        stream.versions[kind] = held
        assert stream.ask(kind, "a").contents == {"a": after}
        stream.quiet()


TTL = ["xds.config.supports-resource-ttl", "envoy.config.supports-resource-ttl"]


@pytest.mark.parametrize("features", [[], TTL], ids=["silent", "announcing"])
def test_c12_no_resource_has_a_time_to_live_whatever_the_client_announces(
    server: Server, client: Client, variant: str, features: list[str]
) -> None:
    server.together({CDS: {"a": "1"}, EDS: {"a": "1"}})
    stream = client.stream(variant, client_features=features)
    for kind, names in ((CDS, ()), (EDS, ("a",))):
        response = stream.ask(kind, *names)
        # A SotW resource with a TTL would come in a Resource, whose type isn't the response's: the client checks that.
        assert isinstance(stream, DeltaStream | SotwStream)
        assert all(getattr(one, "ttl", None) is None for one in response.raw.resources)
    stream.quiet()
