"""Many simulated Envoys in one process: each is an HTTP/2 connection with mTLS and one delta ADS stream that ACKs.

``python -m bench.light_envoy CERTIFICATES PORT`` takes commands, one JSON array a line, and answers each with a line:

``["connect", FIRST, COUNT]``  new Envoys, one connection each; answered when all hold every type.
``["watch"]``                  route responses are counted from now on.
``["expect", RESPONSES]``      answered when so many have come since the last ``expect`` or ``watch``.
``["drop", FIRST, COUNT]``     they go; what they held is kept, and what they will say at their return is prepared.
``["return", FIRST, COUNT, TABLES]``  they come back at once and say what they hold; answered when so many route tables
                               that changed meanwhile have come to each of them.

They ask for what Envoy asks for, in its order, and say at a return what Envoy says, each in another order, as Envoy's
hash maps do. Whoever loses its connection comes back after up to 2 s and is counted. They are cheap: frames, HPACK and
protobuf are written and read by hand, of a response only names, versions and the nonce are looked at, and what many
responses begin with is read once for all.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from xds.resources.wire import field

_TYPE = b"type.googleapis.com/"
CLUSTER, ENDPOINT, LISTENER, SECRET, SCOPE, ROUTE = (
    _TYPE + name
    for name in (
        b"envoy.config.cluster.v3.Cluster",
        b"envoy.config.endpoint.v3.ClusterLoadAssignment",
        b"envoy.config.listener.v3.Listener",
        b"envoy.extensions.transport_sockets.tls.v3.Secret",
        b"envoy.config.route.v3.ScopedRouteConfiguration",
        b"envoy.config.route.v3.RouteConfiguration",
    )
)
KINDS = (CLUSTER, ENDPOINT, LISTENER, SECRET, SCOPE, ROUTE)
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_LARGEST = (1 << 31) - 1
_REFILL = 1 << 30

Versions = dict[bytes, bytes]


class Fleet:
    """What all of them share."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        self.tls.load_cert_chain(folder / "envoy.crt", folder / "envoy.key")
        self.tls.set_alpn_protocols(["h2"])
        self.envoys: dict[int, Envoy] = {}
        self.routes = 0
        self.lost = 0
        self.moved = asyncio.Event()
        self._read: dict[bytes, tuple[bytes, Versions, Versions]] = {}

    def read(self, message: bytes) -> tuple[bytes, bytes, Versions, Versions]:
        """Type and nonce of a DeltaDiscoveryResponse, the versions by name, and the route tables that its scopes lead
        to, as the names of a dict; both dicts are shared, and not to be changed."""
        at = message.rindex(_TYPE)
        length = message[at - 1]
        rest = at + length
        nonce = message[rest + 2 : rest + 2 + message[rest + 1]]
        head = message[:rest]
        if head not in self._read:
            versions: Versions = {}
            tables: Versions = {}
            for number, value in _fields(head):
                if number == 2:
                    inner = dict(_fields(value))
                    versions[inner[3]] = inner[1]
                    if message[at:rest] == SCOPE:
                        tables[dict(_fields(dict(_fields(inner[2]))[2]))[2]] = b""
            if len(self._read) > 200:
                self._read.clear()
            self._read[head] = message[at:rest], versions, tables
        kind, versions, tables = self._read[head]
        return kind, nonce, versions, tables

    async def until(self, done: Callable[[], bool]) -> None:
        while not done():
            self.moved.clear()
            await self.moved.wait()


