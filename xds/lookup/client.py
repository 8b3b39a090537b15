"""Asks a GDS for one host over HTTP: ``GET {gds.url}/backend/{host}``, the ways that real ones differ in."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict

from xds.errors import GdsError
from xds.gds.client import Credentials, trust, without_user
from xds.gds.model import is_pod_name

_LONGEST = 4096
"""Bytes of an answer that are looked at."""


class ClientSettings(BaseModel):
    """How this GDS is asked, and what its answer looks like."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds; ``answer`` is for the whole of it, the connection included."""

    connect: float = 2.0
    answer: float = 2.0


class LookupClient:
    """One GDS at ``url``, its base path included; an `xds.lookup.asking.Asker`. Raises CertificateError when a file
    can't be used."""

    def __init__(
        self,
        url: str,
        settings: ClientSettings | None = None,
        credentials: Credentials | None = None,
        wait: Wait | None = None,
        connections: int = 100,
    ) -> None:
        wait = wait or Wait()
        self._url = url.rstrip("/")
        self.shown = without_user(self._url)
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(wait.answer, connect=wait.connect),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
            verify=trust(credentials or Credentials()),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, host: str) -> str | None:
        """As `Asker.ask`."""
        path = f"/backend/{quote(host, safe='')}"
        try:
            response = await self._http.get(f"{self._url}{path}", headers={"accept": "text/plain"})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise GdsError(f"GDS can't be asked at {self.shown}{path}: {why}") from error
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        if response.status_code != httpx.codes.OK:
            raise GdsError(f"GDS answered {response.status_code} at {self.shown}{path}")
        pod = response.text[:_LONGEST].strip()
        if not is_pod_name(pod):
            raise GdsError(f"GDS's answer at {self.shown}{path} is no pod's name: {pod[:80]!r}")
        return pod
