"""The order on one stream: make before break, in both variants, and never a wait without an end."""

from __future__ import annotations

import pytest
from protocol_peer import NODE, Peer, made, publish, said

from xds.cache import Cache
from xds.protocol.messages import DeltaRequest, SotwRequest
from xds.resources.types import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SCOPE,
    SECRET,
    TYPES,
    Resource,
    ResourceType,
)

VARIANTS = ("delta", "sotw")


@pytest.fixture
def cache() -> Cache:
    return Cache()


def put(kind: ResourceType, **contents: str | None) -> dict[ResourceType, dict[str, Resource | None]]:
    return {kind: {name: None if content is None else made(kind, name, content) for name, content in contents.items()}}


class Client:
    """Asks in either variant and keeps what it has to say with each ACK."""

    def __init__(self, cache: Cache, variant: str) -> None:
        self.peer = Peer(cache, auto=False)
        self.variant = variant
        self.names: dict[ResourceType, tuple[str, ...]] = {}

    def ask(self, kind: ResourceType, *names: str) -> list[str]:
        self.names[kind] = names
        if self.variant == "delta":
            return self.peer.delta(kind, *names)
        return self.peer.sotw(kind, *names)

    def ack(self, kind: ResourceType, error: str | None = None) -> list[str]:
        if self.variant == "delta":
            return self.peer.delta(kind, nonce=self.peer.last[kind.url], error=error)
        return self.peer.sotw(kind, *self.names[kind], error=error)

    def nack(self, kind: ResourceType) -> list[str]:
        return self.ack(kind, "bad")

    def holds(self, kind: ResourceType, *names: str) -> None:
        self.ask(kind, *names)
        assert self.ack(kind) == []


@pytest.fixture(params=VARIANTS)
def client(cache: Cache, request: pytest.FixtureRequest) -> Client:
    return Client(cache, request.param)


def removal(client: Client, name: str, *left: str) -> str:
    return f"Cluster: -{name}" if client.variant == "delta" else " ".join(["Cluster:", *(f"+{n}" for n in left)])


def test_a_publish_of_every_type_arrives_in_order(cache: Cache, client: Client) -> None:
    for kind in reversed(TYPES):
        client.ask(kind, "x")
        if kind.wildcard or client.variant == "delta" or kind.absent:
            client.ack(kind)
    cache.publish({kind: {"x": made(kind, "x", "1")} for kind in reversed(TYPES)})
    said = client.peer.said() + client.ack(CLUSTER)
    assert [line.partition(":")[0] for line in said] == [
        kind.url.rpartition(".")[2] for kind in (CLUSTER, ENDPOINT, SECRET, LISTENER, SCOPE, ROUTE)
    ]


def test_a_cluster_goes_when_the_routes_that_left_it_are_acked(cache: Cache, client: Client) -> None:
    publish(cache, CLUSTER, x="1", z="1")
    publish(cache, ROUTE, t="to x")
    client.holds(CLUSTER)
    client.holds(ROUTE, "t")
    cache.publish(put(CLUSTER, x=None, y="1") | put(ROUTE, t="to y"))
    first = {"delta": "Cluster: +y", "sotw": "Cluster: +z +y +x"}[client.variant]
    assert client.peer.said() == [first]
    assert client.ack(CLUSTER) == ["RouteConfiguration: +t"]
    assert client.peer.said() == []
    assert client.ack(ROUTE) == [removal(client, "x", "z", "y")]
    assert client.ack(CLUSTER) == []
    assert not client.peer.stream.holding


def test_a_cluster_is_kept_in_every_whole_state_until_then(cache: Cache) -> None:
    client = Client(cache, "sotw")
    publish(cache, CLUSTER, x="1", z="1")
    publish(cache, ROUTE, t="to x")
    client.holds(CLUSTER)
    client.holds(ROUTE, "t")
    cache.publish(put(CLUSTER, x=None) | put(ROUTE, t="to z"))
    assert client.peer.said() == ["RouteConfiguration: +t"]
    publish(cache, CLUSTER, z="2")
    assert client.peer.said() == ["Cluster: +z +x"]
    assert client.ack(ROUTE) == []
    assert client.ack(CLUSTER) == ["Cluster: +z"]


