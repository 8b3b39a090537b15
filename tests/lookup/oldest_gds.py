"""The oldest GDS: before the real one, with nothing but ``GET /backend/{host}``; slow or away when it is told so."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter

import httpx
from background import Background

BASE = "/rest/private/gds"
_CALL = f"GET {BASE}/backend/"


class OldestGds:
    """Listens on ``port`` while it is entered, and asks the GDS at ``behind``, a URL with its base path.

    ``asked``: how often each host was; ``refused``: the calls that such a GDS doesn't have. ``delay``: seconds before
    each answer. ``broken``: each call is answered 500. ``says``: answers that don't come from behind: a pod, None for
    nobody. ``took``: seconds that each answer took.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.behind = ""
        self.asked: Counter[str] = Counter()
        self.refused: list[str] = []
        self.delay = 0.0
        self._held: dict[str, asyncio.Event] = {}
        self.broken = False
        self.says: dict[str, str | None] = {}
        self.took: list[float] = []
        self._loop: Background | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._there = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{BASE}"

    def __enter__(self) -> OldestGds:
        self._loop = Background("oldest gds")
        self._client = httpx.AsyncClient(trust_env=False, timeout=10)
        self.come()
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            self.go()
            self._loop.call(self._client.aclose())
            self._loop.stop()

    def come(self) -> None:
        assert self._loop
        self._there = True
        self._server = self._loop.call(asyncio.start_server(self._serve, "127.0.0.1", self.port))

    def go(self) -> None:
        """Nobody listens there any more, and open connections are cut."""
        assert self._loop
        self._loop.call(self._gone())

    def hold(self, host: str) -> None:
        """What is asked for it from now on isn't answered before `let_go`."""
        self._held[host] = asyncio.Event()

    def let_go(self) -> None:
        assert self._loop
        while self._held:
            self._loop.loop.call_soon_threadsafe(self._held.popitem()[1].set)

    async def _gone(self) -> None:
        self._there = False
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in [*self._open]:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._there:
            writer.transport.abort()  # it was accepted just before it went
            return
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    first = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].decode()
                    begun = time.monotonic()
                    status, body = await self._answer(first)
                    head = f"HTTP/1.1 {status} -\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n\r\n"
                    writer.write(head.encode() + body)
                    await writer.drain()
                    self.took.append(time.monotonic() - begun)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, first: str) -> tuple[int, bytes]:
        if not first.startswith(_CALL):
            self.refused.append(first)
            return 404, b"no such call"
        host = first.removeprefix(_CALL).partition(" ")[0]
        self.asked[host] += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        if host in self._held:
            await self._held[host].wait()
        if self.broken:
            return 500, b"broken"
        if host in self.says:
            pod = self.says[host]
            return (200, pod.encode()) if pod else (404, b"")
        answer = await self._client.get(f"{self.behind}/backend/{host}")
        return answer.status_code, answer.content
