"""The oldest GDS, for measuring: ``GET /backend/{host}`` and nothing else, as slow as it is told to be, and it counts.

``python -m bench.one_call_gds PORT BASE FILE``: the file has a host and its pod in each line. Besides, for who
measures: ``GET /control/delay/SECONDS``, ``/control/move/HOST/POD``, and ``/control/asked``, how often it was asked
since that was last asked.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path


class _Gds:
    def __init__(self, base: str, homes: dict[str, str]) -> None:
        self.prefix = f"{base}/backend/"
        self.homes = homes
        self.delay = 0.0
        self.asked = 0

    def answer(self, path: str) -> tuple[int, str]:
        if path.startswith(self.prefix):
            self.asked += 1
            pod = self.homes.get(path.removeprefix(self.prefix).lower())
            return (200, pod) if pod else (404, "unknown")
        match path.split("/")[1:]:
            case ["control", "delay", seconds]:
                self.delay = float(seconds)
                return 200, "ok"
            case ["control", "move", host, pod]:
                self.homes[host] = pod
                return 200, "ok"
            case ["control", "asked"]:
                asked, self.asked = self.asked, 0
                return 200, str(asked)
        return 404, "no such path"


class _Connection(asyncio.Protocol):
    """HTTP/1.0 and 1.1, requests one after the other, as both proxies send them."""

    def __init__(self, gds: _Gds) -> None:
        self._gds = gds
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for request in whole:
            _, path, version = request.split(b"\r\n", 1)[0].decode().split(" ")
            status, body = self._gds.answer(path)
            head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not Found'}\r\ncontent-type: text/plain\r\n"
            close = version == "HTTP/1.0"
            ending = "connection: close\r\n\r\n" if close else "\r\n"
            made = f"{head}content-length: {len(body)}\r\n{ending}{body}".encode()
            if self._gds.delay and not path.startswith("/control/"):
                asyncio.get_running_loop().call_later(self._gds.delay, self._write, made, close)
            else:
                self._write(made, close)

    def _write(self, answer: bytes, close: bool) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)
            if close:
                self._transport.close()


async def _serve(port: int, gds: _Gds) -> None:
    await asyncio.get_running_loop().create_server(lambda: _Connection(gds), "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    lines = Path(sys.argv[3]).read_text().splitlines()
    asyncio.run(_serve(int(sys.argv[1]), _Gds(sys.argv[2], dict(line.split(" ") for line in lines))))
