"""ACKs, NACKs, nonces and limits, in both variants: what a client rejected, forgot or never answered."""

from __future__ import annotations

import gc
import time
import tracemalloc

import pytest
from protocol_peer import NODE, Peer, publish

from xds.cache import Cache
from xds.errors import LimitError, ProtocolError
from xds.protocol.messages import DeltaRequest, DeltaResponse, Node, SotwRequest
from xds.protocol.state import REASON_SHOWN, ResourceStatus, Settled
from xds.protocol.stream import Stream
from xds.resources.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPE, SECRET, TYPES, ResourceType, resource


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
def peer(cache: Cache) -> Peer:
    return Peer(cache, auto=False)


def version(kind: ResourceType, content: str) -> str:
    return resource(kind, "any", content.encode()).version


def answer(peer: Peer, kind: ResourceType, error: str | None = None) -> list[str]:
    """ACKs or NACKs the newest delta response."""
    return peer.delta(kind, nonce=peer.last[kind.url], error=error)


# NACK


def test_an_older_response_can_be_rejected_while_a_newer_one_is_in_flight(cache: Cache, peer: Peer) -> None:
    publish(cache, ROUTE, a="1", b="1")
    peer.sotw(ROUTE, "a")
    first = peer.last[ROUTE.url]
    assert peer.sotw(ROUTE, "a", "b", nonce="") == ["RouteConfiguration: +b"]
    assert peer.sotw(ROUTE, "a", "b", nonce=first, error="a is bad") == []
    assert peer.sotw(ROUTE, "a", "b") == []
    assert [status.error for status in peer.stream.resources(ROUTE)] == ["a is bad", ""]
    publish(cache, ROUTE, a="2")
    assert peer.said() == ["RouteConfiguration: +a"]


def test_a_whole_state_that_is_acked_clears_an_older_one_that_was_rejected(cache: Cache, peer: Peer) -> None:
    publish(cache, CLUSTER, a="1", b="1")
    peer.sotw(CLUSTER, "a")
    peer.sotw(CLUSTER, "a")
    publish(cache, CLUSTER, a="2")
    peer.said()
    first = peer.last[CLUSTER.url]
    assert peer.sotw(CLUSTER, "a", "b", nonce="") == ["Cluster: +a +b"]
    assert peer.sotw(CLUSTER, "a", "b", nonce=first, error="bad") == []
    assert peer.sotw(CLUSTER, "a", "b") == []
    assert [status.error for status in peer.stream.resources(CLUSTER)] == ["", ""]


def test_a_whole_state_that_is_rejected_may_have_removed_what_an_older_one_did(cache: Cache, peer: Peer) -> None:
    publish(cache, CLUSTER, a="1", b="1")
    peer.sotw(CLUSTER)
    peer.sotw(CLUSTER)
    publish(cache, CLUSTER, a=None)
    peer.said()
    first = peer.last[CLUSTER.url]
    assert peer.sotw(CLUSTER, "*", "c", nonce="") == ["Cluster: +b"]
    assert peer.sotw(CLUSTER, "*", "c", nonce=first, error="bad") == []
    assert peer.sotw(CLUSTER, "*", "c", error="bad") == []
    assert [(status.name, status.error) for status in peer.stream.resources(CLUSTER)] == [
        ("a", "bad"),
        ("b", ""),
        ("c", ""),
    ]


def test_a_removal_that_was_acked_is_not_rejected_when_it_comes_once_more(cache: Cache, peer: Peer) -> None:
    publish(cache, LISTENER, a="1")
    peer.sotw(LISTENER)
    peer.sotw(LISTENER)
    publish(cache, LISTENER, a=None)
    peer.said()
    first = peer.last[LISTENER.url]
    assert peer.sotw(LISTENER, "*", "c", nonce="") == ["Listener:"]
    assert peer.sotw(LISTENER, "*", "c", nonce=first) == []
    assert peer.sotw(LISTENER, "*", "c", error="bad") == []
    assert [(status.name, status.error) for status in peer.stream.resources(LISTENER)] == [("c", "")]


