"""Order on the aggregated stream: cases 24 to 30."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta

import pytest
from conformance_server import Server
from xds_client import CDS, EDS, LDS, NAMED, RDS, SDS, SRDS, Client, Response, SotwStream, Stream, kinds, resources

from xds.gds.model import Change, DeletePod, Endpoint, Pod, PutDomain, PutPod, Snapshot, Transaction
from xds.pipeline import Pace, Pipeline
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.server.limits import Limits

Serve = Callable[..., AbstractContextManager[Server]]

LONG = Limits(hold=60.0)
"""Of how long routes wait for a cluster's ACK: longer than any test."""
BRIEF = Limits(hold=0.5)


def probing(kind: str) -> str:
    """A type to probe by that isn't ``kind``."""
    return EDS if kind == SDS else SDS


def everything(stream: Stream, *names: str) -> None:
    """Asks for every type, as Envoy does in the end."""
    for kind in (CDS, LDS, SRDS):
        stream.subscribe(kind)
    stream.subscribe(EDS, *names)
    stream.subscribe(RDS, *names)
    stream.settle()


def test_c24_one_publish_arrives_with_what_is_led_to_before_what_leads_there(
    server: Server, client: Client, variant: str
) -> None:
    server.together({kind: {"x": "1"} for kind in (RDS, SRDS, LDS, EDS, CDS)})
    stream = client.stream(variant)
    everything(stream, "x")
    server.together({kind: {"x": "2"} for kind in (RDS, SRDS, LDS, EDS, CDS)})
    heard = stream.settle()
    assert list(kinds(heard)) == [CDS, EDS, LDS, SRDS, RDS]
    assert all(response.contents == {"x": "2"} for response in heard)


@dataclass(frozen=True)
class Piped:
    """A server behind the whole pipeline: what GDS says goes in."""

    server: Server
    pipeline: Pipeline

    def commit(self, *changes: Change) -> None:
        revision = self.pipeline.directory.revision + 1
        self.server.thread.call(self.pipeline.apply, Transaction("e", revision, changes))


def pod(name: str, number: int) -> Pod:
    return Pod(name, "dc1", (Endpoint(f"10.0.0.{number}", 80, "z1"),))


@pytest.fixture
def piped(server: Server) -> Piped:
    """One domain, on pod x; one table."""
    loop = server.thread.loop
    pipeline = Pipeline(
        EdgeResources(1, timedelta(seconds=5)),
        server.cache,
        Edge(),
        Pace(0.005, removal_grace=1.0),
        later=loop.call_later,
        clock=loop.time,
    )
    server.thread.call(pipeline.replace, Snapshot("e", 1, (pod("x", 1),), [("a.test", "x")]))
    return Piped(server, pipeline)


def serves_the_edge(stream: Stream) -> None:
    stream.subscribe(CDS)
    stream.subscribe(EDS, "x", "y")
    stream.subscribe(RDS, "table-0")
    stream.settle()


def until_gone(stream: Stream, name: str) -> list[Response]:
    """ACKs what comes until a cluster is gone at the client."""
    heard: list[Response] = []
    while True:
        heard.append(stream.take())
        last = heard[-1]
        if last.kind == CDS and (name in last.removed or (isinstance(stream, SotwStream) and name not in last.names)):
            return heard


def test_c24_removals_come_last(piped: Piped, client: Client) -> None:
    stream = client.delta()
    serves_the_edge(stream)
    piped.commit(PutPod(pod("y", 2)), PutDomain("a.test", "y"), DeletePod("x"))
    heard = until_gone(stream, "x") + stream.settle()
    puts = [n for n, response in enumerate(heard) if response.contents and "x" not in response.contents]
    removals = [n for n, response in enumerate(heard) if response.removed]
    assert removals
    assert max(puts) < min(removals)


def pods(table: Response) -> set[str]:
    return {host.name for host in table.bodies["table-0"].virtual_hosts}


def test_c25_a_domain_moves_and_its_old_pod_goes_at_once_yet_no_route_ever_leads_nowhere(
    piped: Piped, client: Client, variant: str
) -> None:
    stream = client.stream(variant)
    serves_the_edge(stream)
    piped.commit(PutPod(pod("y", 2)), PutDomain("a.test", "y"), DeletePod("x"))
    heard = until_gone(stream, "x")
    assert list(kinds(heard)) == [CDS, EDS, RDS, CDS]
    first, endpoints, routes, last = heard
    assert first.removed == []
    if variant == "sotw":
        assert first.names == {"x", "y"}
        assert last.names == {"y"}
    else:
        assert first.names == {"y"}
        assert (last.names, last.removed) == (set(), ["x"])
    assert endpoints.contents["y"] == "z1"
    assert pods(routes) == {"y"}


def move_and_delete(server: Server) -> None:
    server.together({CDS: {"x": None, "y": "1"}, EDS: {"x": None, "y": "1"}, RDS: {"t": "y"}})