def test_a_removal_waits_no_longer_than_it_may(cache: Cache, client: Client) -> None:
    publish(cache, CLUSTER, x="1", z="1")
    publish(cache, ROUTE, t="to x")
    client.holds(CLUSTER)
    client.holds(ROUTE, "t")
    cache.publish(put(CLUSTER, x=None, y="1") | put(ROUTE, t="to y"))
    assert len(client.peer.said()) == 1
    assert client.peer.stream.holding
    client.peer.stream.release()
    assert client.peer.said() == ["RouteConfiguration: +t"]
    assert client.ack(CLUSTER) == []
    assert client.peer.stream.holding
    client.peer.stream.release()
    assert client.peer.said() == [removal(client, "x", "z", "y")]
    assert not client.peer.stream.holding


def test_a_cluster_stays_while_the_routes_that_left_it_are_rejected(cache: Cache, client: Client) -> None:
    publish(cache, CLUSTER, x="1", z="1")
    publish(cache, ROUTE, t="to x")
    client.holds(CLUSTER)
    client.holds(ROUTE, "t")
    cache.publish(put(CLUSTER, x=None) | put(ROUTE, t="bad"))
    assert client.peer.said() == ["RouteConfiguration: +t"]
    assert client.nack(ROUTE) == []
    assert not client.peer.stream.holding
    publish(cache, ROUTE, t="to z")
    assert client.peer.said() == ["RouteConfiguration: +t"]
    assert client.ack(ROUTE) == [removal(client, "x", "z")]


def test_a_cluster_that_comes_back_meanwhile_is_not_removed(cache: Cache, client: Client) -> None:
    publish(cache, CLUSTER, x="1")
    publish(cache, ROUTE, t="to x")
    client.holds(CLUSTER)
    client.holds(ROUTE, "t")
    cache.publish(put(CLUSTER, x=None) | put(ROUTE, t="to y"))
    assert client.peer.said() == ["RouteConfiguration: +t"]
    publish(cache, CLUSTER, x="1")
    assert client.ack(ROUTE) == []


def test_endpoints_and_secrets_go_with_the_removals(cache: Cache) -> None:
    client = Client(cache, "delta")
    for kind in (ENDPOINT, SECRET, ROUTE):
        publish(cache, kind, x="1")
        client.holds(kind, "x")
    cache.publish(put(ENDPOINT, x=None) | put(SECRET, x=None) | put(ROUTE, x="2"))
    assert client.peer.said() == ["RouteConfiguration: +x"]
    assert client.ack(ROUTE) == ["ClusterLoadAssignment: +x", "Secret: -x"]


def test_a_removal_of_what_the_client_does_not_have_makes_nothing_wait(cache: Cache) -> None:
    client = Client(cache, "delta")
    publish(cache, ROUTE, t="1")
    client.ask(SECRET, "x")
    client.holds(ROUTE, "t")
    publish(cache, SECRET, x="1")
    publish(cache, SECRET, x=None)
    publish(cache, ROUTE, t="2")
    assert client.peer.said() == ["RouteConfiguration: +t"]
    assert not client.peer.stream.holding


def test_scopes_swap_in_one_response(cache: Cache) -> None:
    client = Client(cache, "delta")
    publish(cache, SCOPE, old="same key")
    client.holds(SCOPE)
    publish(cache, SCOPE, old=None, new="same key")
    assert client.peer.said() == ["ScopedRouteConfiguration: +new -old"]