def test_an_ack_of_the_newest_holds_for_the_older_ones(cache: Cache, peer: Peer) -> None:
    publish(cache, ENDPOINT, a="1", b="1")
    peer.delta(ENDPOINT, "a")
    first = peer.last[ENDPOINT.url]
    peer.delta(ENDPOINT, "b")
    same = version(ENDPOINT, "1")
    ack = DeltaRequest(ENDPOINT.url, nonce=peer.last[ENDPOINT.url])
    assert peer.stream.receive(ack) == Settled(ENDPOINT, {"a": same, "b": same}, None)
    assert peer.stream.receive(DeltaRequest(ENDPOINT.url, nonce=first, error="late")) is None


def test_the_content_from_before_a_rejected_one_is_sent(cache: Cache, peer: Peer) -> None:
    """A client may have applied some of what it rejected: Envoy does so with clusters and listeners."""
    publish(cache, CLUSTER, a="1", b="1")
    peer.delta(CLUSTER)
    answer(peer, CLUSTER)
    publish(cache, CLUSTER, a="bad", b="2")
    peer.said()
    assert answer(peer, CLUSTER, "a is bad") == []
    publish(cache, CLUSTER, b="1")
    assert peer.said() == ["Cluster: +b +a"]


def test_a_rejected_first_version_is_removed_when_it_goes(cache: Cache, peer: Peer) -> None:
    publish(cache, CLUSTER, a="bad")
    peer.delta(CLUSTER)
    answer(peer, CLUSTER, "a is bad")
    publish(cache, CLUSTER, a=None)
    assert peer.said() == ["Cluster: -a"]


def test_only_what_was_rejected_together_is_tried_again_together(cache: Cache, peer: Peer) -> None:
    publish(cache, ROUTE, a="1", b="1", c="1")
    peer.delta(ROUTE, "a", "b")
    answer(peer, ROUTE, "one of them")
    peer.delta(ROUTE, "c")
    answer(peer, ROUTE, "c is bad")
    publish(cache, ROUTE, a="2")
    assert peer.said() == ["RouteConfiguration: +a +b"]


def test_content_that_comes_back_to_the_rejected_one_is_not_sent(cache: Cache, peer: Peer) -> None:
    publish(cache, ROUTE, a="bad")
    peer.delta(ROUTE, "a")
    publish(cache, ROUTE, a="2")
    publish(cache, ROUTE, a="bad")
    assert answer(peer, ROUTE, "bad") == []
    assert peer.said() == []


@pytest.mark.parametrize("kind", [ROUTE, SECRET], ids=lambda kind: kind.name)
def test_what_was_rejected_together_is_tried_again_in_sotw(cache: Cache, peer: Peer, kind: ResourceType) -> None:
    publish(cache, kind, a="1", b="1")
    peer.sotw(kind, "a", "b")
    assert peer.sotw(kind, "a", "b", error="a is bad") == []
    publish(cache, kind, a="2")
    assert [line.partition(": ")[2] for line in peer.said()] == ["+a +b"]


def test_a_whole_state_is_not_sent_for_content_that_the_client_has(cache: Cache, peer: Peer) -> None:
    publish(cache, CLUSTER, a="1")
    peer.sotw(CLUSTER)
    publish(cache, CLUSTER, a="2")
    publish(cache, CLUSTER, a="1")
    assert peer.sotw(CLUSTER) == []
    assert not peer.stream.holding


def test_only_what_a_whole_state_brought_anew_counts_as_rejected(cache: Cache, peer: Peer) -> None:
    publish(cache, CLUSTER, a="1", b="1")
    peer.sotw(CLUSTER)
    peer.sotw(CLUSTER)
    publish(cache, CLUSTER, b="bad")
    peer.said()
    settled = peer.stream.receive(SotwRequest(CLUSTER.url, nonce=peer.last[CLUSTER.url], error="b is bad"))
    assert settled == Settled(CLUSTER, {"b": version(CLUSTER, "bad")}, "b is bad")
    assert list(peer.stream.resources(CLUSTER)) == [
        ResourceStatus("a", version(CLUSTER, "1")),
        ResourceStatus("b", version(CLUSTER, "1"), rejected=version(CLUSTER, "bad"), error="b is bad"),
    ]


