"""A steady load of requests over TLS: on kept connections and on new ones, every answer checked for the right pod."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from background import Background
from whereabouts import Whereabouts

PATIENCE = 10.0
"""Seconds until a request that isn't answered has failed."""
LATE = 1.0
"""Seconds that no request takes which waits for nothing, on a busy machine either."""


@dataclass
class Count:
    """``failed`` and ``misrouted`` hold a line for each; ``slowest`` is in seconds. ``reopened``: kept connections
    that Envoy had closed between two requests, which any client then asks again on a new one. ``late``: that took
    longer than `LATE`."""

    asked: int = 0
    connections: int = 0
    reopened: int = 0
    slowest: float = 0.0
    late: int = 0
    failed: list[str] = field(default_factory=list)
    misrouted: list[str] = field(default_factory=list)


class _Closed(Exception):
    """The connection ended before a byte of the answer."""


ENOUGH = 200
"""Requests that a load makes before it ends, so that they prove something."""


class Load:
    """Asks the edge at ``port`` for ``where.domains`` in random order, ``rate`` times a second, while it is entered."""

    def __init__(
        self,
        port: int,
        tls: ssl.SSLContext,
        where: Whereabouts,
        *,
        rate: float = 150.0,
        workers: int = 8,
        seed: int = 0,
    ) -> None:
        self.count = Count()
        self.where = where
        self._port = port
        self._tls = tls
        self._pause = workers / rate
        self._workers = workers
        self._seed = seed
        self._loop: Background | None = None

    def __enter__(self) -> Load:
        self._loop = Background("load")
        for number in range(self._workers):
            work = self._work(random.Random(self._seed * 1000 + number))
            asyncio.run_coroutine_threadsafe(work, self._loop.loop)
        return self

    def __exit__(self, error: object, *_: object) -> None:
        end = time.monotonic() + 30
        while error is None and self.count.asked < ENOUGH and time.monotonic() < end:
            time.sleep(0.02)  # a quick test, or a slow machine
        if self._loop is not None:
            self._loop.stop()
            self._loop = None

    def wait(self, more: int, patience: float = 60.0) -> None:
        """Until so many requests more have been answered."""
        end, goal = time.monotonic() + patience, self.count.asked + more
        while self.count.asked < goal:
            assert time.monotonic() < end, f"only {self.count.asked} of {goal} requests in {patience:.0f} s"
            time.sleep(0.02)

    def prove(self, at_least: int = 100) -> None:
        """No request failed, and none was answered by a wrong pod."""
        count = self.count
        assert not count.failed, f"{len(count.failed)} of {count.asked} failed: {count.failed[:5]}"
        assert not count.misrouted, f"{len(count.misrouted)} of {count.asked} misrouted: {count.misrouted[:5]}"
        assert count.asked >= at_least, f"only {count.asked} requests: they prove too little"
        assert count.connections > count.asked / 20, "too few of them were on new connections"

    async def _work(self, chance: random.Random) -> None:
        kept: _Connection | None = None
        domains = self.where.domains
        await asyncio.sleep(chance.random() * self._pause)
        try:
            while True:
                due = time.monotonic() + self._pause * (0.5 + chance.random())
                if kept is not None and chance.random() < 0.2:
                    kept.close()
                    kept = None
                kept = await self._ask(chance.choice(domains), kept)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            if kept is not None:
                kept.close()

    async def _ask(self, domain: str, kept: _Connection | None) -> _Connection | None:
        """The connection, if it may be kept."""
        count, began = self.count, time.monotonic()
        connection = kept
        try:
            async with asyncio.timeout(PATIENCE):
                try:
                    connection = connection or await self._connect()
                    status, pod, keep = await connection.get(domain)
                except _Closed:
                    if kept is None:
                        raise
                    kept.close()
                    count.reopened += 1
                    connection = await self._connect()
                    status, pod, keep = await connection.get(domain)
        except (OSError, ValueError, TimeoutError, EOFError, _Closed) as error:
            count.asked += 1
            count.failed.append(f"{_now()} {domain}: {type(error).__name__} {error}")
            if connection is not None:
                connection.close()
            return None
        ended = time.monotonic()
        count.asked += 1
        count.slowest = max(count.slowest, ended - began)
        count.late += ended - began > LATE
        if status != 200:
            count.failed.append(f"{_now()} {domain}: status {status}")
        elif (wrong := self.where.judge(domain, pod, began, ended)) is not None:
            count.misrouted.append(f"{_now()} {wrong}")
        if keep:
            return connection
        connection.close()
        return None

    async def _connect(self) -> _Connection:
        self.count.connections += 1
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._tls, server_hostname="edge.example.com"
        )
        return _Connection(reader, writer)


class _Connection:
    """HTTP/1.1, as far as Envoy and the demo's pods speak it: answers with a length."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._writer.transport.abort()

    async def get(self, host: str) -> tuple[int, str, bool]:
        """The status, the pod that answered, and whether the connection may be kept. Raises _Closed."""
        try:
            self._writer.write(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            raise _Closed("closed before the answer") from None
        except ConnectionError as error:
            raise _Closed(str(error)) from None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(_headers(lines))
        await self._reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split(" ")[1]), headers.get("x-pod", ""), headers.get("connection", "").lower() != "close"


def _headers(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            yield name.lower(), value.strip()


def _now() -> str:
    return f"{time.monotonic():.3f}"
