"""Connections that misbehave, and what is left of them: cases 55, 57 and 58."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import CoroutineType

import psutil
import pytest
from conformance_server import Server
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from raw_http2 import RawConnection
from xds_client import CDS, CONTENT, PATIENCE, RDS, Client, resources

from xds.server.limits import Limits

Serve = Callable[..., AbstractContextManager[Server]]

MIB = 2**20


def asking(kind: str, *names: str, node: str = "raw") -> bytes:
    return bytes(DeltaDiscoveryRequest(node=Node(id=node), type_url=kind, resource_names_subscribe=list(names)))


def answering(response: DeltaDiscoveryResponse) -> bytes:
    return bytes(DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce))


def eventually(true: Callable[[], bool], what: str) -> None:
    """Of what the server does by itself, after a time-out or once it learns that a socket is gone."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"{what}: not in {PATIENCE:.0f} s"
        time.sleep(0.02)


def contents(response: DeltaDiscoveryResponse) -> dict[str, str]:
    """By name, the first characters of each."""
    parse, _, content = CONTENT[response.type_url]
    return {one.name: content(parse(one.resource.value))[:10] for one in response.resources if one.resource is not None}


def test_c55_for_a_client_that_stops_reading_only_the_newest_state_is_kept(serve: Serve) -> None:
    """50 states of 4 MiB each are published; what the server grows by is a fraction of their 200 MiB."""
    with serve() as server, RawConnection(server.port) as raw:
        server.publish(RDS, t="v000".ljust(MIB, "x"))
        stream = raw.open()
        raw.starved.add(stream)
        raw.send(stream, asking(RDS, "t"))
        eventually(lambda: len(server.nodes()) == 1 and server.state(RDS, "raw").sent == 1, "the first is sent")
        process = psutil.Process(os.getpid())
        gc.collect()
        before = process.memory_info().rss
        for number in range(1, 51):
            server.publish(RDS, t=f"v{number:03}".ljust(4 * MIB, "x"))
        gc.collect()
        assert process.memory_info().rss - before < 60 * MIB
        assert server.state(RDS, "raw").sent == 1

        raw.feed(stream)
        first = DeltaDiscoveryResponse.parse(raw.message(stream))
        assert contents(first) == {"t": "v000xxxxxx"}
        raw.send(stream, answering(first))
        second = DeltaDiscoveryResponse.parse(raw.message(stream))
        assert contents(second) == {"t": "v050xxxxxx"}
        raw.send(stream, answering(second))
        eventually(lambda: server.state(RDS, "raw").acked == 2, "the second is ACKed")
        assert raw.held(stream) == 0


def kept_by_tasks() -> int:
    """Bytes in the local variables of all that is under way in this event loop."""
    total = 0
    for task in asyncio.all_tasks():
        under_way: object = task.get_coro()
        while isinstance(under_way, CoroutineType) and under_way.cr_frame is not None:
            total += sum(len(value) for value in under_way.cr_frame.f_locals.values() if isinstance(value, bytes))
            under_way = under_way.cr_await
    return total


def test_c55_nothing_is_kept_of_what_was_sent_or_read(serve: Serve, variant: str) -> None:
    with serve() as server, Client(server.port) as client:
        server.publish(RDS, t="v1".ljust(MIB, "x"))
        stream = client.stream(variant)
        stream.ask(RDS, "t", *(f"absent-{number:0100}" for number in range(3_000)))
        stream.settle()
        assert server.state(RDS).acked >= 1
        assert server.thread.call(kept_by_tasks) < 10_000


