"""Who may connect, over real sockets with real certificates: who is refused is told why, logged and counted."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.data.accesslog.v3 import HttpAccessLogEntry, HttpRequestProperties
from envoy_data_plane.envoy.service.accesslog.v3 import (
    StreamAccessLogsMessage,
    StreamAccessLogsMessageHttpAccessLogEntries,
)
from envoy_data_plane.envoy.service.auth.v3 import (
    AttributeContext,
    AttributeContextHttpRequest,
    AttributeContextRequest,
    CheckRequest,
)
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from structlog.testing import capture_logs

from demo.certificates import Authority
from xds.cache import Cache
from xds.resources.types import CLUSTER, resource
from xds.server.access import Access, Rule, rule
from xds.server.access_log import SERVICE as LOGS
from xds.server.authorization import SERVICE as AUTHORIZATION
from xds.server.credentials import mtls
from xds.server.handshakes import Handshakes
from xds.server.refusals import Refusals
from xds.server.revocation import Revocations
from xds.server.xds import XdsServer
from xds.unknown_hosts import UnknownHosts

PATIENCE = 20.0
HOST = "127.0.0.1"
ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])

Log = list[MutableMapping[str, Any]]


class Pki:
    """The folder of a server with its CA; clients' certificates are made in it as well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority("right CA")
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(self.authority.certificate.public_bytes(Encoding.PEM))
        self.crl = folder / "ca.crl"
        self.renew()
        self.authority.revoke(self.crl)

    def renew(self, authority: Authority | None = None) -> x509.Certificate:
        """A new pair for the server."""
        made = authority or self.authority
        return made.issue(self.folder, "server", ("pointsman", HOST), ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, name: str, authority: Authority | None = None, **options: Any) -> x509.Certificate:
        usage = options.pop("usage", ExtendedKeyUsageOID.CLIENT_AUTH)
        return (authority or self.authority).issue(self.folder, name, (name,), usage, **options)

    def credentials(self, name: str) -> grpc.ChannelCredentials:
        ca, key, chain = (self.folder / file for file in ("ca.crt", f"{name}.key", f"{name}.crt"))
        return grpc.ssl_channel_credentials(ca.read_bytes(), key.read_bytes(), chain.read_bytes())

    def context(self, name: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        context.set_alpn_protocols(["h2"])
        if name is not None:
            context.load_cert_chain(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        return context


class Server:
    """The real one, with one cluster from the start; `change` publishes another."""

    def __init__(self, access: Access, pki: Pki, patience: float) -> None:
        self.refusals = Refusals()
        self.handshakes = Handshakes(self.refusals, patience=patience)
        self.credentials = mtls(pki.folder / "server.crt", pki.folder / "server.key", pki.ca, self.handshakes.begun)
        self.cache = Cache()
        self.unknown_hosts = UnknownHosts(10)
        self.asked: list[str] = []
        self.xds = XdsServer(
            self.cache,
            access=access,
            refusals=self.refusals,
            handshakes=self.handshakes,
            unknown_hosts=self.unknown_hosts,
            where=self._where,
        )
        self.port = 0
        self._clusters = 0

    @property
    def refused(self) -> dict[str, int]:
        """What is not zero."""
        return {kind: count for kind, count in self.refusals.counts.items() if count}

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Server]:
        self.change()
        self.xds.open_gate()
        async with self.xds.listening(HOST, 0, self.credentials) as self.port:
            yield self

    async def _where(self, host: str, client: str) -> str | None:
        self.asked.append(host)
        return "pod1"

    def change(self) -> str:
        """The name of a new cluster."""
        self._clusters += 1
        name = f"cluster-{self._clusters}"
        self.cache.publish({CLUSTER: {name: resource(CLUSTER, name, bytes(Cluster(name=name)))}})
        return name


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Server]]


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


@pytest.fixture
def serve(pki: Pki) -> Serve:
    def made(*rules: Rule, patience: float = 10.0) -> contextlib.AbstractAsyncContextManager[Server]:
        access = Access(rules, revocations=Revocations([pki.crl], pki.ca))
        return Server(access, pki, patience).listening()

    return made


@pytest.fixture
def logs() -> Iterator[Log]:
    with capture_logs() as captured:
        yield captured


