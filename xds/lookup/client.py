"""GDS over HTTP, asked for one host at a time: the one call that the oldest GDS has."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx
import structlog

from xds.errors import CertificateError, GdsError, SettingsError
from xds.gds.client import Credentials, token_header, trust, without_user
from xds.gds.model import check_domain
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
        # Redirects and the environment's proxy: as in xds.gds.client.
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=self._wait.connect),  # the whole has its own
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
            verify=trust(self._credentials),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

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
        except TimeoutError:
            raise GdsError(f"{asked} doesn't answer in {self._wait.answer:g} s (setting lookup.timeout)") from None
        except (httpx.HTTPError, OSError) as error:  # a TLS alert that comes late is the latter
            raise GdsError(f"{asked} can't be read: {str(error) or type(error).__name__}") from error
        except httpx.InvalidURL as error:
            raise GdsError(f"{asked} has no address: {error} (settings gds.url, lookup.client.path)") from error
        except (CertificateError, SettingsError) as error:
            raise GdsError(str(error)) from None
        except GdsError as error:
            raise GdsError(f"{asked} answers {error}") from None
        except Exception as error:  # whatever it sends, it doesn't end us
            log.error("gds.unreadable", url=f"{self.shown}{path}", exc_info=True)
            raise GdsError(f"{asked} can't be read: {type(error).__name__}: {error}") from error

    async def _get(self, path: str) -> tuple[Head, bytes]:
        """Of a body that can't be an answer, only its beginning is read."""
        async with self._http.stream("GET", f"{self._url}{path}", headers=self._headers()) as response:
            given = response.headers
            head = Head(
                response.status_code,
                given.get("content-type", "").partition(";")[0].strip().lower(),
                given.get("content-encoding", "").strip().lower(),
                given.get("location", ""),
            )
            body = b""
            # Raw: what is small when packed may be very large.
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MOST_BYTES:
                    break
            return head, body

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