def test_the_version_that_was_acked_last_is_remembered_through_rejections(cache: Cache, peer: Peer) -> None:
    publish(cache, ROUTE, a="1")
    peer.delta(ROUTE, "a")
    answer(peer, ROUTE)
    for content in ("bad", "worse"):
        publish(cache, ROUTE, a=content)
        peer.said()
        answer(peer, ROUTE, content)
    (status,) = peer.stream.resources(ROUTE)
    assert (status.version, status.error) == (version(ROUTE, "1"), "worse")
    publish(cache, ROUTE, a="2")
    peer.said()
    second = peer.last[ROUTE.url]
    publish(cache, ROUTE, a="3")
    peer.delta(ROUTE, "a", nonce="")
    peer.delta(ROUTE, nonce=second)
    answer(peer, ROUTE, "no")
    (status,) = peer.stream.resources(ROUTE)
    assert status.version == version(ROUTE, "2")


def test_a_rejected_absence_is_not_told_again(cache: Cache, peer: Peer) -> None:
    assert peer.delta(SECRET, "a") == ["Secret: -a"]
    assert answer(peer, SECRET, "no such secret") == []
    publish(cache, SECRET, b="1")
    assert peer.said() == []
    publish(cache, SECRET, a="1")
    assert peer.said() == ["Secret: +a"]


def test_a_rejection_of_what_was_dropped_leaves_nothing(cache: Cache, peer: Peer) -> None:
    publish(cache, ROUTE, a="1")
    peer.delta(ROUTE, "a")
    nonce = peer.last[ROUTE.url]
    assert peer.delta(ROUTE, unsubscribe=("a",), nonce="") == []
    assert peer.delta(ROUTE, nonce=nonce, error="bad") == []
    assert list(peer.stream.resources(ROUTE)) == []


def test_a_reason_is_bounded_and_of_one_line(cache: Cache, peer: Peer) -> None:
    peer.delta(ROUTE, "a")
    answer(peer, ROUTE, "bad\x1b[31m\nworse\x00" + "x" * 10_000)
    (state,) = peer.stream.states()
    assert state.last_nack.startswith("bad [31m worse x")
    assert len(state.last_nack) == REASON_SHOWN


def test_what_is_in_flight_is_told_apart_from_what_is_held(cache: Cache, peer: Peer) -> None:
    publish(cache, ROUTE, a="1")
    peer.delta(ROUTE, "a")
    assert list(peer.stream.resources(ROUTE)) == [ResourceStatus("a", version(ROUTE, "1"), in_flight=True)]
    answer(peer, ROUTE)
    assert list(peer.stream.resources(ROUTE)) == [ResourceStatus("a", version(ROUTE, "1"))]
    assert list(peer.stream.resources(CLUSTER)) == []


# What is absent


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_unknown_endpoints_are_answered_with_none_at_all(cache: Cache, peer: Peer, variant: str) -> None:
    publish(cache, ENDPOINT, a="1")
    ask = peer.delta if variant == "delta" else peer.sotw
    assert ask(ENDPOINT, "a", "b") == ["ClusterLoadAssignment: +a +b"]
    ask(ENDPOINT, *(() if variant == "delta" else "ab"), nonce=peer.last[ENDPOINT.url])
    publish(cache, ENDPOINT, b="1")
    assert peer.said() == ["ClusterLoadAssignment: +b"]
    ask(ENDPOINT, *(() if variant == "delta" else "ab"), nonce=peer.last[ENDPOINT.url])
    publish(cache, ENDPOINT, b=None)
    (response,) = peer.take()
    assert not isinstance(response, DeltaResponse) or response.removed == ()
    assert ENDPOINT.absent is not None
    assert response.resources == (ENDPOINT.absent("b"),)


def test_a_table_deleted_and_made_again_is_sent_again_in_sotw(cache: Cache, peer: Peer) -> None:
    publish(cache, ROUTE, a="1")
    peer.sotw(ROUTE, "a")
    peer.sotw(ROUTE, "a")
    publish(cache, ROUTE, a=None)
    assert peer.said() == []
    publish(cache, ROUTE, a="1")
    assert peer.said() == ["RouteConfiguration: +a"]


