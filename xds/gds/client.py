"""GDS over HTTP: one snapshot, or a watch from a revision. Whatever goes wrong comes out as GdsError."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import structlog

from xds.errors import CertificateError, GdsError, HistoryGone, PointsmanError
from xds.gds.entry import JSON, MOST, Entry, Unreadable, entry_of
from xds.gds.model import Snapshot, Transaction
from xds.gds.snapshot import SnapshotReader
from xds.gds.watch import Assembler, EventParser, Heartbeat

log = structlog.get_logger()

ANSWER = 2.0
"""Seconds that GDS has to answer for one host: somebody looks at a page, or waits for a command."""
_ENTRIES = 8
"""Hosts that GDS is asked for at a time: whoever may read may ask for many."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What GDS knows us by, and we it: a CA, a client certificate with its key, a file with a bearer token."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. ``read`` is the longest silence: above the heartbeat's interval, or a quiet watch is taken for dead."""

    connect: float = 2.0
    read: float = 15.0


class GdsClient:
    """One GDS at ``url``, its base path included. Raises CertificateError when a file can't be used.

    ``shown`` is the URL without user and password: for logs and errors.
    """

    def __init__(self, url: str, timeouts: Timeouts | None = None, credentials: Credentials | None = None) -> None:
        timeouts = timeouts or Timeouts()
        self._credentials = credentials or Credentials()
        self._url = url.rstrip("/")
        self.shown = without_user(self._url)
        token_header(self._credentials.token_file)
        self._entries = asyncio.Semaphore(_ENTRIES)
        # Redirects are not followed: another service's login page must not be read as a directory. Nor is a proxy of
        # the environment used: it is meant for what lies outside.
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeouts.read, connect=timeouts.connect),
            trust_env=False,
            verify=trust(self._credentials),
        )

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
                await asyncio.sleep(0)  # what has come already is read without: the event loop must have its turn
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
                    else:
                        await asyncio.sleep(0)
        raise GdsError(f"GDS ended the watch at {self.shown}/watch")

    async def entry(self, host: str) -> Entry | None:
        """What GDS says of a normalised host now; None: it doesn't know it. Raises GdsError, Unreadable for what isn't
        the contract's; after two seconds at the latest."""
        path = f"/backend/{host}"
        try:
            async with asyncio.timeout(ANSWER), self._entries:
                return entry_of(host, *await self._asked(path))
        except TimeoutError:
            raise GdsError(f"GDS doesn't answer within {ANSWER:g} s") from None
        except httpx.HTTPError as error:
            raise GdsError(f"GDS can't be read at {self.shown}: {str(error) or type(error).__name__}") from None
        except (httpx.InvalidURL, CertificateError) as error:
            raise GdsError(f"GDS can't be asked: {error}") from None
        except PointsmanError:
            raise
        except Exception as error:  # whatever it sends, it doesn't end us
            log.error("gds.unreadable", url=f"{self.shown}{path}", exc_info=True)
            raise Unreadable(f"GDS's answer can't be read: {type(error).__name__}: {error}") from error

    async def _asked(self, path: str) -> tuple[int, str, bytes]:
        """The status, the content type and the beginning of the body: what is packed may be very large."""
        headers = {"accept": JSON, "accept-encoding": "identity", **token_header(self._credentials.token_file)}
        async with self._http.stream("GET", f"{self._url}{path}", headers=headers) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            body = b""
            async for chunk in response.aiter_raw(4_096):
                body += chunk
                if len(body) > MOST:
                    break
            return response.status_code, kind, body

    @asynccontextmanager
    async def _get(self, path: str, kind: str, query: dict[str, str]) -> AsyncIterator[httpx.Response]:
        url = f"{self.shown}{path}"
        try:
            headers = {"accept": kind, **token_header(self._credentials.token_file)}
            async with self._http.stream("GET", f"{self._url}{path}", params=query, headers=headers) as response:
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
        except CertificateError as error:
            raise GdsError(str(error)) from None
        except PointsmanError:
            raise
        except Exception as error:  # whatever it sends, it doesn't end us
            log.error("gds.unreadable", url=url, exc_info=True)
            raise GdsError(f"GDS's answer at {url} can't be read: {type(error).__name__}: {error}") from error


def token_header(file: Path | None) -> dict[str, str]:
    """Read anew each time: tokens are renewed in place. Raises CertificateError."""
    if file is None:
        return {}
    try:
        token = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CertificateError(f"GDS's token {file} can't be read: {error} (setting gds.token_file)") from None
    if not token.isprintable():  # else the HTTP library refuses it with an error that shows it
        raise CertificateError(f"GDS's token {file} is more than one printable line (setting gds.token_file)")
    return {"authorization": f"Bearer {token}"}


def without_user(url: str) -> str:
    """For logs and errors."""
    try:
        return str(httpx.URL(url).copy_with(userinfo=b""))
    except httpx.InvalidURL:
        return url.rpartition("@")[2]


def trust(credentials: Credentials) -> ssl.SSLContext:
    """Whom we trust, and what we show. Raises CertificateError."""
    try:
        context = ssl.create_default_context(cafile=str(credentials.ca) if credentials.ca else None)
    except OSError as error:
        raise CertificateError(f"GDS's CA {credentials.ca} can't be used: {error} (setting gds.ca)") from None
    if credentials.certificate:
        try:
            context.load_cert_chain(credentials.certificate, credentials.key)
        except OSError as error:
            names = f"{credentials.certificate}, {credentials.key}"
            raise CertificateError(
                f"the certificate for GDS, {names}, can't be used: {error} (settings gds.certificate, gds.key)"
            ) from None
    return context


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
    except (ValueError, AttributeError, RecursionError):
        return repr(body[:80].decode("utf-8", "replace"))
