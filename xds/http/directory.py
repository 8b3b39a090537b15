"""What the edge routes: domains and pods in the API, the records that can't be used, the hosts that nobody knows."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from xds.directory import Directory
from xds.errors import RecordError
from xds.gds.model import Pod, check_domain, normalise_host
from xds.http.paging import Limit, MarkCursor, NameCursor, Page, PlaceCursor, page_of
from xds.http.problems import problems
from xds.http.view import View
from xds.resources.routes import table_name
from xds.set_aside import SetAside
from xds.unknown_hosts import Asked as AskedFor
from xds.unknown_hosts import UnknownHosts as Counted

_TIME = 0.02
"""Seconds that are looked for the domains of one page: a page may be short, but it holds nobody up."""
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"^{_LABEL}(\.{_LABEL})*$"
_LOOKED_AT = 5_000
"""Names that are looked at between two looks at the clock."""


HostName = Annotated[
    str,
    Path(
        description="a host name; case, a port and a dot at its end don't matter",
        json_schema_extra={"pattern": _HOST, "minLength": 2, "maxLength": 253},
    ),
]
PodName = Annotated[str, Path(max_length=100)]


class Domain(BaseModel):
    """``revision``: at which it last changed here; that of the snapshot if it hasn't since."""

    domain: str
    pod: str
    revision: int


class Host(BaseModel):
    """``domain``: the entry that covers the host, itself or a wildcard. ``table``: the route table that answers."""

    host: str
    domain: str
    pod: str
    table: str
    revision: int


class Endpoint(BaseModel):
    address: str
    port: int
    zone: str
    weight: int


class PodShown(BaseModel):
    """``domains``: how many are on it. ``cluster``: what Envoy calls it."""

    name: str
    datacenter: str
    endpoints: list[Endpoint]
    max_connections: int
    domains: int
    cluster: str


class Aside(BaseModel):
    kind: str
    name: str
    reason: str
    revision: int


class Asked(BaseModel):
    """``count`` is at most ``error`` too high."""

    host: str
    count: int
    error: int


class UnknownHosts(Page[Asked]):
    """``counting``: whether Envoys are asked to tell of such requests (setting edge.unknown_host.count). ``requests``:
    how many there were, for all hosts."""

    counting: bool
    requests: int


def directory_api(view: View) -> APIRouter:
    api = APIRouter(prefix="/api/v1", tags=["directory"])

    @api.get("/domains", responses=problems(400, 404, 503))
    async def domains(
        limit: Limit = 100,
        cursor: PlaceCursor = "",
        pod: Annotated[str, Query(max_length=100, description="only those of this pod")] = "",
        prefix: Annotated[str, Query(max_length=253, description="only those that begin so")] = "",
    ) -> Page[Domain]:
        """The domains that are routed, each once, in no particular order. ``total`` is null with a ``prefix``."""
        directory = complete(view)
        if pod and pod not in directory.pods:
            raise HTTPException(404, f"pod {pod!r} is not in the directory at revision {directory.revision}")
        total = None if prefix else view.directory.residents.get(pod, 0) if pod else len(directory.domains)
        found, next_place = domains_page(view, cursor, limit, pod, prefix.lower())
        items = [Domain(domain=name, pod=of, revision=directory.revision_of(name)) for name, of in found]
        return Page[Domain](items=items, next=next_place or None, total=total)

    @api.get("/domains/{host}", responses=problems(400, 404, 503))
    async def domain(host: HostName) -> Host:
        """Where ``host`` goes: the entry that covers it, its pod, the route table, and the revision that said so."""
        directory, name = complete(view), checked(host)
        found = directory.lookup(name)
        if found is None:
            raise HTTPException(404, f"{name} is on no pod{why_not(directory, name)}")
        entry, pod = found
        # A wildcard stands in every table; the host's own first characters choose which of them answers.
        table = table_name(view.tables.number_of(name))
        return Host(host=name, domain=entry, pod=pod, table=table, revision=directory.revision_of(entry))

    @api.get("/pods", responses=problems(400))
    async def pods(limit: Limit = 100, cursor: NameCursor = "") -> Page[PodShown]:
        """By name."""
        names = sorted(name for name in view.directory.pods if name > cursor)
        shown = [_pod(view, view.directory.pods[name]) for name in names[:limit]]
        more = names[limit - 1] if len(names) > limit else None
        return Page[PodShown](items=shown, next=more, total=len(view.directory.pods))

    @api.get("/pods/{pod}", responses=problems(404))
    async def one_pod(pod: str) -> PodShown:
        """Its endpoints as GDS says them."""
        found = view.directory.pods.get(pod)
        if found is None:
            raise HTTPException(404, f"pod {pod[:80]!r} is not in the directory at revision {view.directory.revision}")
        return _pod(view, found)

    @api.get("/set-aside", responses=problems())
    async def set_aside(limit: Limit = 100, cursor: MarkCursor = "") -> Page[Aside]:
        """The records of GDS that can't be used, and why, by name: pods first, since their domains follow from them. Of
        more than 1,000 the rest is only counted in ``total``."""
        directory = view.directory
        found, more = set_aside_page(directory, cursor, limit)
        items = [Aside.model_validate(one, from_attributes=True) for one in found]
        return Page[Aside](items=items, next=more, total=directory.set_aside_total)

    @api.get("/unknown-hosts", responses=problems())
    async def unknown_hosts(limit: Limit = 100, cursor: MarkCursor = "") -> UnknownHosts:
        """The hosts that GDS doesn't know, those asked for most since the start first: each count at most `error` too
        high. They are counted on between two pages, so one may stand on both, or on none."""
        counted = view.unknown_hosts
        found, more = asked_page(counted, cursor, limit) if counted else ([], None)
        return UnknownHosts(
            items=[Asked.model_validate(one, from_attributes=True) for one in found],
            next=more,
            total=len(counted) if counted else 0,
            counting=counted is not None,
            requests=counted.requests if counted else 0,
        )

    return api


