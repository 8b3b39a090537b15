"""What Envoys route by now, as their admin interfaces say it, and what the edge answers to a request through it.

Both only where the operator says: an address that a client of ours claims is never asked.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import msgspec
from pydantic import BaseModel

from xds.errors import PointsmanError
from xds.gds.client import without_user

PATIENCE = 2.0
"""Seconds for all that is asked for one answer, and for its turn to be asked."""
TOGETHER = 8
"""Requests at a time, of all who ask."""
LARGEST = 32 * 1024 * 1024
"""Bytes of an admin's answer."""

_BY_POD = "x-envoy-upstream-service-time"
"""Envoy's router adds it to what comes from a pod, over a pod's own, and to no answer of its own. The header that
setting edge.pod_header names is in both: it says where the request was to go."""

Health = Literal["healthy", "unhealthy", "unknown"]


class LiveState(BaseModel):
    """``pod``: the cluster to which that Envoy's own configuration leads the host; null for none. ``version``: of the
    table that it uses. ``error``: why its admin couldn't be read."""

    pod: str | None = None
    version: str | None = None
    error: str = ""


class Probe(BaseModel):
    """A HEAD request for the host through the edge: ``status`` of the answer, and whether a pod gave it (``by_pod``) or
    the edge itself, since it has none or reaches none. ``pod``: which one, known when setting edge.pod_header has the
    edge say so. ``seconds`` it took, with the handshake."""

    edge: str
    status: int | None = None
    by_pod: bool = False
    pod: str | None = None
    seconds: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Live:
    """``admins``: by node id, the URL of that Envoy's admin. ``edge``: host:port of the https port that is probed;
    empty for none. ``header``: in which the edge names the pod."""

    admins: Mapping[str, str] = field(default_factory=dict)
    edge: str = ""
    header: str = ""
    transport: httpx.AsyncBaseTransport | None = None
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TOGETHER))

    async def read(
        self, nodes: Iterable[str], host: str, pod: str, table: str
    ) -> tuple[dict[str, LiveState], dict[str, Health]]:
        """What those of ``nodes`` that have an admin here say of ``host``, which stands in ``table``; and the health of
        the endpoints of ``pod`` by "address:port": healthy if any of them says so."""
        asked = [node for node in nodes if node in self.admins]
        if not asked:
            return {}, {}
        async with httpx.AsyncClient(transport=self.transport, trust_env=False, timeout=PATIENCE) as http:
            found = await asyncio.gather(*(self._of(http, self.admins[node], host, pod, table) for node in asked))
        healths: dict[str, Health] = {}
        for _, told in found:
            for endpoint, health in told.items():
                if health == "healthy" or endpoint not in healths:
                    healths[endpoint] = health
        return {node: state for node, (state, _) in zip(asked, found, strict=True)}, healths

    async def _of(
        self, http: httpx.AsyncClient, url: str, host: str, pod: str, table: str
    ) -> tuple[LiveState, dict[str, Health]]:
        query = {"resource": "dynamic_route_configs", "name_regex": f"^{table}$"}
        try:
            async with asyncio.timeout(PATIENCE), self.turn:
                routes = await _json(http, f"{url}/config_dump", query)
                clusters = await _json(http, f"{url}/clusters", {"format": "json"}) if pod else {}
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            return LiveState(error=f"{without_user(url)}: {_reason(error)}"[:300]), {}
        return live_state(routes, host), healths_of(clusters, pod)

    async def probe(self, host: str) -> Probe:
        """Raises PointsmanError when no edge is set."""
        if not self.edge:
            raise PointsmanError("no edge is set that could be probed (setting http.probe)")
        begun = time.monotonic()
        trust = ssl.create_default_context()
        # It is asked who answers, not whether its certificate is right: of that the certificate's checks speak.
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        try:
            async with (
                asyncio.timeout(PATIENCE),
                self.turn,
                httpx.AsyncClient(transport=self.transport, verify=trust, trust_env=False, timeout=PATIENCE) as http,
            ):
                answer = await http.head(
                    f"https://{self.edge}/", headers={"host": host}, extensions={"sni_hostname": host}
                )
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ssl.SSLError) as error:
            return Probe(edge=self.edge, error=f"{type(error).__name__}: {error}"[:300])
        seconds = round(time.monotonic() - begun, 6)
        by_pod = _BY_POD in answer.headers
        named = answer.headers.get(self.header, "") if self.header and by_pod else ""
        pod = named if named not in ("", "-") else None
        return Probe(edge=self.edge, status=answer.status_code, by_pod=by_pod, pod=pod, seconds=seconds)


def _reason(error: Exception) -> str:
    """Without the URL, which httpx says of an answer as it is, with a password."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answers {error.response.status_code}"
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return f"it couldn't be read within {PATIENCE:g} s"
    return str(error) or type(error).__name__


def live_state(dump: Any, host: str) -> LiveState:
    """What a /config_dump of a table says of ``host``: the very name first, then the longest wildcard."""
    for config in _list(dump, "configs"):
        table = config.get("route_config", {})
        names = {
            name: virtual
            for virtual in _list(table, "virtual_hosts")
            for name in virtual.get("domains", ())
            if name == host or name.startswith("*")
        }
        version = str(config.get("version_info", ""))
        for name in _candidates(host):
            if name in names:
                routes = _list(names[name], "routes")
                return LiveState(pod=routes[0].get("route", {}).get("cluster") if routes else None, version=version)
        return LiveState(version=version)
    return LiveState(error="that Envoy doesn't have the table")


def healths_of(clusters: Any, pod: str) -> dict[str, Health]:
    """Of a pod's endpoints by "address:port", as Envoy's /clusters says it."""
    found: dict[str, Health] = {}
    for cluster in _list(clusters, "cluster_statuses"):
        if cluster.get("name") != pod:
            continue
        for one in _list(cluster, "host_statuses"):
            socket = one.get("address", {}).get("socket_address", {})
            status = dict(one.get("health_status", {}))
            bad = status.pop("eds_health_status", "HEALTHY") not in ("HEALTHY", "UNKNOWN") or any(status.values())
            found[f"{socket.get('address')}:{socket.get('port_value')}"] = "unhealthy" if bad else "healthy"
    return found


def _candidates(host: str) -> Iterable[str]:
    yield host
    rest = host
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"


def _list(value: Any, name: str) -> list[dict[str, Any]]:
    found = value.get(name, []) if isinstance(value, dict) else []
    return [one for one in found if isinstance(one, dict)]


async def _json(http: httpx.AsyncClient, url: str, query: Mapping[str, str]) -> Any:
    async with http.stream("GET", url, params=query) as answer:
        answer.raise_for_status()
        body = bytearray()
        async for some in answer.aiter_bytes():
            body += some
            if len(body) > LARGEST:
                raise ValueError(f"it answers more than {LARGEST} bytes")
    return msgspec.json.decode(bytes(body))