def serves_x(server: Server, stream: Stream) -> None:
    server.together({CDS: {"x": "1"}, EDS: {"x": "1"}, RDS: {"t": "x"}})
    stream.ask(CDS)
    stream.subscribe(EDS, "x", "y")
    stream.subscribe(RDS, "t")
    stream.settle()


def test_c25_one_publish_that_moves_and_deletes_is_sent_as_make_before_break(serve: Serve, variant: str) -> None:
    with serve(LONG) as server, Client(server.port) as client:
        stream = client.stream(variant)
        serves_x(server, stream)
        move_and_delete(server)
        made, endpoints, routes = stream.take(), stream.take(), stream.receive()
        assert (made.kind, made.contents.get("y"), made.removed) == (CDS, "1", [])
        assert variant == "delta" or made.names == {"x", "y"}
        assert (endpoints.kind, endpoints.contents["y"]) == (EDS, "1")
        assert (routes.kind, routes.contents) == (RDS, {"t": "y"})
        stream.quiet()
        stream.ack(routes)
        broken = stream.receive()
        assert broken.kind == CDS
        assert (broken.names, broken.removed) == ((set(), ["x"]) if variant == "delta" else ({"y"}, []))


def test_c25_what_was_moved_away_from_goes_even_if_the_routes_are_never_acked(serve: Serve, variant: str) -> None:
    with serve(BRIEF) as server, Client(server.port) as client:
        stream = client.stream(variant)
        serves_x(server, stream)
        move_and_delete(server)
        assert [stream.take().kind, stream.take().kind, stream.receive().kind] == [CDS, EDS, RDS]
        broken = stream.receive()
        assert (broken.kind, broken.removed) == (CDS, ["x"] if variant == "delta" else [])


def test_c25_routes_wait_until_the_clusters_they_may_lead_to_are_acked(serve: Serve, variant: str) -> None:
    with serve(LONG) as server, Client(server.port) as client:
        server.together({CDS: {"x": "1"}, RDS: {"t": "x"}})
        stream = client.stream(variant)
        stream.ask(CDS)
        stream.ask(RDS, "t")
        server.together({CDS: {"y": "1"}, RDS: {"t": "y"}})
        clusters = stream.receive()
        assert "y" in clusters.names
        stream.quiet()
        stream.ack(clusters)
        assert [response.contents for response in stream.settle()] == [{"t": "y"}]


def test_c25_routes_do_not_wait_for_ever(serve: Serve, variant: str) -> None:
    with serve(BRIEF) as server, Client(server.port) as client:
        server.together({CDS: {"x": "1"}, RDS: {"t": "x"}})
        stream = client.stream(variant)
        stream.ask(CDS)
        stream.ask(RDS, "t")
        server.together({CDS: {"y": "1"}, RDS: {"t": "y"}})
        clusters = stream.receive()
        assert "y" in clusters.names
        assert stream.receive().contents == {"t": "y"}  # and the clusters are still not ACKed


def test_c25_removed_clusters_do_not_hold_up_routes_for_ever(serve: Serve, variant: str) -> None:
    with serve(BRIEF) as server, Client(server.port) as client:
        server.together({CDS: {"x": "1", "y": "1"}, RDS: {"t": "x"}})
        stream = client.stream(variant)
        stream.ask(CDS)
        stream.ask(RDS, "t")
        server.publish(RDS, t="y")
        assert stream.take().contents == {"t": "y"}
        server.publish(CDS, x=None)
        assert stream.receive().kind == CDS
        server.publish(RDS, t="y2")
        assert stream.receive().contents == {"t": "y2"}


@pytest.mark.parametrize("kind", [EDS, SDS])
def test_c26_while_clusters_are_not_acked_what_they_need_is_answered_at_once(
    serve: Serve, variant: str, kind: str
) -> None:
    with serve(LONG) as server, Client(server.port) as client:
        server.together({CDS: {"a": "1", "b": "1"}, kind: {"a": "1", "b": "1"}})
        stream = client.stream(variant)
        stream.subscribe(CDS)
        clusters = stream.receive()
        assert stream.ask(kind, "a").contents["a"] == "1"
        assert stream.ask(kind, "b").contents["b"] == "1"
        assert server.state(CDS).acked == 0
        stream.ack(clusters)
        stream.settle()
        assert server.state(CDS).acked == 1


def test_c26_while_clusters_are_not_acked_changed_endpoints_are_sent(serve: Serve, variant: str) -> None:
    with serve(LONG) as server, Client(server.port) as client:
        server.together({CDS: {"a": "1"}, EDS: {"a": "1"}})
        stream = client.stream(variant)
        stream.ask(CDS)
        stream.ask(EDS, "a")
        server.publish(CDS, a="2")
        assert stream.receive().kind == CDS
        server.publish(EDS, a="2")
        assert resources(stream.settle(), EDS) == {"a": "2"}


