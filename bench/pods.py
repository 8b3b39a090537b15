"""Any number of pods in one process: each answers on its own port, with its name in ``x-pod``, and costs little.

``python -m bench.pods pod1:20001 pod2:20002``. HTTP/1.1 without bodies in requests: it is for benchmarks only.
"""

from __future__ import annotations

import asyncio
import sys


class _Pod(asyncio.Protocol):
    def __init__(self, name: str) -> None:
        self._answer = f"HTTP/1.1 200 OK\r\nx-pod: {name}\r\ncontent-length: 2\r\n\r\nok".encode()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\r\n\r\n")
        self._transport.write(self._answer * len(whole))


async def _serve(pods: list[tuple[str, int]]) -> None:
    loop = asyncio.get_running_loop()
    for name, port in pods:
        await loop.create_server(lambda name=name: _Pod(name), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve([(name, int(port)) for name, _, port in (word.partition(":") for word in sys.argv[1:])]))
