"""Delta xDS: only what changed, in order, once, and nothing after a NACK until something changes."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryResponse, DiscoveryResponse
from protocol_peer import NODE, Peer, publish

from xds.cache import Cache
from xds.errors import ProtocolError
from xds.protocol.messages import DeltaRequest, DeltaResponse, SotwRequest, SotwResponse
from xds.protocol.state import Settled
from xds.resources.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, resource


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_the_first_wildcard_request_gets_everything_and_its_ack_silence(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1", b="1")
    peer = Peer(cache)
    assert peer.delta(CLUSTER) == ["Cluster: +a +b"]
    assert peer.said() == []


def test_a_wildcard_with_nothing_to_give_is_answered_all_the_same(cache: Cache) -> None:
    assert Peer(cache).delta(CLUSTER) == ["Cluster:"]


def test_one_change_sends_only_that_resource(cache: Cache) -> None:
    publish(cache, ROUTE, a="1", b="1")
    peer = Peer(cache)
    assert peer.delta(ROUTE, "a", "b") == ["RouteConfiguration: +a +b"]
    publish(cache, ROUTE, b="2")
    assert peer.said() == ["RouteConfiguration: +b"]


def test_content_that_did_not_change_is_not_sent(cache: Cache) -> None:
    publish(cache, ROUTE, a="1")
    peer = Peer(cache)
    peer.delta(ROUTE, "a")
    publish(cache, ROUTE, a="1")
    assert peer.said() == []


def test_a_removed_resource_is_named(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1")
    peer = Peer(cache)
    peer.delta(CLUSTER)
    publish(cache, CLUSTER, a=None)
    assert peer.said() == ["Cluster: -a"]


def test_a_missing_name_is_said_to_be_missing_and_pushed_when_it_appears(cache: Cache) -> None:
    peer = Peer(cache)
    assert peer.delta(ROUTE, "a") == ["RouteConfiguration: -a"]
    publish(cache, ROUTE, a="1")
    assert peer.said() == ["RouteConfiguration: +a"]


def test_subscribing_again_sends_again(cache: Cache) -> None:
    publish(cache, ROUTE, a="1")
    peer = Peer(cache)
    peer.delta(ROUTE, "a")
    assert peer.delta(ROUTE, "a") == ["RouteConfiguration: +a"]


def test_a_client_that_comes_back_gets_only_what_differs(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1", b="2")
    same = cache.view(CLUSTER)["a"].version
    assert Peer(cache).delta(CLUSTER, initial={"a": same, "b": "old", "c": "old"}) == ["Cluster: +b -c"]


def test_a_client_that_comes_back_with_everything_is_answered_with_silence(cache: Cache) -> None:
    publish(cache, ROUTE, a="1")
    same = cache.view(ROUTE)["a"].version
    assert Peer(cache).delta(ROUTE, "a", initial={"a": same}) == []


def test_endpoints_are_sent_again_to_a_client_that_comes_back(cache: Cache) -> None:
    publish(cache, ENDPOINT, a="1")
    same = cache.view(ENDPOINT)["a"].version
    assert Peer(cache).delta(ENDPOINT, "a", initial={"a": same}) == ["ClusterLoadAssignment: +a"]


def test_wildcard_and_a_name_and_back(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1", b="1")
    peer = Peer(cache)
    peer.delta(CLUSTER)
    assert peer.delta(CLUSTER, "a") == ["Cluster: +a"]
    assert peer.delta(CLUSTER, unsubscribe=("*",)) == []
    publish(cache, CLUSTER, a="2", b="2")
    assert peer.said() == ["Cluster: +a"]
    assert peer.delta(CLUSTER, unsubscribe=("a",)) == []
    publish(cache, CLUSTER, a="3", b="3")
    assert peer.said() == []


def test_a_name_unsubscribed_within_the_wildcard_comes_back(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1")
    peer = Peer(cache)
    peer.delta(CLUSTER, "*", "a")
    assert peer.delta(CLUSTER, unsubscribe=("a",)) == ["Cluster: +a"]


def test_secrets_are_never_given_by_wildcard(cache: Cache) -> None:
    publish(cache, SECRET, edge="key")
    assert Peer(cache).delta(SECRET) == []
    assert Peer(cache).delta(SECRET, "*") == []


def test_pushes_wait_for_the_ack_and_then_carry_only_the_newest(cache: Cache) -> None:
    publish(cache, ROUTE, a="1")
    peer = Peer(cache, auto=False)
    peer.stream.receive(DeltaRequest(ROUTE.url, ("a",), node=NODE))
    (first,) = peer.take()
    publish(cache, ROUTE, a="2")
    publish(cache, ROUTE, a="3")
    assert peer.said() == []
    peer.stream.receive(DeltaRequest(ROUTE.url, nonce=first.nonce))
    (second,) = peer.take()
    assert second.resources == (resource(ROUTE, "a", b"3"),)


def test_a_new_subscription_is_answered_while_a_response_is_in_flight(cache: Cache) -> None:
    publish(cache, ENDPOINT, a="1", b="1")
    peer = Peer(cache, auto=False)
    assert peer.delta(ENDPOINT, "a") == ["ClusterLoadAssignment: +a"]
    assert peer.delta(ENDPOINT, "b") == ["ClusterLoadAssignment: +b"]


def test_what_was_rejected_is_not_sent_again_until_it_changes(cache: Cache) -> None:
    publish(cache, ROUTE, a="1", b="1")
    peer = Peer(cache, auto=False)
    peer.stream.receive(DeltaRequest(ROUTE.url, ("a", "b"), node=NODE))
    (first,) = peer.take()
    assert peer.delta(ROUTE, nonce=first.nonce, error="a is bad") == []
    (state,) = peer.stream.states()
    assert (state.nacked, state.last_nack, state.version_nacked) == (1, "a is bad", state.version_sent)
    publish(cache, ROUTE, a="2")
    assert peer.said() == ["RouteConfiguration: +a +b"]


def test_an_answer_says_what_it_answered(cache: Cache) -> None:
    publish(cache, ROUTE, a="1")
    peer = Peer(cache, auto=False)
    settled = peer.stream.receive(DeltaRequest(ROUTE.url, ("a", "b"), node=NODE))
    assert settled is None
    (first,) = peer.take()
    settled = peer.stream.receive(DeltaRequest(ROUTE.url, nonce=first.nonce, error="a is bad"))
    assert settled == Settled(ROUTE, {"a": resource(ROUTE, "a", b"1").version, "b": None}, "a is bad")
    assert peer.stream.states()[0].rejected == ("a", "b")


def test_a_rejection_that_subscribes_gets_the_new_name_only(cache: Cache) -> None:
    publish(cache, ROUTE, a="1", b="1")
    peer = Peer(cache, auto=False)
    peer.stream.receive(DeltaRequest(ROUTE.url, ("a",), node=NODE))
    (first,) = peer.take()
    assert peer.delta(ROUTE, "b", nonce=first.nonce, error="a is bad") == ["RouteConfiguration: +b"]


def test_one_publish_arrives_clusters_first_and_routes_last(cache: Cache) -> None:
    peer = Peer(cache)
    for kind in (ROUTE, LISTENER, ENDPOINT, CLUSTER):
        peer.delta(kind, "x")
    cache.publish({kind: {"x": resource(kind, "x", b"1")} for kind in (ROUTE, LISTENER, ENDPOINT, CLUSTER)})
    assert [line.partition(":")[0] for line in peer.said()] == [
        "Cluster",
        "ClusterLoadAssignment",
        "Listener",
        "RouteConfiguration",
    ]


def test_routes_wait_for_the_cluster_they_may_lead_to_but_not_for_ever(cache: Cache) -> None:
    peer = Peer(cache, auto=False)
    first: dict[str, str] = {}
    for kind in (CLUSTER, ROUTE):
        peer.stream.receive(DeltaRequest(kind.url, ("x",), node=NODE))
        (response,) = peer.take()
        first[kind.url] = response.nonce
    for kind in (CLUSTER, ROUTE):
        peer.delta(kind, nonce=first[kind.url])
    cache.publish({kind: {"x": resource(kind, "x", b"1")} for kind in (ROUTE, CLUSTER)})
    assert peer.said() == ["Cluster: +x"]
    assert peer.stream.holding
    peer.stream.release()
    assert peer.said() == ["RouteConfiguration: +x"]
    assert not peer.stream.holding


def test_a_changed_cluster_brings_its_endpoints_again(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1")
    publish(cache, ENDPOINT, a="1")
    peer = Peer(cache)
    peer.delta(CLUSTER)
    peer.delta(ENDPOINT, "a")
    publish(cache, CLUSTER, a="2")
    assert peer.said() == ["Cluster: +a", "ClusterLoadAssignment: +a"]


def test_a_large_state_comes_in_several_responses(cache: Cache) -> None:
    publish(cache, CLUSTER, **{f"c{n}": "x" * 40 for n in range(6)})
    taken = Peer(cache, response_bytes=350).delta(CLUSTER)
    assert len(taken) == 3
    assert sorted(name for line in taken for name in line.split()[1:]) == [f"+c{n}" for n in range(6)]


def test_a_type_that_is_not_served_leaves_the_stream_alive(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1")
    peer = Peer(cache)
    peer.stream.receive(DeltaRequest("type.googleapis.com/unknown", node=NODE))
    assert peer.delta(CLUSTER) == ["Cluster: +a"]


@pytest.mark.parametrize("request_", [DeltaRequest(CLUSTER.url), SotwRequest(CLUSTER.url), DeltaRequest("", node=None)])
def test_a_first_request_without_a_node_ends_the_stream(cache: Cache, request_: DeltaRequest | SotwRequest) -> None:
    with pytest.raises(ProtocolError, match=r"node\.id"):
        Peer(cache).stream.receive(request_)


def test_encoded_responses_are_what_the_dataclasses_read() -> None:
    made = resource(ROUTE, "a", b"")
    delta = DeltaDiscoveryResponse.parse(DeltaResponse(ROUTE.url, "7", (made,), ("gone",)).encode())
    assert (delta.type_url, delta.nonce, delta.removed_resources) == (ROUTE.url, "7", ["gone"])
    assert [(r.name, r.version, r.resource.type_url) for r in delta.resources if r.resource] == [
        ("a", made.version, ROUTE.url)
    ]
    sotw = DiscoveryResponse.parse(SotwResponse(ROUTE.url, "8", "v", (made,)).encode())
    assert (sotw.type_url, sotw.nonce, sotw.version_info) == (ROUTE.url, "8", "v")
    assert [r.type_url for r in sotw.resources] == [ROUTE.url]
