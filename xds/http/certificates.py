"""The edge's certificates in the API and the metrics: a bounded part of them, however many there are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from xds.audit import Audit
from xds.certificates.checks import KINDS, shown
from xds.certificates.index import Entry, ending
from xds.edge_tls import EdgeTls
from xds.gds.model import normalise_host
from xds.http.orders import Order, caller_of
from xds.http.paging import Limit, MarkCursor, Page, cursor_of, mark_of, page_of
from xds.http.problems import problems

SOONEST = 20
"""Certificates with a metric of their own: those that expire first."""
WITHIN = (0, 1, 3, 7, 14, 30, 60, 90)
"""Days within which certificates are counted that expire."""
_DAY = 86_400.0
_NAMES = 100


class CertificateShown(BaseModel):
    """``hosts`` are the first 100. Times are ISO 8601 in UTC; ``days`` are left. ``checked``: the key and the whole
    chain were, too. ``staple``: why an OCSP response that is there isn't used; ``staple_ends``: when one that is used
    does. ``held``: some Envoy holds it on demand."""

    name: str
    hosts: list[str]
    key: str
    not_before: str
    not_after: str
    days: float
    checked: bool
    key_readable_by_others: bool
    staple: str
    staple_ends: str
    held: bool


class OfHost(CertificateShown):
    host: str


class OneCertificate(BaseModel):
    """``set_aside``: why what the folder has now isn't used; then the rest, if it is there, is of an older one."""

    name: str
    set_aside: str
    hosts: list[str] | None = None
    key: str | None = None
    not_before: str | None = None
    not_after: str | None = None
    days: float | None = None
    checked: bool | None = None
    key_readable_by_others: bool | None = None
    staple: str | None = None
    staple_ends: str | None = None
    held: bool | None = None


class OnDemandShown(BaseModel):
    """``held``: names that Envoys hold on demand; ``busiest``: those asked for most of late, held or not."""

    held: int
    busiest: list[str]


class Certificates(Page[CertificateShown]):
    """``complete``: all of the folder was read. ``missing``: kept though they are gone from the folder, ``limit`` of
    them; ``trouble``: why the folder can't be read now. ``readable``: whose keys others than the owner may read."""

    complete: bool
    set_aside_total: int
    missing_total: int
    missing: list[str]
    trouble: str
    readable_total: int
    readable: list[str]
    on_demand: OnDemandShown | None


class Accepted(BaseModel):
    """``removed``: certificates that were kept though they were gone, and aren't any more."""

    removed: int


class Unused(BaseModel):
    """``in_use``: an older one of that name is used instead."""

    certificate: str
    kind: str
    reason: str
    in_use: bool


def certificates_api(tls: EdgeTls, audit: Audit) -> APIRouter:
    api = APIRouter(prefix="/api/v1/certificates", tags=["certificates"])

    @api.get("", responses=problems())
    async def certificates(
        limit: Limit = 100,
        cursor: MarkCursor = "",
        only: Annotated[
            Literal["", "missing", "readable"],
            Query(description="only those gone from the folder, or those whose keys others may read"),
        ] = "",
    ) -> Certificates:
        """Those that expire first come first; with each page some of those that are missing, of those whose keys others
        may read, and of what Envoys hold on demand."""
        index, on_demand = tls.index, tls.on_demand
        readable = index.readable
        shown, more, total = _page(tls, only, cursor, limit)
        return Certificates(
            items=[CertificateShown(**_shown(tls, entry)) for entry in shown],
            next=more,
            total=total,
            complete=index.complete,
            set_aside_total=len(index.aside),
            missing_total=len(tls.folder.missing),
            missing=list(islice(tls.folder.missing, limit)),
            trouble=tls.folder.trouble,
            readable_total=len(readable),
            readable=list(islice(readable, limit)),
            on_demand=OnDemandShown(held=on_demand.held, busiest=on_demand.asked_most(limit)) if on_demand else None,
        )

    @api.get("/set-aside", responses=problems())
    async def set_aside(limit: Limit = 100, cursor: MarkCursor = "") -> Page[Unused]:
        """Certificates that can't be used as they are now, and why, by name."""
        aside = tls.index.aside
        found, more = page_of((((0, name), name) for name in aside), cursor, limit)
        items = [
            Unused(certificate=name, kind=aside[name].kind, reason=aside[name].reason, in_use=name in tls.index)
            for name in found
        ]
        return Page[Unused](items=items, next=more, total=len(aside))

    @api.get("/hosts/{host}", responses=problems(404))
    async def of_host(host: str) -> OfHost:
        """The certificate that covers a host."""
        name = normalise_host(host)
        entry = tls.index.covering(name)
        if entry is None:
            raise HTTPException(404, f"no certificate is for {name}")
        return OfHost(host=name, **_shown(tls, entry))

    @api.post("/missing/accept", responses=problems(400, 413))
    async def accept_missing(request: Request, order: Order) -> Accepted:
        """What is missing from the folder is gone indeed: it is used no longer."""
        caller = caller_of(request, order)
        names = await tls.folder.accept_losses()
        audit.note(
            "certificates.accept_missing", "done", caller.name, caller.address, reason=f"{len(names)} certificates"
        )
        return Accepted(removed=len(names))

    @api.get("/{name}", response_model_exclude_unset=True, responses=problems(404))
    async def certificate(name: str) -> OneCertificate:
        """One by its name in the folder."""
        entry, aside = tls.index.get(name), tls.index.aside.get(name)
        if entry is None and aside is None:
            raise HTTPException(404, f"the folder holds no certificate {name}")
        said = {"set_aside": aside.reason if aside else ""}
        return OneCertificate(**({**_shown(tls, entry), **said} if entry else {"name": name, **said}))

    return api