def test_c27_a_changed_cluster_brings_its_assignment_once_more_and_no_other(
    server: Server, client: Client, variant: str
) -> None:
    server.together({CDS: {"a": "1", "b": "1"}, EDS: {"a": "1", "b": "1"}})
    stream = client.stream(variant)
    stream.ask(CDS)
    stream.ask(EDS, "a", "b")
    server.publish(CDS, a="2")
    clusters, endpoints = stream.settle()
    assert (clusters.kind, clusters.contents["a"]) == (CDS, "2")
    assert (endpoints.kind, endpoints.contents) == (EDS, {"a": "1"})


def test_c27_every_changed_cluster_brings_its_assignment(server: Server, client: Client, variant: str) -> None:
    names = {f"c{n}": "1" for n in range(20)}
    server.together({CDS: names, EDS: names})
    stream = client.stream(variant)
    stream.ask(CDS)
    stream.ask(EDS, *names)
    server.together({CDS: dict.fromkeys(names, "2")})
    heard = stream.settle()
    assert next(kinds(heard)) == CDS
    assert resources(heard[1:], EDS) == names


def test_c27_a_cluster_and_its_assignment_changed_together_are_sent_once_each(
    server: Server, client: Client, variant: str
) -> None:
    server.together({CDS: {"a": "1"}, EDS: {"a": "1"}})
    stream = client.stream(variant)
    stream.ask(CDS)
    stream.ask(EDS, "a")
    server.together({CDS: {"a": "2"}, EDS: {"a": "2"}})
    assert [(response.kind, response.contents) for response in stream.settle()] == [
        (CDS, {"a": "2"}),
        (EDS, {"a": "2"}),
    ]


def test_c27_a_cluster_that_comes_back_brings_its_assignment_again(
    server: Server, client: Client, variant: str
) -> None:
    server.together({CDS: {"a": "1", "b": "1"}, EDS: {"a": "1", "b": "1"}})
    stream = client.stream(variant)
    stream.ask(CDS)
    stream.ask(EDS, "a", "b")
    server.publish(CDS, a=None)
    stream.settle()
    server.publish(CDS, a="1")
    assert resources(stream.settle(), EDS) == {"a": "1"}


def test_c28_endpoints_that_are_unknown_are_an_empty_assignment_beside_the_others(
    server: Server, client: Client, variant: str
) -> None:
    server.publish(EDS, a="1")
    stream = client.stream(variant)
    stream.subscribe(EDS, "a", "unknown")
    heard = stream.settle()
    assert resources(heard, EDS) == {"a": "1", "unknown": ""}
    assert all(response.removed == [] for response in heard)


def test_c28_an_unknown_name_asked_alone_is_an_empty_assignment_too(client: Client, variant: str) -> None:
    stream = client.stream(variant)
    stream.subscribe(EDS, "unknown")
    assert resources(stream.settle(), EDS) == {"unknown": ""}


@pytest.mark.parametrize("kind", [CDS, LDS, SDS, RDS, SRDS])
def test_c29_what_is_both_asked_for_and_there_is_served(
    server: Server, client: Client, variant: str, kind: str
) -> None:
    server.publish(kind, b="1", c="1")
    stream = client.stream(variant, probe=probing(kind))
    stream.subscribe(kind, "a", "b")
    assert resources(stream.settle(), kind) == {"b": "1"}
    server.publish(kind, b="2", c="2")
    assert resources(stream.settle(), kind) == {"b": "2"}


@pytest.mark.parametrize("kind", NAMED)
def test_c30_a_name_dropped_while_its_response_is_queued_is_not_sent(
    server: Server, client: Client, variant: str, kind: str
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.stream(variant, probe=probing(kind))
    stream.subscribe(kind, "a", "b")
    first = stream.receive()
    server.publish(kind, a="2", b="2")
    if isinstance(stream, SotwStream):
        stream.want(kind, "a", nonce=first.nonce, version=first.version)  # in SotW that is the ACK as well
    else:
        stream.unsubscribe(kind, "b")
        stream.ack(first)
    assert [response.contents for response in stream.settle()] == [{"a": "2"}]


@pytest.mark.parametrize("kind", [*NAMED, CDS])
def test_c30_of_several_publishes_before_an_ack_only_the_newest_is_sent(
    server: Server, client: Client, variant: str, kind: str
) -> None:
    server.publish(kind, a="1", b="1")
    stream = client.stream(variant, probe=probing(kind))
    stream.subscribe(kind, "a", "b")
    first = stream.receive()
    for content in ("2", "3", "4"):
        server.publish(kind, a=content, b=content)
    stream.quiet()
    stream.ack(first)
    assert [response.contents for response in stream.settle()] == [{"a": "4", "b": "4"}]


def test_c30_what_came_and_went_before_an_ack_is_never_sent(server: Server, client: Client, variant: str) -> None:
    server.publish(CDS, a="1")
    stream = client.stream(variant)
    stream.subscribe(CDS)
    first = stream.receive()
    server.publish(CDS, b="1")
    server.publish(CDS, a="2", b=None)
    stream.ack(first)
    assert [(response.contents, response.removed) for response in stream.settle()] == [({"a": "2"}, [])]
