"""State-of-the-world xDS: whole sets where Envoy deletes what is absent, single resources where it doesn't."""

from __future__ import annotations

from dataclasses import replace

import pytest
from protocol_peer import NODE, Peer, made, publish

from xds.cache import Cache
from xds.protocol.messages import DeltaRequest, SotwRequest
from xds.resources.types import CLUSTER, LISTENER, ROUTE, SECRET


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_an_empty_first_request_gets_all_and_its_ack_silence(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1", b="1")
    peer = Peer(cache)
    assert peer.sotw(CLUSTER) == ["Cluster: +a +b"]
    assert peer.sotw(CLUSTER) == []


def test_one_changed_cluster_brings_all_of_them(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1", b="1")
    peer = Peer(cache)
    peer.sotw(CLUSTER)
    peer.sotw(CLUSTER)
    publish(cache, CLUSTER, b="2")
    assert peer.said() == ["Cluster: +a +b"]


def test_one_changed_table_brings_that_one(cache: Cache) -> None:
    publish(cache, ROUTE, a="1", b="1", c="1")
    peer = Peer(cache)
    assert peer.sotw(ROUTE, "a", "b") == ["RouteConfiguration: +a +b"]
    peer.sotw(ROUTE, "a", "b")
    publish(cache, ROUTE, b="2", c="2")
    assert peer.said() == ["RouteConfiguration: +b"]


def test_names_after_a_wildcard_narrow_it_and_none_is_never_a_wildcard_again(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1", b="1")
    peer = Peer(cache)
    assert peer.sotw(CLUSTER) == ["Cluster: +a +b"]
    assert peer.sotw(CLUSTER, "*", "a") == []
    assert peer.sotw(CLUSTER, "a") == []
    publish(cache, CLUSTER, b="2")
    assert peer.said() == []
    publish(cache, CLUSTER, a="2")
    assert peer.said() == ["Cluster: +a"]
    assert peer.sotw(CLUSTER) == []
    publish(cache, CLUSTER, a="2", b="2")
    assert peer.said() == []


def test_the_last_cluster_removed_is_an_empty_response_of_another_version(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1")
    peer = Peer(cache)
    peer.sotw(CLUSTER)
    before = peer.stream.states()[0].version_sent
    peer.sotw(CLUSTER)
    publish(cache, CLUSTER, a=None)
    assert peer.said() == ["Cluster:"]
    assert peer.stream.states()[0].version_sent != before


def test_a_name_dropped_and_asked_for_again_is_sent_again(cache: Cache) -> None:
    publish(cache, ROUTE, a="1")
    peer = Peer(cache)
    peer.sotw(ROUTE, "a")
    assert peer.sotw(ROUTE) == []
    assert peer.sotw(ROUTE, "a") == ["RouteConfiguration: +a"]


def test_an_absent_name_is_sent_when_it_appears(cache: Cache) -> None:
    publish(cache, ROUTE, a="1")
    peer = Peer(cache)
    assert peer.sotw(ROUTE, "a", "z") == ["RouteConfiguration: +a"]
    peer.sotw(ROUTE, "a", "z")
    publish(cache, ROUTE, z="1")
    assert peer.said() == ["RouteConfiguration: +z"]


def test_a_stale_nonce_neither_acks_nor_nacks_yet_its_new_name_is_served(cache: Cache) -> None:
    publish(cache, ROUTE, a="1", b="1")
    peer = Peer(cache)
    peer.sotw(ROUTE, "a")
    assert peer.sotw(ROUTE, "a", "b", nonce="0", error="old news") == ["RouteConfiguration: +b"]
    assert peer.stream.states()[0].nacked == 0


def test_a_rejected_version_is_recorded_and_not_sent_again(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1")
    peer = Peer(cache)
    peer.sotw(CLUSTER)
    assert peer.sotw(CLUSTER, error="bad") == []
    assert peer.stream.states()[0].last_nack == "bad"
    publish(cache, CLUSTER, a="2")
    assert peer.said() == ["Cluster: +a"]


def test_equal_content_has_equal_versions_on_every_replica() -> None:
    versions = []
    for order in (("a", "b"), ("b", "a")):
        cache = Cache()
        for name in order:
            publish(cache, CLUSTER, **{name: "1"})
        peer = Peer(cache)
        peer.sotw(CLUSTER)
        versions.append(peer.stream.states()[0].version_sent)
    assert versions[0] == versions[1]


def test_secrets_need_a_name(cache: Cache) -> None:
    publish(cache, SECRET, edge="key")
    peer = Peer(cache)
    assert peer.sotw(SECRET) == []
    assert peer.sotw(SECRET, "*") == []
    assert peer.sotw(SECRET, "edge") == ["Secret: +edge"]


def test_what_is_only_for_newcomers_is_in_no_response_since_each_may_go_to_who_has_the_rest(cache: Cache) -> None:
    plain, newcomers = made(LISTENER, "a", "plain"), made(LISTENER, "a", "and more")
    cache.publish({LISTENER: {"a": replace(newcomers, version=plain.version, repeated=plain.any)}})
    peer = Peer(cache)
    for version in ("", "returns"):
        peer.stream.receive(SotwRequest(LISTENER.url, (), version, "", None, NODE))
        (response,) = peer.stream.responses()
        assert (plain.body in response.encode(), newcomers.body in response.encode()) == (True, False)
        peer = Peer(cache)
    peer.stream.receive(DeltaRequest(LISTENER.url, node=NODE))
    (response,) = peer.stream.responses()
    assert newcomers.body in response.encode()
