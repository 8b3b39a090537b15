"""GDS over HTTP, asked for one host at a time: the one call that the oldest GDS has.

By aiohttp, whose parser is compiled: with httpx the question alone was half of the CPU that a cold request costs, and
hundreds a second are asked in the background.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
import structlog
from yarl import URL

from xds.errors import CertificateError, GdsError, SettingsError
from xds.gds.client import Credentials, token_header, trust, without_user
from xds.gds.model import check_domain
from xds.lookup.asking import Refused, Unreachable
from xds.lookup.client_settings import HOST, ClientSettings
from xds.lookup.reading import MOST_BYTES, Head, check_head, is_unknown, pod_of

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds; ``answer`` is for the whole of it, the connection included."""

    connect: float = 2.0
    answer: float = 5.0


class LookupClient:
    """One GDS at ``url``, its base path included; an `xds.lookup.asking.Asker`. Raises CertificateError or
    SettingsError when a file can't be used."""

    def __init__(
        self,
        url: str,
        settings: ClientSettings | None = None,
        credentials: Credentials | None = None,
        wait: Wait | None = None,
        connections: int = 100,
    ) -> None:
        self._settings = settings or ClientSettings()
        self._shape = self._settings.shape()
        self._credentials = credentials or Credentials()
        self._wait = wait or Wait()
        self._url = url.rstrip("/")
        self.shown = without_user(self._url)
        self._headers()
        self._tls = trust(self._credentials)
        self._connections = connections
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Neither the environment's proxy nor a redirect is followed: as in xds.gds.client. No call depends on another.
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._wait.connect),  # the whole has its own
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # what is small when packed may be very large
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def ask(self, host: str) -> str | None:
        """As `Asker.ask`. Raises RecordError when ``host`` is no domain, and GdsError for every answer that isn't
        surely one."""
        check_domain(host)
        path = self._settings.path.replace(HOST, host)
        asked = f"GDS, asked for {host} at {self.shown}{path},"
        try:
            async with asyncio.timeout(self._wait.answer):
                head, body = await self._get(path)
            if is_unknown(head, self._shape):
                return None
            check_head(head, self._shape)
            return pod_of(body, self._shape)
        except aiohttp.InvalidURL as error:
            raise GdsError(f"{asked} has no address: {error} (settings gds.url, lookup.client.path)") from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(f"{asked} can't be read: {str(error) or type(error).__name__}") from error
        except aiohttp.ClientError as error:  # some are a TimeoutError, too: that of connecting
            raise GdsError(f"{asked} can't be read: {str(error) or type(error).__name__}") from error
        except TimeoutError:
            raise GdsError(f"{asked} doesn't answer in {self._wait.answer:g} s (setting lookup.timeout)") from None
        except OSError as error:  # a TLS alert that comes late
            raise GdsError(f"{asked} can't be read: {str(error) or type(error).__name__}") from error
        except (CertificateError, SettingsError) as error:
            raise Unreachable(str(error)) from None
        except GdsError as error:
            kind = Refused if isinstance(error, Refused) else GdsError
            raise kind(f"{asked} answers {error}") from None
        except Exception as error:  # whatever it sends, it doesn't end us
            log.error("gds.unreadable", url=f"{self.shown}{path}", exc_info=True)
            raise GdsError(f"{asked} can't be read: {type(error).__name__}: {error}") from error

    async def _get(self, path: str) -> tuple[Head, bytes]:
        """Of a body that can't be an answer, only its beginning is read."""
        assert self._http is not None, "it is entered first"
        url, headers = self._address(path), self._headers()
        if url.user is not None:
            word = f"{url.user}:{url.password or ''}"
            headers["authorization"] = f"Basic {b64encode(word.encode()).decode()}"
            url = url.with_user(None)  # nothing that is raised shows it
        async with self._http.get(url, headers=headers, allow_redirects=False) as response:
            given = response.headers
            head = Head(
                response.status,
                given.get("content-type", "").partition(";")[0].strip().lower(),
                given.get("content-encoding", "").strip().lower(),
                given.get("location", ""),
            )
            body = b""
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MOST_BYTES:
                    break
            return head, body

    def _address(self, path: str) -> URL:
        try:
            return URL(f"{self._url}{path}")
        except ValueError as error:
            raise aiohttp.InvalidURL(self.shown, str(error)) from None

    def _headers(self) -> dict[str, str]:
        """Raises CertificateError, or SettingsError; neither shows a secret."""
        headers = {"accept-encoding": "identity", **token_header(self._credentials.token_file)}
        name, file = self._settings.header, self._settings.header_file
        if name and file:
            try:
                value = file.read_text("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or "it is not ASCII"
                raise SettingsError(f"GDS's header file {file}: {why} (setting lookup.client.header_file)") from None
            if not value or not value.isprintable():
                raise SettingsError(
                    f"GDS's header file {file} is not one line of printable characters "
                    "(setting lookup.client.header_file)"
                )
            headers[name] = value
        return headers