def set_aside_page(directory: Directory, cursor: MarkCursor, limit: int) -> tuple[list[SetAside], str | None]:
    """Records set aside, pods first, and the cursor of the next page."""
    marked = (((int(one.kind != "pod"), f"{one.kind}~{one.name}"), one) for one in directory.set_aside.values())
    return page_of(marked, cursor, limit)


def asked_page(counted: Counted, cursor: MarkCursor, limit: int) -> tuple[list[AskedFor], str | None]:
    """Unknown hosts, those asked for most first, and the cursor of the next page."""
    return page_of((((-one.count, one.host), one) for one in counted.top(counted.capacity)), cursor, limit)


def checked(host: str) -> str:
    """The host as it is looked up. Raises HTTPException 400 for what can't be one."""
    name = normalise_host(host)
    try:
        check_domain(name)
    except RecordError as error:
        raise HTTPException(400, str(error)) from None
    return name


def why_not(directory: Directory, name: str) -> str:
    """Why a host is on no pod, to be said after that."""
    aside = directory.set_aside.get(("domain", name))
    return f": {aside.reason}" if aside else f" at revision {directory.revision} of GDS"


def complete(view: View) -> Directory:
    """The directory. Raises HTTPException 503 while there is none."""
    if not view.directory.complete:
        raise HTTPException(503, "no whole snapshot of GDS has been read yet")
    return view.directory


def endpoints_of(pod: Pod) -> list[Endpoint]:
    return [Endpoint.model_validate(one, from_attributes=True) for one in pod.endpoints]


def _pod(view: View, pod: Pod) -> PodShown:
    return PodShown(
        name=pod.name,
        datacenter=pod.datacenter,
        endpoints=endpoints_of(pod),
        max_connections=pod.max_connections,
        domains=view.directory.residents.get(pod.name, 0),
        cluster=pod.name,
    )


def domains_page(
    view: View, place: str, limit: int, pod: str = "", prefix: str = ""
) -> tuple[list[tuple[str, str]], str]:
    """Domains with their pods, and where the next page goes on: "TABLE~DOMAIN", after which it does; or empty.

    Table by table, since in a table the names are sorted: so a cursor holds whatever changes.
    """
    number, _, after = place.partition("~")
    first = int(number or 0)
    found: list[tuple[str, str]] = []
    until = time.monotonic() + _TIME
    last = len(view.tables)  # the wildcards, which stand in every table
    for table in range(first, last + 1):
        for count, (name, of) in enumerate(_of_table(view, table, after, pod, prefix), 1):
            found.append((name, of))
            if len(found) == limit or (count % _LOOKED_AT == 0 and time.monotonic() > until):
                return found, f"{table}~{name}"
        after = ""
        if time.monotonic() > until and table < last:
            return found, f"{table + 1}~"
    return found, ""


def _of_table(view: View, table: int, after: str, pod: str, prefix: str) -> Iterator[tuple[str, str]]:
    tables = view.tables
    wild = table == len(tables)
    if len(prefix) >= 2 and (prefix[0] == "*") is not wild:
        return iter(())
    if len(prefix) >= 2 and not wild and table not in tables.numbers_beginning(prefix[:2]):
        return iter(())
    least = max(after + "\0", prefix) if after else prefix
    names = [
        (name, of)
        for of, held in tables.listed(table, pod)
        for name in held[bisect_left(held, least) :]
        if name.startswith(prefix)
    ]
    # A pair that is being split stands in two tables: the one that answers counts.
    return iter(sorted(one for one in names if wild or tables.number_of(one[0]) == table))
