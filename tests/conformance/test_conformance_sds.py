"""Secrets: cases 41 to 44."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from conformance_server import Server
from structlog.testing import capture_logs
from xds_client import EDS, PATIENCE, SDS, Client, Stream, resources

from xds.certificates.reading import read_whole
from xds.resources.edge import EdgeResources
from xds.resources.secrets import CertificatePair

CSDS = "envoy.service.status.v3.ClientStatusDiscoveryService"
Serve = Callable[..., AbstractContextManager[Server]]


def open_stream(client: Client, variant: str, **options: str) -> Stream:
    return client.stream(variant, probe=EDS, **options)


@pytest.mark.parametrize("names", [(), ("*",)], ids=["empty", "star"])
def test_c41_asking_for_all_secrets_brings_none(
    server: Server, client: Client, variant: str, names: tuple[str, ...]
) -> None:
    server.publish(SDS, a="1", b="1")
    stream = open_stream(client, variant)
    stream.subscribe(SDS, *names)
    assert resources(stream.settle(), SDS) == {}
    server.publish(SDS, a="2", c="1")
    assert resources(stream.settle(), SDS) == {}
    stream.subscribe(SDS, "a")
    assert resources(stream.settle(), SDS) == {"a": "2"}


@pytest.mark.parametrize("names", [(), ("*",)], ids=["empty", "star"])
def test_c41_asking_for_all_secrets_on_a_stream_of_their_own_brings_none(
    server: Server, client: Client, variant: str, names: tuple[str, ...]
) -> None:
    server.publish(SDS, a="1", b="1")
    stream = client.stream(variant, of=SDS, probe=SDS)
    stream.subscribe(SDS, *names)
    assert resources(stream.settle(), SDS) == {}


KEY = "the-private-key-itself"


def test_c42_a_private_key_never_reaches_a_log_an_api_or_an_error(server: Server, client: Client, variant: str) -> None:
    """It is asked for, rejected, rotated, asked for again, and its stream then breaks the protocol."""
    with capture_logs() as logs:
        server.publish(SDS, edge=f"{KEY}-1")
        stream = open_stream(client, variant)
        stream.subscribe(SDS, "edge")
        stream.nack(stream.receive(), "no")
        stream.quiet()
        server.publish(SDS, edge=f"{KEY}-2")
        assert resources(stream.settle(), SDS) == {"edge": f"{KEY}-2"}
        shown = repr(server.nodes())
        fetch: grpc.UnaryUnaryMultiCallable[bytes, bytes] = client.channel.unary_unary(f"/{CSDS}/FetchClientStatus")
        status = fetch(b"", timeout=PATIENCE)
        stream.subscribe("")
        ended = stream.end()
    assert ended.code is grpc.StatusCode.INVALID_ARGUMENT
    assert b"edge" in status
    for where in (repr(logs), shown, repr(status), ended.details):
        assert KEY not in where


def test_c42_a_private_key_never_shows_in_a_pair_or_an_error_about_it(tmp_path: Path) -> None:
    pair = CertificatePair("edge", b"chain", KEY.encode())
    assert KEY not in repr(pair)
    (tmp_path / "edge.crt").write_text(KEY)
    (tmp_path / "edge.key").write_text(KEY)
    read = read_whole(tmp_path, "edge", now=0.0)
    assert read.error is not None
    assert KEY not in repr(read)


def test_c43_a_rotation_brings_only_that_secret_and_to_every_stream_that_holds_it(server: Server, variant: str) -> None:
    server.publish(SDS, a="1", b="1")
    with ExitStack() as stack:
        both, one, other = (
            open_stream(stack.enter_context(Client(server.port)), variant, node=node) for node in ("n1", "n2", "n3")
        )
        both.ask(SDS, "a", "b")
        one.ask(SDS, "a")
        other.ask(SDS, "b")
        server.publish(SDS, a="2")
        assert [response.contents for response in both.settle()] == [{"a": "2"}]
        assert [response.contents for response in one.settle()] == [{"a": "2"}]
        other.quiet()


def test_c43_all_secrets_that_hold_one_certificate_rotate_together(
    server: Server, client: Client, variant: str
) -> None:
    edge = EdgeResources(1, timedelta(seconds=5))
    server.take(edge.secrets([CertificatePair(name, b"chain-1", b"key-1") for name in ("a", "b", "c")]))
    stream = open_stream(client, variant)
    stream.ask(SDS, "a", "b", "c")
    rotated = [CertificatePair(name, b"chain-2", b"key-2") for name in ("a", "b")]
    server.take(edge.secrets([*rotated, CertificatePair("c", b"chain-1", b"key-1")]))
    (heard,) = stream.settle()
    chains = {name: body.tls_certificate.certificate_chain.inline_bytes for name, body in heard.bodies.items()}
    assert chains == {"a": b"chain-2", "b": b"chain-2"}


def test_c44_a_missing_secret_is_said_to_be_removed_and_pushed_when_it_comes(server: Server, client: Client) -> None:
    stream = client.delta(probe=EDS)
    heard = stream.ask(SDS, "later")
    assert (heard.contents, heard.removed) == ({}, ["later"])
    server.publish(SDS, later="1")
    assert resources(stream.settle(), SDS) == {"later": "1"}


def test_c44_a_missing_secret_that_the_client_rejects_starts_no_loop(server: Server, client: Client) -> None:
    stream = client.delta(probe=EDS)
    stream.subscribe(SDS, "later")
    heard = stream.receive()
    assert heard.removed == ["later"]
    stream.nack(heard, "Unexpected SDS secret: later")
    stream.quiet()
    server.publish(SDS, other="1")
    stream.quiet()
    server.publish(SDS, later="1")
    assert resources(stream.settle(), SDS) == {"later": "1"}


def test_c44_a_removed_secret_that_the_client_rejects_starts_no_loop(server: Server, client: Client) -> None:
    server.publish(SDS, a="1")
    stream = client.delta(probe=EDS)
    stream.ask(SDS, "a")
    server.publish(SDS, a=None)
    heard = stream.receive()
    assert heard.removed == ["a"]
    stream.nack(heard, "Unexpected SDS secret: a")
    stream.quiet()
