"""A name server of the tests' own: one name, whatever addresses it is told."""

from __future__ import annotations

import asyncio
import ipaddress
import struct

from background import Background

_A = 1


class NameServer(asyncio.DatagramProtocol):
    """Answers on 127.0.0.1:``port`` over UDP while it is entered; ``addresses`` may be changed at any time."""

    def __init__(self, port: int, name: str, addresses: list[str]) -> None:
        self.addresses = addresses
        self.asked = 0
        self._port = port
        self._name = name
        self._loop: Background | None = None
        self._transport: asyncio.DatagramTransport | None = None

    def __enter__(self) -> NameServer:
        self._loop = Background("names")
        self._loop.call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._transport is not None:
            self._loop.soon(self._transport.close)
            self._loop.stop()

    async def _listen(self) -> None:
        where = ("127.0.0.1", self._port)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=where)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        number, flags, _, _, _, _ = struct.unpack("!6H", data[:12])
        labels, at = [], 12
        while length := data[at]:
            labels.append(data[at + 1 : at + 1 + length].decode("latin-1"))
            at += 1 + length
        (kind,) = struct.unpack("!H", data[at + 1 : at + 3])
        known = ".".join(labels).lower() == self._name
        self.asked += known
        given = self.addresses if known and kind == _A else []
        head = struct.pack("!6H", number, 0x8400 | (flags & 0x0100) | (0 if known else 3), 1, len(given), 0, 0)
        records = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", _A, 1, 0, 4) + ipaddress.IPv4Address(address).packed for address in given
        )
        self._transport.sendto(head + data[12 : at + 5] + records, addr)