def test_endpoints_and_secrets_are_answered_while_clusters_are_not_acked(cache: Cache, client: Client) -> None:
    for kind in (CLUSTER, ENDPOINT, SECRET):
        publish(cache, kind, x="1")
    assert client.ask(CLUSTER) == ["Cluster: +x"]
    assert client.ask(ENDPOINT, "x") == ["ClusterLoadAssignment: +x"]
    assert client.ask(SECRET, "x") == ["Secret: +x"]
    publish(cache, ENDPOINT, x="2")
    assert client.ack(ENDPOINT) == ["ClusterLoadAssignment: +x"]


def test_every_changed_cluster_brings_its_endpoints_again_and_no_other(cache: Cache, client: Client) -> None:
    publish(cache, CLUSTER, a="1", b="1", c="1")
    publish(cache, ENDPOINT, a="1", b="1", c="1")
    client.holds(CLUSTER)
    client.holds(ENDPOINT, "a", "b", "c")
    publish(cache, CLUSTER, a="2", b="2")
    clusters, endpoints = client.peer.said()
    assert clusters.startswith("Cluster: +a +b")
    assert endpoints == "ClusterLoadAssignment: +a +b"


def test_what_changes_while_a_response_is_written_goes_in_order_too(cache: Cache) -> None:
    peer = Peer(cache, auto=False)
    publish(cache, CLUSTER, a="1")
    publish(cache, ENDPOINT, a="1")
    peer.delta(CLUSTER)
    peer.delta(CLUSTER, nonce=peer.last[CLUSTER.url])
    peer.stream.receive(DeltaRequest(ENDPOINT.url, ("a",), node=NODE))
    responses = peer.stream.responses()
    first = next(responses)
    # Its ACK, and a change, come before we know that the writing has ended.
    peer.stream.receive(DeltaRequest(ENDPOINT.url, nonce=first.nonce))
    cache.publish(put(CLUSTER, a="2") | put(ENDPOINT, a="2"))
    assert [said(response) for response in responses] == ["Cluster: +a", "ClusterLoadAssignment: +a"]


def test_rejected_endpoints_are_not_repeated_for_a_changed_cluster(cache: Cache, client: Client) -> None:
    publish(cache, CLUSTER, a="1")
    publish(cache, ENDPOINT, a="bad")
    client.holds(CLUSTER)
    client.ask(ENDPOINT, "a")
    assert client.nack(ENDPOINT) == []
    publish(cache, CLUSTER, a="2")
    assert client.peer.said() == ["Cluster: +a"]


def test_endpoints_that_left_meanwhile_are_not_repeated_as_empty_ones(cache: Cache) -> None:
    client = Client(cache, "delta")
    publish(cache, CLUSTER, a="1")
    for kind in (ENDPOINT, ROUTE):
        publish(cache, kind, a="1")
    client.holds(CLUSTER)
    client.holds(ENDPOINT, "a")
    client.holds(ROUTE, "a")
    publish(cache, CLUSTER, a="2")
    sending = client.peer.stream.responses()
    assert next(sending).type_url == CLUSTER.url
    cache.publish(put(CLUSTER, a=None) | put(ENDPOINT, a=None) | put(ROUTE, a="2"))
    assert list(sending) == []


def test_a_client_that_comes_back_gets_routes_after_its_clusters(cache: Cache, client: Client) -> None:
    publish(cache, CLUSTER, y="1")
    publish(cache, ROUTE, t="to y")
    publish(cache, LISTENER, a="1")
    stream = client.peer.stream
    if client.variant == "delta":
        stream.receive(DeltaRequest(CLUSTER.url, initial_versions={"x": "1"}, node=NODE))
        stream.receive(DeltaRequest(LISTENER.url, initial_versions={"a": "0"}))
        stream.receive(DeltaRequest(ROUTE.url, ("t",), initial_versions={"t": "to x"}))
    else:
        stream.receive(SotwRequest(CLUSTER.url, version="1", node=NODE))
        stream.receive(SotwRequest(LISTENER.url, version="1"))
        stream.receive(SotwRequest(ROUTE.url, ("t",), version="1"))
    assert client.peer.said() == ["Cluster: +y"]
    client.names |= {CLUSTER: (), ROUTE: ("t",), LISTENER: ()}
    assert client.ack(CLUSTER) == ["Listener: +a", "RouteConfiguration: +t"]


