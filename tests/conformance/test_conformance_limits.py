"""Limits and abuse: cases 49 to 54, and 56."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import grpc
import pytest
from conformance_mtls import Certificates
from conformance_server import Server
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DiscoveryRequest
from xds_client import CDS, EDS, LDS, NAMED, RDS, SRDS, VHDS, WHOLE, Client, SotwStream, Stream, node, resources

from xds.server.limits import Limits

Serve = Callable[..., AbstractContextManager[Server]]

EVERY = [*WHOLE, *NAMED]
INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
UNLIMITED = (("grpc.max_receive_message_length", -1),)


def test_c49_without_a_type_the_aggregated_stream_ends(client: Client, variant: str) -> None:
    stream = client.stream(variant)
    stream.subscribe("")
    ended = stream.end()
    assert ended.code is INVALID
    assert "type_url" in ended.details


@pytest.mark.parametrize("kind", EVERY)
def test_c49_without_a_type_a_stream_of_one_type_means_that_one(
    server: Server, client: Client, variant: str, kind: str
) -> None:
    server.publish(kind, a="1")
    stream = client.stream(variant, of=kind)
    stream.subscribe("", "a")
    response = stream.receive()
    assert (response.kind, response.contents) == (kind, {"a": "1"})


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_c49_another_type_ends_a_stream_of_one_type(
    server: Server, client: Client, variant: str, kind: str, first: bool
) -> None:
    server.publish(kind, a="1")
    stream = client.stream(variant, of=kind)
    if not first:
        stream.ask(kind, "a")
    stream.subscribe(VHDS if kind == RDS else RDS, "a")
    assert stream.end().code is INVALID


def test_c49_what_is_no_request_ends_its_stream_alone(server: Server, client: Client, variant: str) -> None:
    server.publish(CDS, a="1")
    other = client.stream(variant, node="other")
    other.ask(CDS)
    stream = client.stream(variant)
    stream.ask(CDS)
    stream.send_raw(b"\xff" * 12)
    assert stream.end().code is INVALID
    server.publish(CDS, a="2")
    assert other.take().contents == {"a": "2"}


@pytest.mark.parametrize("unknown", ["type.googleapis.com/envoy.config.core.v3.Unknown", VHDS, "nonsense", " "])
def test_c50_an_unknown_type_leaves_the_stream_alive_and_the_others_served(
    server: Server, client: Client, variant: str, unknown: str
) -> None:
    server.publish(CDS, a="1")
    stream = client.stream(variant)
    stream.subscribe(unknown, "x")
    assert stream.ask(CDS).contents == {"a": "1"}
    stream.subscribe(unknown)
    stream.quiet()
    server.publish(CDS, a="2")
    assert stream.take().contents == {"a": "2"}


@pytest.mark.parametrize("claimed", [None, ""], ids=["no node", "no id"])
def test_c51_a_first_message_that_does_not_say_who_it_is_ends_the_stream(
    client: Client, variant: str, claimed: str | None
) -> None:
    stream = client.stream(variant, node=claimed)
    stream.subscribe(CDS)
    ended = stream.end()
    assert ended.code is INVALID
    assert "node" in ended.details


def test_c51_a_stream_keeps_the_node_that_it_began_with(server: Server, client: Client, variant: str) -> None:
    server.publish(CDS, a="1")
    stream = client.stream(variant, node="first")
    stream.ask(CDS)
    kind = DiscoveryRequest if isinstance(stream, SotwStream) else DeltaDiscoveryRequest
    stream.send(kind(type_url=LDS, node=node("later")))
    stream.settle()
    assert [one.node for one in server.nodes()] == ["first"]


def megabytes(count: int) -> dict[str, str]:
    """Names and versions that encode to at least so many MiB."""
    each = 80
    return {f"pod-{n}".ljust(each - 24, "x"): f"{n:016x}" for n in range(count * 2**20 // each + 1)}


def test_c52_a_first_delta_request_of_5_mib_is_accepted(server: Server, client: Client) -> None:
    held = megabytes(5)
    server.publish(EDS, a="1")
    stream = client.delta()
    stream.subscribe(EDS, "a", initial=held)
    assert resources(stream.settle(), EDS) == {"a": "1"}


def test_c52_a_request_over_the_bound_ends_the_stream_and_says_which_bound_it_was(serve: Serve) -> None:
    with serve(Limits(message_bytes=100_000)) as server, Client(server.port) as client:
        stream = client.delta()
        stream.subscribe(EDS, "x" * 100_001)
        ended = stream.end()
        assert ended.code is EXHAUSTED
        assert "xds.limits.message_bytes" in ended.details


def test_c53_a_hundred_thousand_names_half_of_them_twice_are_served_at_once(
    server: Server, client: Client, variant: str
) -> None:
    """Anything worse than linear would take far longer than the client waits."""
    names = [f"name-{n % 50_000}" for n in range(100_000)]
    server.publish(RDS, **{"name-7": "1", "name-49999": "1"})
    stream = client.stream(variant)
    if isinstance(stream, SotwStream):
        stream.want(RDS, *names)
    else:
        stream.subscribe(RDS, *names)
    assert resources(stream.settle(), RDS) == {"name-7": "1", "name-49999": "1"}
    server.publish(RDS, **{"name-8": "1"})
    assert resources(stream.settle(), RDS) == {"name-8": "1"}


def test_c53_one_name_a_hundred_thousand_times_is_one_name(serve: Serve, variant: str) -> None:
    with serve(Limits(names=10)) as server, Client(server.port) as client:
        server.publish(RDS, a="1")
        stream = client.stream(variant)
        kind = SotwStream.want if isinstance(stream, SotwStream) else type(stream).subscribe
        kind(stream, RDS, *["a"] * 100_000)  # type: ignore[arg-type]
        (heard,) = stream.settle()
        assert heard.contents == {"a": "1"}


def test_c53_names_over_the_cap_end_the_stream_and_say_which_cap_it_was(serve: Serve, variant: str) -> None:
    with serve(Limits(names=100)) as server, Client(server.port) as client:
        server.publish(RDS, a="1")
        stream = client.stream(variant)
        stream.subscribe(RDS, *(f"name-{n}" for n in range(101)))
        ended = stream.end()
        assert ended.code is EXHAUSTED
        assert "xds.limits.names" in ended.details
        assert client.stream(variant).ask(RDS, "a").contents == {"a": "1"}


def test_c53_names_are_counted_over_all_requests_of_a_subscription(serve: Serve, variant: str) -> None:
    with serve(Limits(names=100)) as server, Client(server.port) as client:
        stream = client.stream(variant)
        for start in range(0, 100, 10):
            stream.subscribe(RDS, *(f"name-{n}" for n in range(start, start + 10)))
        stream.settle()
        assert server.state(RDS).subscribed == 100
        stream.subscribe(RDS, "one-more")
        assert stream.end().code is EXHAUSTED


def test_c53_names_that_were_dropped_no_longer_count(serve: Serve, variant: str) -> None:
    with serve(Limits(names=100)) as server, Client(server.port) as client:
        server.publish(RDS, last="1")
        stream = client.stream(variant)
        names = [f"name-{n}" for n in range(100)]
        stream.subscribe(RDS, *names)
        stream.settle()
        stream.unsubscribe(RDS, *names)
        stream.settle()
        stream.subscribe(RDS, "last")
        assert resources(stream.settle(), RDS) == {"last": "1"}


def test_c53_the_cap_is_of_each_type(serve: Serve, variant: str) -> None:
    with serve(Limits(names=100)) as server, Client(server.port) as client:
        stream = client.stream(variant)
        for kind in (RDS, EDS, CDS):
            stream.subscribe(kind, *(f"name-{n}" for n in range(100)))
        stream.settle()
        assert [server.state(kind).subscribed for kind in (RDS, EDS, CDS)] == [100, 100, 100]


def test_c53_versions_held_from_before_are_capped_too(serve: Serve) -> None:
    with serve(Limits(names=100)) as server, Client(server.port) as client:
        stream = client.delta()
        stream.subscribe(CDS, initial={f"name-{n}": "1" for n in range(101)})
        ended = stream.end()
        assert ended.code is EXHAUSTED
        assert "xds.limits.names" in ended.details


@pytest.mark.parametrize("kind", [CDS, SRDS, LDS])
def test_c54_a_large_delta_state_comes_in_several_responses(serve: Serve, kind: str) -> None:
    bound = 10_000
    with serve(Limits(response_bytes=bound)) as server, Client(server.port) as client:
        content = {f"name-{n}": "x" * 1000 for n in range(50)}
        server.publish(kind, **content)
        stream = client.delta()
        stream.subscribe(kind)
        heard = stream.settle()
        assert len(heard) >= 5
        assert resources(heard, kind) == content
        assert sum(len(response.contents) for response in heard) == len(content)
        assert max(response.size for response in heard) < 2 * bound


def test_c54_a_long_list_of_what_is_gone_comes_in_several_responses(serve: Serve) -> None:
    bound = 10_000
    with serve(Limits(response_bytes=bound)) as server, Client(server.port) as client:
        stream = client.delta()
        gone = {f"gone-{n}".ljust(100, "x"): "1" for n in range(500)}
        stream.subscribe(CDS, initial=gone)
        heard = stream.settle()
        assert sorted(name for response in heard for name in response.removed) == sorted(gone)
        assert max(response.size for response in heard) < 2 * bound


def test_c54_a_client_with_the_usual_bound_of_4_mib_takes_6_mib(server: Server, client: Client) -> None:
    content = {f"name-{n}": "x" * 2**20 for n in range(6)}
    server.publish(RDS, **content)
    stream = client.delta()
    stream.subscribe(RDS, *content)
    heard = stream.settle()
    assert resources(heard, RDS) == content
    assert len(heard) >= 2


def test_c54_changes_while_a_large_state_is_under_way_are_not_lost(serve: Serve) -> None:
    with serve(Limits(response_bytes=10_000)) as server, Client(server.port) as client:
        content = {f"name-{n}": "x" * 1000 for n in range(50)}
        server.publish(CDS, **content)
        stream = client.delta()
        stream.subscribe(CDS)
        first = stream.receive()
        server.publish(CDS, **{"name-0": "new", "name-49": "new"})
        server.publish(CDS, **{"name-25": None})
        stream.ack(first)
        held = dict(first.contents)
        for response in stream.settle():
            held |= response.contents
            for name in response.removed:
                held.pop(name, None)
        assert held == {name: text for name, text in content.items() if name != "name-25"} | {
            "name-0": "new",
            "name-49": "new",
        }


def test_c54_a_sotw_state_is_never_split(serve: Serve) -> None:
    with serve(Limits(response_bytes=10_000)) as server, Client(server.port, options=UNLIMITED) as client:
        content = {f"name-{n}": "x" * 1000 for n in range(50)}
        server.publish(CDS, **content)
        stream = client.sotw()
        stream.want(CDS)
        assert [response.contents for response in stream.settle()] == [content]


def test_c56_streams_over_the_cap_of_a_peer_are_refused_and_the_others_live(serve: Serve, variant: str) -> None:
    with serve(Limits(streams_per_peer=3)) as server, Client(server.port) as client, Client(server.port) as second:
        server.publish(CDS, a="1")
        streams: list[Stream] = [client.stream(variant, node=f"n{n}") for n in range(3)]
        for stream in streams:
            stream.ask(CDS)
        for where in (client, second):  # another connection is the same peer
            refused = where.stream(variant).end()
            assert refused.code is EXHAUSTED
            assert "xds.limits.streams_per_peer" in refused.details
        server.publish(CDS, a="2")
        for stream in streams:
            assert stream.take().contents == {"a": "2"}
        streams[0].done()
        assert second.stream(variant).ask(CDS).contents == {"a": "2"}


def test_c56_a_flood_of_requests_ends_its_stream_alone(serve: Serve, variant: str) -> None:
    with serve(Limits(requests_per_second=0.01, request_burst=20)) as server, Client(server.port) as client:
        server.publish(CDS, a="1")
        other = client.stream(variant, node="other")
        other.ask(CDS)
        stream = client.stream(variant)
        answered = stream.ask(CDS)
        for _ in range(40):
            stream.ack(answered)  # the first was an ACK; these answer nothing
        ended = stream.end()
        assert ended.code is EXHAUSTED
        assert "xds.limits.request" in ended.details
        server.publish(CDS, a="2")
        assert other.take().contents == {"a": "2"}


@pytest.mark.parametrize("answer", ["ack", "nack"])
def test_c56_answers_to_what_was_sent_are_never_a_flood(serve: Serve, variant: str, answer: str) -> None:
    with serve(Limits(requests_per_second=0.01, request_burst=5)) as server, Client(server.port) as client:
        stream = client.stream(variant)
        stream.ask(CDS)
        for content in range(50):
            server.publish(CDS, a=str(content))
            response = stream.receive()
            assert response.contents == {"a": str(content)}
            if answer == "ack":
                stream.ack(response)
            else:
                stream.nack(response, "no")
        assert len(server.nodes()) == 1


def test_c56_a_stream_that_says_nothing_is_ended(serve: Serve, variant: str) -> None:
    with serve(Limits(first_request_timeout=0.5)) as server, Client(server.port) as client:
        ended = client.stream(variant).end()
        assert ended.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "xds.limits.first_request_timeout" in ended.details


def test_c56_a_stream_that_has_said_who_it_is_may_be_silent(serve: Serve, variant: str) -> None:
    with serve(Limits(first_request_timeout=1.5)) as server, Client(server.port) as client:
        stream = client.stream(variant)
        stream.ask(CDS)
        assert client.stream(variant, node="silent").end().code is grpc.StatusCode.DEADLINE_EXCEEDED
        stream.quiet()  # though it is older than the one that was ended


@pytest.mark.parametrize("names", [500, 50_000], ids=["large", "huge"])
def test_c56_a_large_request_is_taken_in_its_order(serve: Serve, names: int) -> None:
    with serve(Limits()) as server, Client(server.port) as client:
        server.publish(RDS, a="1")
        stream = client.delta()
        stream.subscribe(RDS, "a", *(f"absent-{number:030}" for number in range(names)))
        stream.unsubscribe(RDS, "a")
        stream.settle()
        assert server.state(RDS).subscribed == names


def test_c56_the_cap_of_streams_is_of_each_identity(serve: Serve, certificates: Certificates, variant: str) -> None:
    with (
        serve(Limits(streams_per_peer=2), credentials=certificates.server) as server,
        Client(server.port, certificates.client("shop")) as shop,
        Client(server.port, certificates.client("shop")) as again,
        Client(server.port, certificates.client("bank")) as bank,
    ):
        server.publish(CDS, a="1")
        for client in (shop, again, bank, bank):
            assert client.stream(variant).ask(CDS).contents == {"a": "1"}
        refused = again.stream(variant).end()
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "xds.limits.streams_per_peer" in refused.details
        assert "shop" in refused.details


def test_c56_a_client_without_a_certificate_opens_no_stream(serve: Serve, certificates: Certificates) -> None:
    with serve(credentials=certificates.server) as server, Client(server.port) as client:
        stream = client.delta()
        stream.subscribe(CDS)
        assert stream.end().code is grpc.StatusCode.UNAVAILABLE
        assert server.nodes() == []
