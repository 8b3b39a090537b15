"""Those who are asked where a host is: GDS, the control plane, and the edge, by a request through it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx

from xds.compare.verdict import CONTROL_PLANE, EDGE, GDS, Said
from xds.errors import CompareError, PointsmanError
from xds.gds.model import is_pod_name
from xds.lookup.asking import Asker

_NONE = ("", "-")
_SHOWN = 200
_TRIED, _TRIED_TOGETHER = 50, 10
"""Hosts by which an edge is recognised, and how many of them are asked for at a time."""
_TIMES, _PAUSE = 30, 1.0
"""How often the edge is asked again when it says that it is asked too often, and after how many seconds."""


class Gds:
    """By ``GET /backend/{host}``, as `xds.lookup.client` does."""

    name, words = GDS, "GDS"
    failures = 20

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def said(self, host: str) -> Said:
        try:
            return Said(await self._asker.ask(host))
        except PointsmanError as error:
            return Said(error=str(error))


class ControlPlane:
    """By its API. ``lookup``: a host that it doesn't know may be one that nobody has asked for yet. ``http``
    shows who asks."""

    name, words = CONTROL_PLANE, "the control plane"
    failures = 20

    def __init__(self, url: str, http: httpx.AsyncClient, *, lookup: bool) -> None:
        self._url = url
        self._http = http
        self._lookup = lookup

    async def said(self, host: str) -> Said:
        try:
            answer = await self._http.get(f"{self._url}/api/v1/domains/{host}")
            found = answer.json()
            if answer.status_code == 404:
                return Said(silent=self._lookup)
            if answer.status_code == 200:
                return Said(str(found["pod"]))
            return Said(error=f"{answer.status_code}: {found.get('detail', '')}"[:_SHOWN])
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Said(error=f"{self._url} doesn't answer: {str(error) or type(error).__name__} (option --url)")
        except (ValueError, KeyError, AttributeError, TypeError):
            return Said(error=f"{self._url} doesn't answer as a control plane does (option --url)")


class Edge:
    """By a ``HEAD`` request through the edge at ``url``, over a connection of its own whose SNI is the host: as one of
    that host's clients. ``header`` of the answer names the pod."""

    name, words = EDGE, "the edge"
    failures = 1_000  # a pod that is down, or customers without a certificate, say nothing of the edge

    def __init__(self, url: str, path: str, header: str, http: httpx.AsyncClient) -> None:
        self._url = url.rstrip("/") + path
        self._header = header
        self._http = http

    async def recognise(self, hosts: Sequence[str]) -> None:
        """Asks for some of ``hosts`` until it names a pod, as only our edge does. Raises CompareError when it names
        none: another proxy's 404 would be taken for a host that the edge doesn't know."""
        told = Said()
        for begin in range(0, min(len(hosts), _TRIED), _TRIED_TOGETHER):
            some = hosts[begin : min(begin + _TRIED_TOGETHER, _TRIED)]
            answers = await asyncio.gather(*map(self.said, some))
            if any(answer.pod for answer in answers):
                return
            told = next((answer for answer in answers if answer.error), told)
        why = f", one of its answers: {told.error}" if told.error else ""
        raise CompareError(
            f"{self._url} names the pod of none of {min(len(hosts), _TRIED)} hosts in a header {self._header}{why}: is "
            "it the edge, does it send that header (setting edge.pod_header), and is one of the hosts known?"
        )

    async def said(self, host: str) -> Said:
        try:
            answer = await self._asked(host)
            for _ in range(_TIMES):
                if answer.status_code != 429 or answer.headers.get(self._header):
                    break
                # To the edge we are one client (setting lookup.address_rate).
                await asyncio.sleep(_PAUSE)
                answer = await self._asked(host)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Said(error=f"{self._url} doesn't answer for it: {str(error) or type(error).__name__}"[:_SHOWN])
        pod = answer.headers.get(self._header, "")
        if pod in _NONE:
            # Known hosts that get these from their pod have the header.
            if answer.status_code in (302, 404):
                return Said(None)
            return Said(error=f"{answer.status_code} without a header {self._header} (setting edge.pod_header)")
        return Said(pod) if is_pod_name(pod) else Said(error=f"header {self._header}: {pod[:60]!r} is no pod's name")

    async def _asked(self, host: str) -> httpx.Response:
        return await self._http.request("HEAD", self._url, headers={"host": host}, extensions={"sni_hostname": host})


@contextlib.asynccontextmanager
async def through(together: int, ca: Path | None = None, patience: float = 10.0) -> AsyncIterator[httpx.AsyncClient]:
    """A client for `Edge`, of so many connections. ``ca``: whom to trust instead of the public ones; ``patience``:
    seconds. Raises CompareError."""
    try:
        trust = ssl.create_default_context(cafile=str(ca) if ca else None)
    except OSError as error:
        raise CompareError(f"the CA {ca} can't be used: {error} (option --edge-ca)") from None
    # A connection is of one SNI, and httpx would take it for another host's request, too.
    limits = httpx.Limits(max_connections=together, max_keepalive_connections=0)
    async with httpx.AsyncClient(verify=trust, limits=limits, timeout=patience, trust_env=False) as client:
        yield client
