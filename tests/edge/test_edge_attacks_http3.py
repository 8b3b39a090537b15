"""Attacks over HTTP/3, with aioquic: what Envoy does, that nothing of them reaches a pod, and that others go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from edge_harness import Edge, running
from edge_http3 import Headers, http3, request
from edge_wire import GOOD, others_go_on, pod_requests

STREAMS = 100
H3_REQUEST_CANCELLED = 0x10C


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    settings: dict[str, dict[str, object]] = {"edge": {"tables": 16}, "edge.timeouts": {"request_headers": 2.0}}
    with running(tmp_path_factory.mktemp("http3"), settings) as edge:
        yield edge


def headers_of(host: str, *more: tuple[str, str]) -> Headers:
    return [*request(host), *((name.encode(), value.encode()) for name, value in more)]


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        (headers_of(GOOD, ("x-large", "a" * 62_000)), (0, 431)),
        (headers_of(GOOD, *((f"x-{number}", "a" * 1000) for number in range(90))), (0, 431)),
        (headers_of(GOOD, *((f"x-{number}", "a") for number in range(200))), (0, 431)),
        (headers_of(GOOD, ("x_under", "a")), (0, 400)),
        (headers_of(GOOD, ("X-Upper", "a")), (0, 400)),
        (headers_of(GOOD, ("x-nul", "a\0b")), (0, 400)),
        (headers_of(GOOD, ("connection", "close")), (0, 400)),
        (headers_of(GOOD, ("transfer-encoding", "chunked")), (0, 400)),
        (headers_of(GOOD, ("content-length", "4"), ("content-length", "40")), (0, 400)),
        (headers_of(GOOD, (":path", "/other")), (0, 400)),
        (headers_of(GOOD, (":unheard-of", "a")), (0, 400)),
    ],
    ids=["large", "large together", "many", "underscore", "upper case", "NUL", "connection", "chunked", "two lengths",
         "two paths", "unheard of"],
)  # fmt: skip
async def test_headers_that_are_no_good_are_refused(edge: Edge, headers: Headers, wanted: tuple[int, ...]) -> None:
    before = pod_requests(edge)
    with others_go_on(edge):
        async with http3(edge) as client:
            assert await client.status(client.begin(headers)) in wanted
    assert pod_requests(edge) - before == OTHERS


OTHERS = 4
"""The requests of `others_go_on`."""


@pytest.mark.parametrize("host", ["", "b1.example.com,c2.example.com", "user@t0.example.com", "t0.example.com/path"])
async def test_more_than_one_host_or_none_or_nonsense_reaches_no_pod(edge: Edge, host: str) -> None:
    before = pod_requests(edge)
    async with http3(edge) as client:
        headers = [each for each in request(host) if each != (b":authority", b"")]
        assert await client.status(client.begin(headers)) in (0, 400)
    assert pod_requests(edge) == before


async def test_two_authorities_or_hosts_reach_no_pod(edge: Edge) -> None:
    before = pod_requests(edge)
    async with http3(edge) as client:
        assert await client.status(client.begin(headers_of(GOOD, (":authority", "b1.example.com")))) in (0, 400)
    async with http3(edge) as client:
        none = [each for each in request(GOOD) if each[0] != b":authority"]
        two = [*none, (b"host", GOOD.encode()), (b"host", b"b1.example.com")]
        assert await client.status(client.begin(two)) in (0, 400)
    assert pod_requests(edge) == before


async def test_with_another_host_header_the_authority_counts(edge: Edge) -> None:
    async with http3(edge) as client:
        number = client.begin(headers_of(GOOD, ("host", "b1.example.com")))
        status, headers = await client.status(number), client.streams[number].headers
        assert (status, headers.get("x-pod")) in ((200, "pod1"), (400, None), (0, None))
        if status == 200:
            assert json.loads(client.streams[number].body)["headers"]["host"] == GOOD


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("/a//b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/%2E%2e/%2E/b", "/b"),
        ("/../../etc/passwd", "/etc/passwd"),
    ],
)
async def test_a_path_reaches_the_pod_only_as_it_means(edge: Edge, sent: str, seen: str) -> None:
    async with http3(edge) as client:
        number = client.begin(request(GOOD, sent))
        assert await client.status(number) == 200
        assert json.loads(client.streams[number].body)["path"] == seen


@pytest.mark.parametrize("sent", ["/a%2fb", "/a%2F..%2Fb", "/a%5cb"])
async def test_an_escaped_slash_is_redirected_to_what_it_means(edge: Edge, sent: str) -> None:
    before = pod_requests(edge)
    async with http3(edge) as client:
        number = client.begin(request(GOOD, sent))
        assert await client.status(number) == 307
        assert "%2f" not in client.streams[number].headers["location"].lower()
    assert pod_requests(edge) == before


@pytest.mark.parametrize("path", ["", "*", "a", "https://b1.example.com/", "/a b", "/\x01"])
async def test_a_path_that_is_none_reaches_no_pod(edge: Edge, path: str) -> None:
    before = pod_requests(edge)
    async with http3(edge) as client:
        assert await client.status(client.begin(request(GOOD, path))) in (0, 400, 404)
    assert pod_requests(edge) == before


async def test_no_more_streams_are_open_than_allowed(edge: Edge) -> None:
    async with http3(edge) as client:
        first = client.begin(request(GOOD), end=True)
        assert await client.status(first) == 200
        # One is over, and in its place another may come.
        assert client.allowed in (STREAMS, STREAMS + 1)
        open_ = [client.begin(request(GOOD, method="POST"), end=False) for _ in range(150)]
        await asyncio.sleep(1)
        # What is beyond the limit waits at the client, and the other end has heard of no more.
        assert max(open_) // 4 >= 150
        assert edge.stats("http.https.downstream_rq_active")["http.https.downstream_rq_active"] <= STREAMS
        assert client.ended == ""


async def test_who_opens_more_streams_all_the_same_is_closed(edge: Edge) -> None:
    with others_go_on(edge):
        async with http3(edge) as client:
            assert await client.status(client.begin(request(GOOD))) == 200
            client.ignores_limits()
            last = [client.begin(request(GOOD, method="POST"), end=False) for _ in range(300)][-1]
            assert await client.status(last) == 0
            assert "would exceed stream count limit" in client.ended


async def test_streams_that_are_reset_at_once_end_the_connection(edge: Edge) -> None:
    """Rapid reset over QUIC: as many as it is allowed at a time, again and again."""
    name = "http.https.downstream_rq_too_many_premature_resets"
    before = edge.stats(name).get(name, 0)
    with others_go_on(edge):
        async with http3(edge) as client:
            sent = 0
            async with asyncio.timeout(60):
                while not client.ended and sent < 20_000:
                    if client._quic.get_next_available_stream_id() // 4 < client.allowed:
                        number = client.begin(request(GOOD, method="POST"), end=False)
                        client._quic.reset_stream(number, H3_REQUEST_CANCELLED)
                        client._quic.stop_stream(number, H3_REQUEST_CANCELLED)
                        client.transmit()
                        sent += 1
                    await asyncio.sleep(0)
            assert "too_many_premature_resets" in client.ended
            assert sent < 20_000
    assert edge.stats(name)[name] == before + 1