class Stream:
    """A client's delta stream that said who it is, and asked for all clusters."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def hears(self, name: str) -> None:
        async with asyncio.timeout(PATIENCE):
            raw = await self._call.read()
            assert isinstance(raw, bytes), (await self._call.code(), await self._call.details())
            response = DeltaDiscoveryResponse.parse(raw)
            assert name in [each.name for each in response.resources]
            await self._call.write(bytes(DeltaDiscoveryRequest(type_url=CLUSTER.url, response_nonce=response.nonce)))

    async def end(self) -> tuple[grpc.StatusCode, str]:
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(grpc.aio.AioRpcError):
                while await self._call.read() is not grpc.aio.EOF:
                    pass
            return await self._call.code(), await self._call.details()


def channel(server: Server, pki: Pki, name: str) -> Any:
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(f"{HOST}:{server.port}", pki.credentials(name), options=options)


@contextlib.asynccontextmanager
async def connected(
    server: Server, pki: Pki, name: str, node: str = "edge-1", cluster: str = "edge"
) -> AsyncIterator[Stream]:
    async with channel(server, pki, name) as opened:
        call = opened.stream_stream(f"/{ADS}/DeltaAggregatedResources")()
        first = DeltaDiscoveryRequest(node=Node(id=node, cluster=cluster), type_url=CLUSTER.url)
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await call.write(bytes(first))
        yield Stream(call)


async def until(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, f"not within {PATIENCE:.0f} s: {what}"
        await asyncio.sleep(0.05)


async def settled() -> None:
    """Long enough for everything that is refused to be noticed."""
    await asyncio.sleep(3)


def knock(server: Server, context: ssl.SSLContext | None) -> str:
    """Tries to speak HTTP/2, with TLS or without, and waits for the server to hang up. Returns where from, as gRPC
    writes it."""
    with socket.create_connection((HOST, server.port), timeout=PATIENCE) as plain:
        source = f"ipv4:{HOST}:{plain.getsockname()[1]}"
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            sock = plain if context is None else context.wrap_socket(plain, server_hostname="pointsman")
            with sock:
                sock.sendall(PREFACE)
                assert sock.recv(1) == b"", "the server talks to us"
    return source


def refused(logs: Log) -> Log:
    return [each for each in logs if each["event"] == "xds.refused"]


async def test_a_certificate_of_the_client_ca_is_let_in_and_nothing_is_refused(
    serve: Serve, pki: Pki, logs: Log
) -> None:
    pki.client("edge-1.example.com")
    async with serve() as server, connected(server, pki, "edge-1.example.com") as stream:
        await stream.hears("cluster-1")
        await settled()
        assert server.refused == {}
        assert server.handshakes.begun_total == 1
    assert refused(logs) == []


@pytest.mark.parametrize("who", ["foreign", "same-name", "expired", "server", "none", "plaintext"])
async def test_who_has_no_right_certificate_is_refused_logged_once_with_its_peer_and_counted(
    serve: Serve, pki: Pki, logs: Log, who: str
) -> None:
    if who == "foreign":
        pki.client(who, Authority("foreign CA"))
    elif who == "same-name":
        pki.client(who, Authority("right CA"))
    elif who == "expired":
        pki.client(who, days=-0.01)
    elif who == "server":
        pki.client(who, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    bare = {"none": pki.context(None), "plaintext": None}
    async with serve() as server:
        peer = await asyncio.to_thread(knock, server, bare[who] if who in bare else pki.context(who))
        await until(lambda: server.refusals.counts["handshake"] > 0, "it is counted")
        await settled()
        assert server.refused == {"handshake": 1}
    (line,) = refused(logs)
    assert line["peer"] == peer
    assert line["kind"] == "handshake"
    assert line["log_level"] == "warning"
    assert "TLS handshake was not completed" in line["reason"]


async def test_one_that_tries_again_and_again_is_counted_each_time_and_logged_once(
    serve: Serve, pki: Pki, logs: Log
) -> None:
    async with serve() as server:
        for _ in range(5):
            await asyncio.to_thread(knock, server, None)
        await until(lambda: server.refusals.counts["handshake"] == 5, "all are counted")
    assert len(refused(logs)) == 1


async def test_connections_that_make_one_short_call_are_never_refused(serve: Serve, pki: Pki, logs: Log) -> None:
    pki.client("edge-1")
    reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    async with serve() as server:
        for _ in range(5):
            async with connected(server, pki, "edge-1") as stream:
                await stream.hears("cluster-1")
            async with channel(server, pki, "edge-1") as opened:
                assert await opened.unary_unary("/grpc.health.v1.Health/Check")(b"") == b"\x08\x01"
            async with channel(server, pki, "edge-1") as opened:
                answers = opened.stream_stream(reflection)(iter([b":\x00"]))  # list_services
                assert [b"grpc.health.v1.Health" in each async for each in answers] == [True]
            async with channel(server, pki, "edge-1") as opened:
                assert await opened.unary_unary("/no/Such")(b"").code() is grpc.StatusCode.UNIMPLEMENTED
        await settled()
        assert server.refused == {}
        assert server.handshakes.begun_total == 20
    assert refused(logs) == []


async def test_one_that_connects_and_stays_silent_is_refused_once(serve: Serve, pki: Pki, logs: Log) -> None:
    async with serve(patience=2.0) as server:
        with socket.create_connection((HOST, server.port)):
            await until(lambda: server.refusals.counts["handshake"] == 1, "it is counted")
            await settled()
        await settled()
        assert server.refusals.counts["handshake"] == 1
    (line,) = refused(logs)
    assert "no call came within 2 s" in line["reason"]


async def test_a_revoked_certificate_ends_its_open_streams_and_is_refused_when_it_comes_again(
    serve: Serve, pki: Pki, logs: Log
) -> None:
    certificate = pki.client("edge-1")
    pki.client("edge-2")
    async with serve() as server, connected(server, pki, "edge-1") as bad, connected(server, pki, "edge-2") as good:
        await bad.hears("cluster-1")
        await good.hears("cluster-1")
        pki.authority.revoke(pki.crl, certificate.serial_number)
        status, words = await bad.end()
        assert status is grpc.StatusCode.UNAUTHENTICATED
        assert "edge-1 is revoked" in words
        async with connected(server, pki, "edge-1") as again:
            assert (await again.end())[0] is grpc.StatusCode.UNAUTHENTICATED
        await good.hears(server.change())
        assert server.refused == {"revoked": 2}
    (line,) = refused(logs)
    assert line["peer"].startswith(f"ipv4:{HOST}:")
    assert line["identity"] == "edge-1"


async def test_what_a_revoked_certificate_logs_on_an_open_stream_is_not_read(serve: Serve, pki: Pki) -> None:
    certificate = pki.client("edge-1")
    entry = HttpAccessLogEntry(request=HttpRequestProperties(authority="nobody.example.com"))
    entries = StreamAccessLogsMessageHttpAccessLogEntries(log_entry=[entry])
    message = bytes(StreamAccessLogsMessage(http_logs=entries))
    async with serve() as server, channel(server, pki, "edge-1") as opened:
        call = opened.stream_unary(f"/{LOGS}/StreamAccessLogs")()
        await call.write(message)
        await until(lambda: server.unknown_hosts.requests == 1, "it is read")
        pki.authority.revoke(pki.crl, certificate.serial_number)
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            async with asyncio.timeout(PATIENCE):
                while not call.done():
                    await call.write(message)
                    await asyncio.sleep(0.5)
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_only_whom_a_rule_is_for_may_have_gds_asked_for_a_host(serve: Serve, pki: Pki) -> None:
    request = AttributeContextRequest(http=AttributeContextHttpRequest(host="acme.test"))
    question = bytes(CheckRequest(attributes=AttributeContext(request=request)))
    pki.client("edge-1.example.com")
    pki.client("other.example.com")
    revoked = pki.client("edge-2.example.com")
    pki.authority.revoke(pki.crl, revoked.serial_number)
    async with serve(rule("edge-*.example.com", node="edge-{1}")) as server:
        for name, status in (
            ("other.example.com", grpc.StatusCode.PERMISSION_DENIED),
            ("edge-2.example.com", grpc.StatusCode.UNAUTHENTICATED),
        ):
            async with channel(server, pki, name) as opened:
                with pytest.raises(grpc.aio.AioRpcError) as denied:
                    await opened.unary_unary(f"/{AUTHORIZATION}/Check")(question, timeout=PATIENCE)
            assert denied.value.code() is status
        assert server.asked == []
        async with channel(server, pki, "edge-1.example.com") as opened:
            await opened.unary_unary(f"/{AUTHORIZATION}/Check")(question, timeout=PATIENCE)
        assert server.asked == ["acme.test"]


async def test_a_claim_that_is_not_allowed_is_refused_with_words(serve: Serve, pki: Pki, logs: Log) -> None:
    pki.client("edge-1.example.com")
    async with serve(rule("edge-*.example.com", node="edge-{1}", cluster="edge")) as server:
        async with connected(server, pki, "edge-1.example.com") as stream:
            await stream.hears("cluster-1")
        for claim in ({"node": "edge-2"}, {"cluster": "core"}):
            async with connected(server, pki, "edge-1.example.com", **claim) as stream:
                status, words = await stream.end()
            assert status is grpc.StatusCode.PERMISSION_DENIED
            assert "'edge-1.example.com' may not claim node" in words
        assert server.refused == {"claim": 2}
    (line,) = refused(logs)
    assert line["identity"] == "edge-1.example.com"
    assert "'edge-2'" in line["reason"]


def presented(server: Server, pki: Pki, name: str) -> int:
    """The serial number of the certificate that the server shows to a new connection."""
    context = pki.context(name)
    with (
        socket.create_connection((HOST, server.port), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="pointsman") as tls,
    ):
        shown = tls.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number


async def test_a_new_pair_is_shown_to_new_connections_and_open_streams_live_on(
    serve: Serve, pki: Pki, logs: Log
) -> None:
    pki.client("edge-1")
    async with serve() as server, connected(server, pki, "edge-1") as stream:
        await stream.hears("cluster-1")
        for _ in range(3):
            made = pki.renew()
            assert await asyncio.to_thread(presented, server, pki, "edge-1") == made.serial_number
            await stream.hears(server.change())
    assert [each["event"] for each in logs].count("xds.certificate") == 3


@pytest.mark.parametrize("file", ["server.crt", "server.key", "ca.crt"])
async def test_a_file_that_cannot_be_used_is_logged_once_and_the_pair_before_is_shown(
    serve: Serve, pki: Pki, logs: Log, file: str
) -> None:
    pki.client("edge-1")
    context_of = pki.context("edge-1")
    pki.context = lambda name: context_of  # type: ignore[method-assign]  # the client's files are as they were
    async with serve() as server:
        before = await asyncio.to_thread(presented, server, pki, "edge-1")
        (pki.folder / file).write_bytes(b"nonsense")
        for _ in range(4):
            assert await asyncio.to_thread(presented, server, pki, "edge-1") == before
        errors = [each for each in logs if each["event"] == "xds.certificate"]
        assert len(errors) == 1
        assert file in errors[0]["reason"]
        assert "nonsense" not in str(errors)


async def test_when_the_client_ca_changes_new_connections_need_its_certificates(
    serve: Serve, pki: Pki, logs: Log
) -> None:
    pki.client("old")
    new = Authority("new CA")
    trusting = pki.context("old")
    async with serve() as server, connected(server, pki, "old") as stream:
        await stream.hears("cluster-1")
        pki.ca.write_bytes(new.certificate.public_bytes(Encoding.PEM))
        await asyncio.to_thread(knock, server, trusting)
        await until(lambda: server.refusals.counts["handshake"] == 1, "the old one is refused")
        await stream.hears(server.change())
        pki.client("new", new)
        pki.renew(new)
        async with connected(server, pki, "new") as second:
            await second.hears("cluster-1")


async def test_many_connections_at_once_are_let_in_and_a_foreign_one_among_them_is_seen(
    serve: Serve, pki: Pki, logs: Log
) -> None:
    pki.client("edge-1")
    async with serve() as server, contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(connected(server, pki, "edge-1")) for _ in range(50)]
        for stream in streams:
            await stream.hears("cluster-1")
        await settled()
        peer = await asyncio.to_thread(knock, server, None)
        await until(lambda: server.refusals.counts["handshake"] > 0, "it is seen")
        assert server.refusals.counts["handshake"] == 1
    assert [each["peer"] for each in refused(logs)] == [peer]