def test_a_client_that_comes_back_to_no_listeners_is_told_so(cache: Cache) -> None:
    client = Client(cache, "sotw")
    assert client.peer.sotw(LISTENER, version="1") == ["Listener:"]


def test_clusters_that_no_longer_exist_are_removed_from_a_client_that_comes_back(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1", b="2")
    same = cache.view(CLUSTER)["a"].version
    said = Peer(cache).delta(CLUSTER, initial={"a": same, "b": "old", "c": "old"})
    assert said == ["Cluster: +b -c"]


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_what_is_unsubscribed_while_it_waits_is_not_sent(cache: Cache, client: Client, kind: ResourceType) -> None:
    publish(cache, kind, a="1", b="1")
    client.ask(kind, "a", "b")
    publish(cache, kind, a="2", b="2")
    if client.variant == "delta":
        client.peer.delta(kind, unsubscribe=("a",))
    else:
        client.names[kind] = ("b",)
    (line,) = client.ack(kind)
    assert line.endswith(": +b")


def test_the_wildcard_unsubscribed_while_it_waits_sends_nothing(cache: Cache) -> None:
    peer = Peer(cache, auto=False)
    publish(cache, CLUSTER, a="1")
    peer.delta(CLUSTER)
    publish(cache, CLUSTER, b="1")
    assert peer.delta(CLUSTER, unsubscribe=("*",)) == []
    assert peer.delta(CLUSTER, nonce=peer.last[CLUSTER.url]) == []
    assert peer.delta(CLUSTER, "*", unsubscribe=("*",)) == []


def test_a_removal_goes_when_the_routes_it_waited_for_need_no_sending_after_all(cache: Cache) -> None:
    client = Client(cache, "delta")
    publish(cache, SECRET, x="1")
    publish(cache, ROUTE, t="1")
    client.holds(SECRET, "x")
    client.ask(ROUTE, "t")
    cache.publish(put(SECRET, x=None) | put(ROUTE, t="2"))
    publish(cache, ROUTE, t="1")
    assert client.ack(ROUTE) == ["Secret: -x"]


def test_a_client_that_comes_back_to_listeners_that_go_meanwhile_is_told_so(cache: Cache) -> None:
    client = Client(cache, "sotw")
    publish(cache, CLUSTER, x="1")
    publish(cache, LISTENER, a="1")
    client.ask(CLUSTER)
    assert client.peer.sotw(LISTENER, "a", version="1") == []
    publish(cache, LISTENER, a=None)
    assert client.ack(CLUSTER) == ["Listener:"]


def test_what_is_in_flight_to_a_client_that_drops_the_wildcard_and_takes_it_up_again_is_removed(cache: Cache) -> None:
    peer = Peer(cache, auto=False)
    publish(cache, CLUSTER, a="1")
    peer.delta(CLUSTER)
    publish(cache, CLUSTER, a=None)
    assert peer.delta(CLUSTER, unsubscribe=("*",)) == []
    assert peer.delta(CLUSTER, "*") == ["Cluster: -a"]


def test_endpoints_that_go_and_come_back_are_repeated_for_their_cluster(cache: Cache) -> None:
    client = Client(cache, "delta")
    publish(cache, ENDPOINT, a="1")
    publish(cache, ROUTE, t="1")
    client.ask(CLUSTER)
    client.holds(ENDPOINT, "a")
    client.ask(ROUTE, "t")
    publish(cache, ENDPOINT, a=None)
    publish(cache, CLUSTER, a="1")
    assert client.ack(CLUSTER) == ["Cluster: +a"]
    publish(cache, ENDPOINT, a="1")
    assert client.peer.said() == ["ClusterLoadAssignment: +a"]
