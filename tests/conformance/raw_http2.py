"""An HTTP/2 connection by hand, for what a gRPC library never does: to stop reading, to flood, to fall silent.

Nothing is read until a method says so. Streams in ``starved`` are given no window beyond their first 64 KiB.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import defaultdict

import h2.config
import h2.connection
import h2.errors
import h2.events
from xds_client import PATIENCE

DELTA_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


class RawConnection:
    """``ended`` maps a stream to its trailers; ``goaway`` and ``closed`` are of the connection."""

    def __init__(self, port: int) -> None:
        self.starved: set[int] = set()
        self.ended: dict[int, dict[str, str]] = {}
        self.goaway: h2.events.ConnectionTerminated | None = None
        self.closed = False
        self.pongs = 0
        self._buffers: defaultdict[int, bytearray] = defaultdict(bytearray)
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(2**30)  # the connection's: only streams starve
        self.flush()

    def open(self, path: str = DELTA_ADS) -> int:
        """Begins a call; returns its stream."""
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(
            stream,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "pointsman"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
            ],
        )
        self.flush()
        return stream

    def send(self, stream: int, message: bytes) -> None:
        self._h2.send_data(stream, struct.pack(">?I", False, len(message)) + message)
        self.flush()

    def cancel(self, stream: int) -> None:
        self._h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self.flush()

    def ping(self) -> None:
        self._h2.ping(b"pointsmn")
        self.flush()

    def ping_pong(self) -> None:
        """Pings, and waits for the answer."""
        pongs, end = self.pongs, time.monotonic() + PATIENCE
        self.ping()
        while self.pongs == pongs and not self.closed:
            assert time.monotonic() < end, f"no pong in {PATIENCE:.0f} s"
            self._read(end - time.monotonic())

    def feed(self, stream: int) -> None:
        """Gives a starved stream its window back: from now on it reads as others do."""
        self.starved.discard(stream)
        self._h2.increment_flow_control_window(2**30, stream)
        self.flush()

    def flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def pump(self, seconds: float) -> None:
        """Reads whatever comes in that time, or until the server closes the connection."""
        end = time.monotonic() + seconds
        while not self.closed and (left := end - time.monotonic()) > 0:
            self._read(left)

    def message(self, stream: int) -> bytes:
        """The next message of a stream."""
        buffer = self._buffers[stream]
        end = time.monotonic() + PATIENCE
        while len(buffer) < 5 or len(buffer) < 5 + struct.unpack(">I", buffer[1:5])[0]:
            assert stream not in self.ended, f"the stream ended: {self.ended[stream]}"
            assert time.monotonic() < end, f"nothing came in {PATIENCE:.0f} s"
            assert not self.closed, "the server closed the connection"
            self._read(end - time.monotonic())
        size = struct.unpack(">I", buffer[1:5])[0]
        taken = bytes(buffer[5 : 5 + size])
        del buffer[: 5 + size]
        return taken

    def trailers(self, stream: int) -> dict[str, str]:
        """How the server ends a stream."""
        end = time.monotonic() + PATIENCE
        while stream not in self.ended:
            assert time.monotonic() < end, f"the stream did not end in {PATIENCE:.0f} s"
            assert not self.closed, "the server closed the connection"
            self._read(end - time.monotonic())
        return self.ended[stream]

    def held(self, stream: int) -> int:
        """Bytes that came on a stream and weren't taken."""
        return len(self._buffers[stream])

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Drops the connection without a word."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, seconds: float) -> None:
        self._socket.settimeout(max(seconds, 0.001))
        try:
            came = self._socket.recv(65536)
        except TimeoutError:
            return
        except ConnectionResetError:
            came = b""
        finally:
            self._socket.settimeout(PATIENCE)
        if not came:
            self.closed = True
            return
        for event in self._h2.receive_data(came):
            match event:
                case h2.events.DataReceived(stream_id=stream, data=data):
                    self._buffers[stream] += data or b""
                    if stream not in self.starved and stream not in self.ended:
                        self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                case h2.events.TrailersReceived(stream_id=stream, headers=headers):
                    self.ended[stream] = {str(name): str(value) for name, value in headers or ()}
                case h2.events.ResponseReceived(stream_id=stream, headers=headers):
                    held = {str(name): str(value) for name, value in headers or ()}
                    if "grpc-status" in held:
                        self.ended[stream] = held
                case h2.events.StreamReset(stream_id=stream):
                    self.ended.setdefault(stream, {"reset": "yes"})
                case h2.events.ConnectionTerminated():
                    self.goaway = event
                case h2.events.PingAckReceived():
                    self.pongs += 1
        if not self.closed:
            self.flush()