# Subscriptions


def test_a_first_request_that_unsubscribes_asks_for_nothing(cache: Cache, peer: Peer) -> None:
    publish(cache, CLUSTER, a="1")
    assert peer.delta(CLUSTER, unsubscribe=("b",)) == []


def test_a_client_that_comes_back_with_everything_by_wildcard_is_answered_with_silence(cache: Cache) -> None:
    publish(cache, CLUSTER, a="1")
    same = cache.view(CLUSTER)["a"].version
    for subscribe in ((), ("*",)):
        assert Peer(cache).delta(CLUSTER, *subscribe, initial={"a": same}) == []


def test_what_a_client_says_to_hold_and_does_not_ask_for_is_no_concern(cache: Cache, peer: Peer) -> None:
    assert peer.delta(ROUTE, "a", initial={"b": "1", "*": "1"}) == ["RouteConfiguration: -a"]
    assert [status.name for status in peer.stream.resources(ROUTE)] == ["a"]


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_a_name_no_longer_asked_for_leaves_nothing_behind(cache: Cache, kind: ResourceType) -> None:
    publish(cache, kind, **{f"n{number}": "1" for number in range(0, 2_000, 2)})
    peer = Peer(cache)
    peer.delta(kind, "none")
    names = tuple(f"n{number}" for number in range(2_000))

    def rounds(count: int) -> None:
        for _ in range(count):
            peer.delta(kind, *names)
            peer.delta(kind, unsubscribe=names)

    tracemalloc.start()
    rounds(2)
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    rounds(5)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 20_000
    assert [status.name for status in peer.stream.resources(kind)] == ["none"]


# Limits


def test_a_hundred_thousand_names_with_duplicates_take_linear_time(cache: Cache) -> None:
    names = tuple(f"n{number}" for number in range(50_000))
    for variant in ("delta", "sotw"):
        took = {}
        for count in (5_000, 50_000):
            peer = Peer(cache)
            began = time.process_time()
            said = (peer.delta if variant == "delta" else peer.sotw)(ENDPOINT, *names[:count], *names[:count])
            took[count] = time.process_time() - began
            assert sum(line.count("+") for line in said) == count
        assert took[50_000] < 40 * took[5_000]


def test_more_names_than_the_limit_end_the_stream(cache: Cache) -> None:
    peer = Peer(cache, max_names=3)
    peer.delta(ROUTE, "a", "b", "c", "a")
    with pytest.raises(LimitError, match=r"xds\.limits\.names"):
        peer.delta(ROUTE, "d")
    with pytest.raises(LimitError, match=r"xds\.limits\.names"):
        Peer(cache, max_names=3).delta(CLUSTER, initial={name: "1" for name in "abcd"})
    with pytest.raises(LimitError, match=r"xds\.limits\.names"):
        Peer(cache, max_names=3).sotw(ROUTE, *"abcd")
    Peer(cache, max_names=3).sotw(ROUTE, *"abcabc")


def test_names_are_counted_after_those_that_are_dropped(cache: Cache) -> None:
    peer = Peer(cache, max_names=3)
    peer.delta(ROUTE, "a", "b", "c")
    assert peer.delta(ROUTE, "d", unsubscribe=("a",)) == ["RouteConfiguration: -d"]


def test_a_client_that_asks_on_and_never_answers_is_remembered_in_bounds(cache: Cache) -> None:
    peer = Peer(cache, auto=False, max_names=100)
    names = [f"n{number}" for number in range(50)]
    for _ in range(50):
        peer.delta(ROUTE, *names)
    assert peer.stream.states()[0].in_flight <= 2
    for _ in range(500):
        peer.delta(SCOPE, "*")
    assert peer.stream.states()[0].in_flight <= 101


def test_unknown_types_are_remembered_in_bounds(cache: Cache, peer: Peer) -> None:
    for number in range(100):
        peer.stream.receive(DeltaRequest(f"{number}" + "x" * 1_000, node=NODE))
    assert len(peer.stream.unknown) <= 16
    assert max(map(len, peer.stream.unknown)) <= 200


