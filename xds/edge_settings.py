"""The settings ``edge.timeouts``, ``edge.unknown_host`` and those of ``edge`` that say how clients are met."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_DAY = 86_400


class Timeouts(BaseModel):
    """How long a client may take. ``connection_idle``: a connection without a request. ``request_headers``: for the
    headers to arrive. ``stream_idle``: a request on which nothing moves in either direction, as long as it isn't with a
    pod. ``transfer_idle``: the same once it is: an upload, a download that is paused, a websocket.

    ``request``: for the whole request to arrive, 0 for no limit. An upload is a request: one of 10 GB over 20 Mbit/s
    takes more than an hour, so the default leaves it to ``transfer_idle``, and a client that sends a byte now and then
    can hold a request open. Where uploads are short, set 300. Downloads and websockets aren't concerned.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    connection_idle: Annotated[float, Field(ge=1, le=_DAY)] = 3_600.0
    stream_idle: Annotated[float, Field(ge=1, le=_DAY)] = 300.0
    transfer_idle: Annotated[float, Field(ge=1, le=_DAY)] = 3_600.0
    request_headers: Annotated[float, Field(ge=0.1, le=300)] = 10.0
    request: Annotated[float, Field(ge=0, le=_DAY)] = 0.0


def _url(value: str) -> str:
    parts = urlsplit(value.replace("{host}", "host"))
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError("must be an http or https URL; {host} stands for the host that was asked for")
    if "{host}" in urlsplit(value).netloc:
        raise ValueError("{host} may stand in the path or the query only: a client chooses it")
    return value


class UnknownHost(BaseModel):
    """What a request for a host is answered that GDS doesn't know.

    ``page``: a file of HTML, at most 64 KiB, as the body of the 404; read at the start. ``redirect``: a URL to which
    such requests are sent instead (302); ``{host}`` in its path or query stands for the host that was asked for.
    ``count``: Envoy reports these requests, and ``/api/v1/unknown-hosts`` shows the hosts asked for most;
    ``remember``: how many hosts are counted at a time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    page: Path | None = None
    redirect: Annotated[str, AfterValidator(_url)] | None = None
    count: bool = True
    remember: Annotated[int, Field(ge=10, le=100_000)] = 1_000


_HOST_PORT = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(?P<port>[0-9]{1,5})")


def _host_port(value: str) -> str:
    found = _HOST_PORT.fullmatch(value)
    if not found or not 0 < int(found["port"]) < 65_536:
        raise ValueError("must be host:port, such as 127.0.0.1:8402")
    return value


HostPort = Annotated[str, AfterValidator(_host_port)]


def host_and_port(value: str) -> tuple[str, int]:
    """Of a `HostPort`; an IPv6 address without its brackets."""
    host, _, port = value.rpartition(":")
    return host.strip("[]"), int(port)


def _hsts(value: str) -> str:
    if not re.fullmatch(r"max-age=\d+(; includeSubDomains)?(; preload)?", value):
        raise ValueError('must be like "max-age=31536000; includeSubDomains"')
    return value


def _pod_header(value: str) -> str:
    if not re.fullmatch(r"x-[a-z0-9-]{1,60}", value):
        raise ValueError("must be a lower-case header name that begins with x-, such as x-pod")
    return value


PodHeader = Annotated[str, AfterValidator(_pod_header)]

Hsts = Annotated[str, AfterValidator(_hsts)]
