"""A client at the wire that asks for what Envoy asks for, and behaves as well or as badly as a test wants.

It reads names and versions only, so that it is cheap; grpc's synchronous API carries it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc

from xds.resources.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPE, ResourceType
from xds.resources.wire import delimited, field

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
KINDS = (CLUSTER, ENDPOINT, LISTENER, SCOPE, ROUTE)

Held = Mapping[str, Mapping[str, str]]
"""By type URL: versions by name."""


class WireEnvoy:
    """One connection with mTLS and one delta stream, open while it is entered.

    ``held``: what it says that it holds from before. ``answer``: "ack", "nack" or "" for nothing. ``reads``: False for
    one that stops reading when it has asked. ``sent``: type and name of each resource that came.
    """

    def __init__(
        self,
        folder: Path,
        where: tuple[str, int],
        node: str = "wire-1",
        *,
        held: Held | None = None,
        tables: int = 512,
        answer: str = "ack",
        reads: bool = True,
    ) -> None:
        self.versions: dict[str, dict[str, str]] = {kind.url: {} for kind in KINDS}
        self.sent: list[tuple[str, str]] = []
        self.responses = 0
        self.ended: grpc.StatusCode | None = None
        self._folder, self._where, self._node = folder, where, node
        self._held = held or {}
        self._tables = tables
        self._answer = answer
        self._reads = reads
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def __enter__(self) -> WireEnvoy:
        certs = self._folder / "certs"
        credentials = grpc.ssl_channel_credentials(
            (certs / "ca.crt").read_bytes(), (certs / "envoy.key").read_bytes(), (certs / "envoy.crt").read_bytes()
        )
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "pointsman")]
        self._channel = grpc.secure_channel(f"{self._where[0]}:{self._where[1]}", credentials, options=options)
        call = self._channel.stream_stream(METHOD)
        self._call = call(iter(self._requests.get, None))
        for kind in KINDS:
            self._ask(kind)
        if self._reads:
            self._reader = threading.Thread(target=self._read, daemon=True)
            self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self._call.cancel()
        self._channel.close()

    @property
    def complete(self) -> bool:
        """It holds something of every type."""
        return all(self.versions.values())

    def wait(self, patience: float = 30.0) -> WireEnvoy:
        """Until it holds every type and nothing has come for half a second."""
        end = time.monotonic() + patience
        while not self.complete:
            assert time.monotonic() < end, f"still without {[kind for kind, held in self.versions.items() if not held]}"
            time.sleep(0.02)
        self.quiet(end)
        return self

    def quiet(self, end: float | None = None, seconds: float = 0.5) -> None:
        end = end or time.monotonic() + 30.0
        seen, since = self.responses, time.monotonic()
        while time.monotonic() - since < seconds:
            time.sleep(0.02)
            if self.responses != seen:
                seen, since = self.responses, time.monotonic()
            assert time.monotonic() < end, "it is never quiet"

    def _ask(self, kind: ResourceType) -> None:
        held = self._held.get(kind.url, {})
        names: list[str] = []
        if kind is ROUTE:
            names = sorted(held) or [f"table-{number}" for number in range(self._tables)]
        elif kind is ENDPOINT:
            names = sorted(held) or ["pod1", "pod2", "pod3"]
        node = field(1, field(1, self._node.encode()) + field(2, b"edge")) if kind is CLUSTER else b""
        versions = b"".join(
            field(5, field(1, name.encode()) + field(2, version.encode())) for name, version in held.items()
        )
        subscribe = b"".join(field(3, name.encode()) for name in names)
        self._requests.put(node + field(2, kind.url.encode()) + subscribe + versions)

    def _read(self) -> None:
        try:
            for message in self._call:
                self._take(message)
            self.ended = grpc.StatusCode.OK
        except grpc.RpcError as error:
            self.ended = error.code()

    def _take(self, message: bytes) -> None:
        kind, nonce, versions, removed = "", b"", {}, []
        for number, value in delimited(message):
            if number == 2:
                inner = dict(delimited(value))
                versions[str(inner[3], "utf-8")] = str(inner.get(1, b""), "utf-8")
            elif number == 4:
                kind = str(value, "utf-8")
            elif number == 5:
                nonce = value
            elif number == 6:
                removed.append(str(value, "utf-8"))
        held = self.versions.setdefault(kind, {})
        held.update(versions)
        for name in removed:
            held.pop(name, None)
        self.sent += [(kind, name) for name in (*versions, *removed)]
        self.responses += 1
        if self._answer:
            error = (
                field(7, b"\x08\x0d" + field(2, b"this Envoy rejects everything")) if self._answer == "nack" else b""
            )
            self._requests.put(field(2, kind.encode()) + field(6, nonce) + error)


@contextlib.contextmanager
def held_by_all(folder: Path, where: tuple[str, int], node: str = "wire-1") -> Iterator[WireEnvoy]:
    """A well-behaved one that has got everything."""
    with WireEnvoy(folder, where, node) as client:
        yield client.wait()
