"""GDS over HTTP: one snapshot, or a watch from a revision. Whatever goes wrong comes out as GdsError."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from xds.errors import GdsError, HistoryGone
from xds.gds.model import Snapshot, Transaction
from xds.gds.snapshot import SnapshotReader
from xds.gds.watch import Assembler, EventParser, Heartbeat


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. ``read`` is the longest silence: above the heartbeat's interval, or a quiet watch is taken for dead."""

    connect: float = 2.0
    read: float = 15.0


class GdsClient:
    """One GDS at ``url``, its base path included."""

    def __init__(self, url: str, timeouts: Timeouts | None = None) -> None:
        timeouts = timeouts or Timeouts()
        self.url = url.rstrip("/")
        # Redirects are not followed: another service's login page must not be read as a directory.
        self._http = httpx.AsyncClient(timeout=httpx.Timeout(timeouts.read, connect=timeouts.connect))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def snapshot(self) -> Snapshot:
        """The whole directory at one revision. Raises GdsError, and then nothing of it is given."""
        reader = SnapshotReader()
        async with self._get("/backends", "application/x-ndjson", {}) as response:
            async for chunk in response.aiter_bytes(1 << 18):
                reader.feed(chunk)
        return reader.finish()

    async def watch(self, epoch: str, after: int) -> AsyncIterator[Transaction | Heartbeat]:
        """What follows revision ``after``, as it comes. Ends only by raising: HistoryGone or GdsError."""
        parser, assembler = EventParser(), Assembler(epoch)
        query = {"epoch": epoch, "after": str(after)}
        async with self._get("/watch", "text/event-stream", query) as response:
            async for chunk in response.aiter_bytes():
                for event in parser.feed(chunk):
                    value = assembler.take(event)
                    if value is not None:
                        yield value
        raise GdsError(f"GDS ended the watch at {self.url}/watch")

    @asynccontextmanager
    async def _get(self, path: str, kind: str, query: dict[str, str]) -> AsyncIterator[httpx.Response]:
        url = f"{self.url}{path}"
        try:
            async with self._http.stream("GET", url, params=query, headers={"accept": kind}) as response:
                if response.status_code == httpx.codes.GONE:
                    raise HistoryGone(f"GDS no longer has the history after revision {query.get('after')}")
                if response.status_code != httpx.codes.OK:
                    raise GdsError(f"GDS answered {response.status_code} at {url}: {await _detail(response)}")
                given = response.headers.get("content-type", "").partition(";")[0].strip()
                if given != kind:
                    raise GdsError(f"GDS answered {given or 'no content type'} at {url}, not {kind}: is the URL right?")
                yield response
        except httpx.HTTPError as error:
            raise GdsError(f"GDS can't be read at {url}: {str(error) or type(error).__name__}") from error
        except httpx.InvalidURL as error:
            raise GdsError(f"GDS's address {url!r} is not a URL: {error}") from error


async def _detail(response: httpx.Response) -> str:
    """What a problem+json says, else the beginning of the body."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > 4096:
            break
    try:
        problem = json.loads(body)
        return str(problem.get("detail") or problem.get("title"))
    except (ValueError, AttributeError):
        return repr(body[:80].decode("utf-8", "replace"))