def test_c55_a_client_that_stops_reading_is_ended_after_a_while_and_that_stream_alone(serve: Serve) -> None:
    with serve(Limits(write_timeout=1.0)) as server, RawConnection(server.port) as raw, Client(server.port) as client:
        server.publish(RDS, t="v1".ljust(MIB, "x"))
        server.publish(CDS, a="1")
        elsewhere = client.delta()
        elsewhere.ask(CDS)
        stalled, beside = raw.open(), raw.open()
        raw.starved.add(stalled)
        raw.send(beside, asking(CDS, node="beside"))
        raw.send(beside, answering(DeltaDiscoveryResponse.parse(raw.message(beside))))
        raw.send(stalled, asking(RDS, "t", node="stalled"))
        eventually(lambda: "stalled" in {node.node for node in server.nodes()}, "the stream is open")
        eventually(lambda: "stalled" not in {node.node for node in server.nodes()}, "the stream is ended")

        server.publish(CDS, a="2")
        assert elsewhere.take().contents == {"a": "2"}
        assert [one.name for one in DeltaDiscoveryResponse.parse(raw.message(beside)).resources] == ["a"]
        assert raw.goaway is None

        raw.feed(stalled)
        trailers = raw.trailers(stalled)
        # The client may meet a reset instead, when the server gave the rest of the response up.
        assert trailers.get("grpc-status", "8") == "8"
        assert trailers.get("reset") or "xds.limits.write_timeout" in trailers["grpc-message"]


def test_c55_nothing_is_left_of_a_client_that_stopped_reading(serve: Serve) -> None:
    with serve(Limits(write_timeout=0.5)) as server:
        server.publish(RDS, t="v1".ljust(MIB, "x"))
        before = server.thread.tasks()
        with RawConnection(server.port) as raw:
            stream = raw.open()
            raw.starved.add(stream)
            raw.send(stream, asking(RDS, "t"))
            eventually(lambda: len(server.nodes()) == 1, "the stream is open")
            eventually(lambda: len(server.nodes()) == 0, "the stream is ended")
        nothing_is_left(server, before)


def test_c55_a_client_that_reads_slowly_yet_reads_is_not_ended(serve: Serve) -> None:
    with serve(Limits(write_timeout=1.5)) as server, RawConnection(server.port) as raw:
        stream = raw.open()
        raw.send(stream, asking(RDS, "t"))
        raw.send(stream, answering(DeltaDiscoveryResponse.parse(raw.message(stream))))
        for number in range(5):
            server.publish(RDS, t=f"v{number}".ljust(MIB, "x"))
            raw.pump(0.4)
            response = DeltaDiscoveryResponse.parse(raw.message(stream))
            raw.send(stream, answering(response))
        assert [node.node for node in server.nodes()] == ["raw"]


@pytest.mark.parametrize("with_a_stream", [True, False], ids=["idle stream", "no stream"])
def test_c57_pings_without_data_bring_no_goaway(serve: Serve, with_a_stream: bool) -> None:
    """Twenty pings, each later than the shortest interval: as a client does that pings every 30 s, in small."""
    with serve(Limits(min_ping_interval=0.05)) as server, RawConnection(server.port) as raw:
        if with_a_stream:
            stream = raw.open()
            raw.send(stream, asking(CDS))
            raw.send(stream, answering(DeltaDiscoveryResponse.parse(raw.message(stream))))
        for _ in range(20):
            raw.ping_pong()  # so that the next one can't reach the server together with this one
            raw.pump(0.1)
        assert raw.goaway is None
        assert not raw.closed
        assert raw.pongs == 20
        if with_a_stream:
            server.publish(CDS, a="1")
            assert contents(DeltaDiscoveryResponse.parse(raw.message(stream))) == {"a": "1"}


def test_c57_a_grpc_client_that_pings_without_data_keeps_its_stream(serve: Serve) -> None:
    pinging = (
        ("grpc.keepalive_time_ms", 100),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )
    with serve(Limits(min_ping_interval=0.01)) as server, Client(server.port, options=pinging) as client:
        stream = client.delta()
        stream.ask(CDS)
        time.sleep(2.0)
        stream.quiet()
        server.publish(CDS, a="1")
        assert stream.take().contents == {"a": "1"}