def test_removed_names_count_for_the_size_of_a_response(cache: Cache) -> None:
    peer = Peer(cache, response_bytes=1_000)
    said = peer.delta(ROUTE, *(f"{number:0100}" for number in range(30)))
    assert [line.count("-") for line in said] == [7, 7, 7, 7, 2]


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_a_large_change_is_sent_in_parts_without_waiting_for_acks(cache: Cache, variant: str) -> None:
    peer = Peer(cache, auto=False, response_bytes=1_200)
    ask = peer.delta if variant == "delta" else peer.sotw
    names = [f"n{number}" for number in range(6)]
    publish(cache, ROUTE, **dict.fromkeys(names, "1"))
    assert [line.count("+") for line in ask(ROUTE, *names)] == [6]
    assert ask(ROUTE, *(() if variant == "delta" else names), nonce=peer.last[ROUTE.url]) == []
    publish(cache, ROUTE, **dict.fromkeys(names, "x" * 400))
    assert [line.count("+") for line in peer.said()] == [2, 2, 2]


def test_a_whole_state_is_never_split(cache: Cache) -> None:
    publish(cache, CLUSTER, **{f"n{number}": "x" * 400 for number in range(6)})
    (line,) = Peer(cache, response_bytes=1_000).sotw(CLUSTER)
    assert line.count("+") == 6


# Who asks, and for what


def test_the_node_of_the_first_request_stays(cache: Cache) -> None:
    stream = Stream(cache.view)
    stream.receive(DeltaRequest(CLUSTER.url, node=Node("first")))
    stream.receive(DeltaRequest(ROUTE.url, node=Node("second")))
    stream.receive(DeltaRequest(ROUTE.url))
    assert stream.node == Node("first")


def test_what_a_client_says_of_itself_is_bounded(cache: Cache) -> None:
    stream = Stream(cache.view)
    with pytest.raises(ProtocolError, match=r"node\.id has 2000 characters"):
        stream.receive(DeltaRequest(CLUSTER.url, node=Node("x" * 2_000)))
    stream.receive(DeltaRequest(CLUSTER.url, node=Node("x" * 1_000, "y" * 2_000, "z" * 2_000)))
    assert stream.node == Node("x" * 1_000, "y" * 200, "z" * 200)


def test_a_stream_of_one_type_implies_it_and_takes_no_other(cache: Cache) -> None:
    publish(cache, LISTENER, a="1")
    stream = Stream(cache.view, LISTENER)
    stream.receive(DeltaRequest("", node=NODE))
    assert [response.type_url for response in stream.responses()] == [LISTENER.url]
    with pytest.raises(ProtocolError, match="on a stream of"):
        stream.receive(DeltaRequest(ROUTE.url))


def test_an_aggregated_stream_needs_a_type(cache: Cache) -> None:
    with pytest.raises(ProtocolError, match="type_url"):
        Stream(cache.view).receive(DeltaRequest("", node=NODE))


def test_one_stream_speaks_one_variant(cache: Cache, peer: Peer) -> None:
    peer.delta(CLUSTER)
    with pytest.raises(ProtocolError, match="over one stream"):
        peer.sotw(CLUSTER)


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_a_nonce_of_another_type_answers_nothing(cache: Cache, peer: Peer, variant: str) -> None:
    ask = peer.delta if variant == "delta" else peer.sotw
    publish(cache, CLUSTER, a="1")
    publish(cache, ROUTE, a="1")
    ask(CLUSTER)
    ask(ROUTE, "a")
    ask(CLUSTER, nonce=peer.last[ROUTE.url])
    assert [state.acked for state in peer.stream.states()] == [0, 0]


def test_unsubscribing_what_was_never_subscribed_is_silent(cache: Cache, peer: Peer) -> None:
    publish(cache, ROUTE, a="1", b="1")
    peer.delta(ROUTE, "a")
    assert peer.delta(ROUTE, unsubscribe=("b", "b", "*"), nonce="no such") == []