class Envoy(asyncio.Protocol):
    """One of them. ``held``: versions by name, by type."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.held: dict[bytes, list[Versions]] = {kind: [] for kind in KINDS}
        self.prepared = b""
        self.fresh_routes = 0
        self._tables: set[bytes] = set()
        self.dropped = False
        self._fleet = fleet
        self._number = number

    async def connect(self) -> None:
        if not self.prepared:
            self.held, self._tables = {kind: [] for kind in KINDS}, set()
        self._in = bytearray()
        self._message = bytearray()
        self._out: list[bytes] = []
        self._window, self._stream_window, self._initial = 65535, 65535, 65535
        self._received = 0
        self._waiting = set(KINDS)
        self.fresh_routes = 0
        self.dropped = False
        where, tls = ("127.0.0.1", self._fleet.port), self._fleet.tls
        while True:
            try:
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: self, *where, ssl=tls, server_hostname="pointsman")
                return
            except OSError:
                self._fleet.lost += 1
                await asyncio.sleep(random.uniform(0.1, 2.0))

    @property
    def complete(self) -> bool:
        return not self._waiting

    def drop(self) -> None:
        self.dropped = True
        self._transport.abort()

    def prepare(self, chance: random.Random) -> None:
        """Makes what it says when it comes back."""
        said = []
        for kind in KINDS:
            held: Versions = {}
            for part in self.held[kind]:
                held.update(part)
            self.held[kind] = [held]
            entries = [field(5, field(1, name) + field(2, version)) for name, version in held.items()]
            chance.shuffle(entries)
            names = [] if kind in (CLUSTER, LISTENER, SCOPE) else sorted(held)
            subscribe = b"".join(field(3, name) for name in names)
            said.append(_grpc(self._node(kind) + field(2, kind) + subscribe + b"".join(entries)))
        self.prepared = b"".join(said)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        settings = struct.pack("!HIHI", 4, _LARGEST, 5, (1 << 24) - 1)
        transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW, 0, 0, struct.pack("!I", _LARGEST - 65535))
            + _frame(_HEADERS, 4, 1, _HEAD)
        )
        if self.prepared:
            self._send(self.prepared)
        else:
            self._send(_grpc(self._node(CLUSTER) + field(2, CLUSTER)) + _grpc(field(2, LISTENER)))

    def data_received(self, data: bytes) -> None:
        held = self._in
        held += data
        at, end = 0, len(held)
        while end - at >= 9:
            length = held[at] << 16 | held[at + 1] << 8 | held[at + 2]
            if end - at < 9 + length:
                break
            self._frame(held[at + 3], held[at + 4], held[at + 5 : at + 9], held[at + 9 : at + 9 + length])
            at += 9 + length
        del held[:at]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.dropped:
            self._fleet.lost += 1
            print(f"light_envoy: {self._number} lost its connection: {error}", file=sys.stderr, flush=True)
            self._again = asyncio.get_running_loop().create_task(self.connect())

    def _frame(self, kind: int, flags: int, stream: bytearray, body: bytearray) -> None:
        match kind:
            case 0:  # DATA
                self._received += len(body)
                if self._received > _REFILL:
                    refill = struct.pack("!I", self._received)
                    self._transport.write(_frame(_WINDOW, 0, 0, refill) + _frame(_WINDOW, 0, 1, refill))
                    self._received = 0
                self._message += body
                self._messages()
            case 4 if not flags & 1:  # SETTINGS
                for at in range(0, len(body), 6):
                    name, value = struct.unpack_from("!HI", body, at)
                    if name == 4:
                        self._stream_window += value - self._initial
                        self._initial = value
                self._transport.write(_frame(_SETTINGS, 1, 0, b""))
                self._flush()
            case 6 if not flags & 1:  # PING
                self._transport.write(_frame(_PING, 1, 0, bytes(body)))
            case 8:  # WINDOW_UPDATE
                (more,) = struct.unpack("!I", body)
                if stream == b"\0\0\0\0":
                    self._window += more
                else:
                    self._stream_window += more
                self._flush()
            case 1 if flags & 1:  # HEADERS that end the stream
                print(f"light_envoy: {self._number}: the stream ended: {bytes(body)!r}", file=sys.stderr, flush=True)
                self._transport.abort()
            case 3 | 7:  # RST_STREAM, GOAWAY
                self._transport.abort()

    def _messages(self) -> None:
        held = self._message
        while len(held) >= 5:
            end = 5 + int.from_bytes(held[1:5], "big")
            if len(held) < end:
                return
            message = bytes(held[5:end])
            del held[:end]
            self._take(*self._fleet.read(message))

    def _take(self, kind: bytes, nonce: bytes, versions: Versions, tables: Versions) -> None:
        said = _grpc(field(2, kind) + field(6, nonce))
        if kind == CLUSTER and not self.held[ENDPOINT]:
            said += self._subscribe(ENDPOINT, versions)
        elif kind == LISTENER and not self.held[SCOPE]:
            said += self._subscribe(SECRET, {b"edge": b""}) + _grpc(field(2, SCOPE))
        elif kind == SCOPE and (new := tables.keys() - self._tables):
            self._tables |= new
            said += self._subscribe(ROUTE, dict.fromkeys(new, b""))
        elif kind == ROUTE:
            self._fleet.routes += 1
            self.fresh_routes += len(versions)
            self._fleet.moved.set()
        self.held[kind].append(versions)
        if self._waiting:
            if kind != ROUTE or sum(map(len, self.held[ROUTE])) >= len(self._tables):
                self._waiting.discard(kind)
            if not self._waiting:
                self._fleet.moved.set()
        self._send(said)

    def _subscribe(self, kind: bytes, names: Versions) -> bytes:
        return _grpc(field(2, kind) + b"".join(field(3, name) for name in names))

    def _node(self, kind: bytes) -> bytes:
        """Of the first message only."""
        if kind != CLUSTER:
            return b""
        node = field(1, b"light-%d" % self._number) + field(2, b"edge") + field(6, b"light")
        return field(1, node)

    def _send(self, messages: bytes) -> None:
        self._out += [messages[at : at + 16384] for at in range(0, len(messages), 16384)]
        self._flush()

    def _flush(self) -> None:
        going = []
        while self._out and len(self._out[0]) <= min(self._window, self._stream_window):
            part = self._out.pop(0)
            self._window -= len(part)
            self._stream_window -= len(part)
            going.append(_frame(_DATA, 0, 1, part))
        if going:
            self._transport.write(b"".join(going))


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(message):
        number = message[at] >> 3
        size = shift = 0
        while True:
            at += 1
            size |= (message[at] & 0x7F) << shift
            shift += 7
            if message[at] < 0x80:
                break
        at += 1
        yield number, message[at : at + size]
        at += size


def _grpc(message: bytes) -> bytes:
    return b"\0" + struct.pack("!I", len(message)) + message


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack("!I", len(body))[1:] + bytes((kind, flags)) + struct.pack("!I", stream) + body


def _literal(name: bytes, value: bytes) -> bytes:
    """HPACK: a literal that nobody keeps, without Huffman's code."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