def test_c57_pings_far_too_often_do_bring_a_goaway(serve: Serve) -> None:
    """So the tests above could fail: the setting is what decides."""
    with serve(Limits(min_ping_interval=60.0)) as server, RawConnection(server.port) as raw:
        for _ in range(10):
            if raw.goaway is None:
                raw.ping()
                raw.pump(0.05)
        assert raw.goaway is not None


def watchers(server: Server) -> int:
    return server.thread.call(lambda: len(server.cache._watchers))


def nothing_is_left(server: Server, before: set[str]) -> None:
    eventually(lambda: server.nodes() == [], "every stream is gone")
    eventually(lambda: watchers(server) == 0, "every watcher is gone")
    eventually(lambda: len(server.thread.tasks()) <= len(before), "every task is gone")


def test_c58_a_thousand_reconnects_leave_nothing_behind(server: Server) -> None:
    server.publish(CDS, a="1")
    with Client(server.port) as client:
        client.delta().ask(CDS)
    nothing_is_left(server, before := server.thread.tasks())
    for number in range(250):
        with RawConnection(server.port) as raw:
            for again in range(4):
                stream = raw.open()
                raw.send(stream, asking(CDS))
                if again % 2:
                    assert contents(DeltaDiscoveryResponse.parse(raw.message(stream))) == {"a": "1"}
                if again < 2:
                    raw.cancel(stream)
            if number % 3 == 0:
                raw.reset()
    nothing_is_left(server, before)


def test_c58_a_hundred_clients_that_come_back_over_and_over_leave_nothing_behind(server: Server) -> None:
    server.publish(CDS, a="1")
    nothing_is_left(server, before := server.thread.tasks())
    for _ in range(10):
        with ExitStack() as stack:
            streams = [stack.enter_context(Client(server.port)).delta(node=f"n{n}") for n in range(10)]
            for stream in streams:
                stream.ask(CDS)
            assert len(server.nodes()) == 10
    nothing_is_left(server, before)


def test_c58_half_open_peers_leave_nothing_behind(serve: Serve) -> None:
    """They connect and are silent, say hello and no more, begin a call and ask nothing, or vanish in the middle."""
    with serve(Limits(first_request_timeout=1.0, keepalive_interval=1.0, keepalive_timeout=1.0)) as server:
        before = server.thread.tasks()
        with ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                stack.enter_context(RawConnection(server.port))
                stack.enter_context(RawConnection(server.port)).open()
            vanishing = [stack.enter_context(RawConnection(server.port)) for _ in range(5)]
            for number, raw in enumerate(vanishing):
                stream = raw.open()
                raw.send(stream, asking(CDS, node=f"vanishing-{number}"))
                raw.message(stream)
            assert len(server.nodes()) == 5
            # Nobody reads their sockets from here on, so that no ping of the server's is answered.
            nothing_is_left(server, before)
        with Client(server.port) as client:
            client.delta().ask(CDS)


def test_c58_the_end_of_an_old_stream_leaves_the_new_one_of_its_node_alone(
    server: Server, client: Client, variant: str
) -> None:
    server.publish(CDS, a="1")
    old = client.stream(variant)
    old.ask(CDS)
    new = client.stream(variant)
    new.ask(CDS)
    old.done()
    eventually(lambda: len(server.nodes()) == 1, "the old stream is gone")
    server.publish(CDS, a="2")
    assert resources(new.settle(), CDS) == {"a": "2"}
    assert server.state(CDS).acked == 2
    assert watchers(server) == 1


def test_c56_a_stream_is_not_ended_because_we_were_busy(serve: Serve, variant: str) -> None:
    with serve(Limits(first_request_timeout=1.0)) as server, Client(server.port) as client:
        server.publish(CDS, a="1")
        stream = client.stream(variant)
        eventually(lambda: len(server.thread.call(server.xds.streams)) == 1, "the stream is open")
        server.thread.loop.call_soon_threadsafe(time.sleep, 3.0)
        assert stream.ask(CDS).contents == {"a": "1"}