def _page(tls: EdgeTls, only: str, cursor: MarkCursor, limit: int) -> tuple[list[Entry], str | None, int]:
    """The certificates of a page, the cursor of the next, and how many there are in all."""
    index = tls.index
    if only:
        names = tls.folder.missing if only == "missing" else index.readable
        entries = [entry for entry in map(index.get, names) if entry is not None]
        found, more = page_of(((ending(entry), entry) for entry in entries), cursor, limit)
        return found, more, len(entries)
    found = index.soonest(limit + 1, mark_of(cursor))
    return found[:limit], cursor_of(ending(found[limit - 1])) if len(found) > limit else None, len(index)


def certificate_metrics(tls: EdgeTls) -> Iterator[Metric]:
    index, now = tls.index, time.time()
    yield GaugeMetricFamily("pointsman_certificates", "Certificates that can be used.", value=len(index))
    aside = GaugeMetricFamily("pointsman_certificates_set_aside", "Certificates set aside, by kind.", labels=["kind"])
    for kind, count in (dict.fromkeys(KINDS, 0) | dict(index.reasons())).items():
        aside.add_metric([kind], count)
    yield aside
    yield GaugeMetricFamily(
        "pointsman_certificates_missing",
        "Certificates kept though they are gone from the folder.",
        value=len(tls.folder.missing),
    )
    yield GaugeMetricFamily(
        "pointsman_certificates_folder_unreadable",
        "1 while the folder of certificates can't be read.",
        value=1 if tls.folder.trouble else 0,
    )
    staples = GaugeMetricFamily(
        "pointsman_certificates_staples", "Certificates with an OCSP response, used or not.", labels=["used"]
    )
    staples.add_metric(["yes"], len(index.stapled))
    staples.add_metric(["no"], len(index.unstapled))
    yield staples
    readable = len(index.readable)
    yield GaugeMetricFamily("pointsman_certificates_readable", "Keys that others may read.", value=readable)
    within = GaugeMetricFamily(
        "pointsman_certificates_expiring", "Certificates that expire within so many days.", labels=["days"]
    )
    for days, count in zip(WITHIN, index.expiring(now + days * _DAY for days in WITHIN), strict=True):
        within.add_metric([str(days)], count)
    yield within
    soonest = GaugeMetricFamily(
        "pointsman_certificate_expiration_timestamp_seconds",
        "When the certificates end that end first, and the service's own: seconds since 1970.",
        labels=["name"],
    )
    first = {entry.place.name: entry for entry in index.soonest(SOONEST)}
    service = index.get(tls.certificate)
    if service is not None:
        first[tls.certificate] = service
    for entry in first.values():
        soonest.add_metric([entry.place.name], entry.facts.not_after)
    yield soonest
    if tls.on_demand is not None:
        on_demand = tls.on_demand
        yield GaugeMetricFamily("pointsman_on_demand_held", "Names held by Envoys on demand.", value=on_demand.held)
        yield CounterMetricFamily("pointsman_on_demand_asked", "Names asked for on demand.", value=on_demand.asked)
        yield CounterMetricFamily(
            "pointsman_on_demand_withdrawn", "Names withdrawn from Envoys.", value=on_demand.withdrawn
        )
        refused = CounterMetricFamily(
            "pointsman_on_demand_refused", "Names asked for that have no certificate, by reason.", labels=["reason"]
        )
        for reason, count in tls.customers.refused.items():
            refused.add_metric([reason], count)
        yield refused


def _shown(tls: EdgeTls, entry: Entry) -> dict[str, Any]:
    facts = entry.facts
    return {
        "name": entry.place.name,
        "hosts": facts.names[:_NAMES],
        "key": facts.key,
        "not_before": shown(facts.not_before),
        "not_after": shown(facts.not_after),
        "days": round((facts.not_after - time.time()) / _DAY, 2),
        "checked": entry.checked,
        "key_readable_by_others": entry.readable,
        "staple": entry.staple,
        "staple_ends": shown(entry.staple_ends) if entry.staple_ends else "",
        "held": tls.on_demand is not None and tls.on_demand.uses(entry.place.name),
    }