_HEAD = b"\x83\x87" + b"".join(  # POST, https
    _literal(name, value)
    for name, value in (
        (b":path", b"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"),
        (b":authority", b"pointsman"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)


async def _command(fleet: Fleet, words: list[object]) -> dict[str, object]:
    what, *numbers = words
    first, count, *more = [int(str(number)) for number in [*numbers, 0, 0]]
    some = range(first, first + count)
    began = time.monotonic()
    match what:
        case "watch":
            fleet.routes = 0
        case "expect":
            await fleet.until(lambda: fleet.routes >= first)
            fleet.routes = 0
        case "connect":
            for number in some:
                fleet.envoys[number] = Envoy(fleet, number)
            await asyncio.gather(*(fleet.envoys[number].connect() for number in some))
            await fleet.until(lambda: all(fleet.envoys[number].complete for number in some))
        case "drop":
            for number in some:
                fleet.envoys[number].drop()
            for number in some:
                fleet.envoys[number].prepare(random.Random(number))
                await asyncio.sleep(0)  # those that stay must answer pings
        case "return":
            tasks = [asyncio.create_task(fleet.envoys[number].connect()) for number in some]
            times = []
            late = set(some)
            while late:
                await asyncio.sleep(0.005)
                now = [
                    number
                    for number in late
                    if tasks[number - first].done() and fleet.envoys[number].fresh_routes >= more[0]
                ]
                late.difference_update(now)
                times += [time.monotonic() - began] * len(now)
            await asyncio.gather(*tasks)
            return {"t": time.monotonic(), "seconds": times[-1], "half": times[len(times) // 2], "lost": fleet.lost}
    return {"t": time.monotonic(), "seconds": time.monotonic() - began, "lost": fleet.lost}


async def main() -> None:
    fleet = Fleet(Path(sys.argv[1]), int(sys.argv[2]))
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        print(json.dumps(await _command(fleet, json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
