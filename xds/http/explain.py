"""Why a host goes where it goes: each link from GDS's record to the pod's endpoints, and what each Envoy has of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException

from xds.certificates.checks import shown
from xds.http.asked import ask, attributed, differing
from xds.http.directory import HostName, checked, complete, endpoints_of
from xds.http.explanation import (
    Age,
    Asked,
    Certificate,
    Cluster,
    Copy,
    EndpointShown,
    Envoy,
    Envoys,
    Explanation,
    Record,
    Scope,
)
from xds.http.live import Live
from xds.http.paging import Cursor, Limit, Page, number_of
from xds.http.problems import problems
from xds.http.view import View
from xds.protocol.stream import Stream
from xds.receipt import Receipt
from xds.resources.rescope import RESCOPE, hashed_key
from xds.resources.routes import hashed_table_of, table_name
from xds.resources.scopes import scope_name
from xds.resources.tls import covered
from xds.resources.types import CLUSTER, ENDPOINT, ROUTE, SCOPE, SECRET, ResourceType
from xds.slices import cut

ENVOYS = 100
"""Envoys that are shown one by one, unless the caller says another number."""
MOST = 1_000
"""That may be asked for: what each of them has is written out."""


_TOGETHER = 25
"""Envoys of a page that are looked at between two turns of the event loop: they take a millisecond or two."""
_UNASKED = Asked(state="not_asked", text="GDS hasn't been asked")

Waits = Callable[[str], tuple[str | None, str | None] | None]
"""Of a domain that is held back: its pod at the edge, and at GDS."""


def explain_api(
    view: View,
    live: Live,
    may_order: Callable[[Request], bool],
    waits: Waits = lambda domain: None,
    unknown: str = "",
) -> APIRouter:
    """``may_order``: whether the caller may cause something. ``waits``: what of a domain is held back. ``unknown``:
    what a client gets who asks for a host that nobody knows."""
    api = APIRouter(prefix="/api/v1", tags=["directory"])

    @api.get("/domains/{host}/explain", responses=problems(400, 409, 503))
    async def explain(
        request: Request,
        host: HostName,
        probe: Annotated[
            bool, Query(description="also send a HEAD request for it through the edge (setting http.probe)")
        ] = False,
        envoys: Annotated[
            int, Query(ge=0, le=MOST, description="that are shown one by one; 0: they aren't looked at either")
        ] = ENVOYS,
    ) -> Explanation:
        """The whole chain, of a host that goes nowhere, too: it says so (``routed``), with the reason. What is live is
        read from the admin interfaces that setting http.envoy_admins names, and GDS is asked who made the record and
        when, both within two seconds."""
        if probe and not may_order(request):
            raise HTTPException(401, "a probe is a request to the customer's pod: it needs the token")
        return await explained(view, live, host, waits, unknown, probe=probe, envoys=envoys)

    @api.get("/domains/{host}/explain/envoys", responses=problems(400, 409, 503))
    async def every_envoy(host: HostName, limit: Limit = 100, cursor: Cursor = "") -> Page[Envoy]:
        """Every connected Envoy with what it has of the host's chain, those that came first first: whatever changes
        meanwhile, none is left out that is connected all the time."""
        return await every(view, live, host, number_of(cursor) or 0, limit)

    return api


async def explained(
    view: View, live: Live, host: str, waits: Waits, unknown: str, *, probe: bool = False, envoys: int = ENVOYS
) -> Explanation:
    """`explain_api` says what these are. Raises HTTPException for what is no host, and while there is no directory."""
    found, receipt, base = _known(view, checked(host), waits, unknown, envoys)
    asking = asyncio.create_task(ask(view.asks_gds, found.host))
    probing = asyncio.create_task(live.probe(found.host)) if probe else None
    try:
        await _ask(live, found)
        found.gds = await asking
        found.probe = await probing if probing else None
    finally:  # a probe that can't be made is told as it is, and not as one of a group
        for task in filter(None, (asking, probing)):
            task.cancel()
    if found.record is not None:
        attributed(found.record, found.gds, receipt, base)
    if note := differing(found.host, found.record, found.gds, base):
        found.notes.append(note)
    return found


async def every(view: View, live: Live, host: str, after: int, most: int) -> Page[Envoy]:
    """The Envoys that came after that number, and at most so many, each as it is at one moment. Raises HTTPException as
    `explained`."""
    complete(view)
    host = checked(host)
    chain = _Chain(view, host)
    found = view.streams_after(after, most + 1)
    more = str(found[most - 1][0]) if len(found) > most else None
    envoys: list[Envoy] = []
    for some in cut(found[:most], _TOGETHER):
        chain = _Chain(view, host)
        envoys += [_envoy(view, stream, chain.is_at(stream), chain) for _, stream in some]
        await asyncio.sleep(0)
    states, _ = await live.read({envoy.node for envoy in envoys}, chain.host, chain.pod or "", chain.table)
    for envoy in envoys:
        envoy.live = states.get(envoy.node)
    return Page[Envoy](items=envoys, next=more, total=len(view.tracker.streams))


def _known(view: View, host: str, waits: Waits, unknown: str, envoys: int) -> tuple[Explanation, Receipt | None, int]:
    """All that is known here, as it is at one moment: with the receipt of the record's last change, if it is
    remembered, and the newest snapshot's revision."""
    directory, chain = complete(view), _Chain(view, host)
    receipt = _receipt_of(view, chain)
    virtual_host = view.tables.made(view.tables.number_of(host), chain.pod) if chain.pod else None
    found = Explanation(
        host=host,
        epoch=directory.epoch,
        revision=directory.revision,
        published=view.tracker.receipts.revision,
        routed=chain.pod is not None,
        answer=f"the answer of pod {chain.pod}" if chain.pod else unknown,
        notes=_notes(view, chain, waits),
        record=_record(view, chain, receipt),
        gds=_UNASKED,
        scope=chain.scope,
        table=chain.table,
        table_version=_version(view, ROUTE, chain.table),
        table_age=_age(view, ROUTE, chain.table),
        virtual_host=chain.pod,
        virtual_host_version=virtual_host.version if virtual_host else None,
        virtual_host_age=_age_since(view, virtual_host.at) if virtual_host else None,
        route=f"prefix / → cluster {chain.pod}" if chain.pod else None,
        cluster=_cluster(view, chain.pod),
        certificate=chain.certificate,
        envoys=_envoys(view, chain, envoys) if envoys else None,
        probe=None,
    )
    return found, receipt, directory.base


async def _ask(live: Live, found: Explanation) -> None:
    """Adds what the admins of the Envoys that are shown say."""
    envoys = found.envoys.shown if found.envoys else []
    nodes = {envoy.node for envoy in envoys}
    states, healths = await live.read(nodes, found.host, found.cluster.name if found.cluster else "", found.table)
    for envoy in envoys:
        envoy.live = states.get(envoy.node)
    for endpoint in found.cluster.endpoints if found.cluster else ():
        endpoint.health = healths.get(f"{endpoint.address}:{endpoint.port}", "unknown")


class _Chain:
    """What a host's request goes through, as it is now."""

    def __init__(self, view: View, host: str) -> None:
        self.host = host
        tables = view.tables
        found = view.directory.lookup(host)
        self.domain: str | None = found[0] if found else None
        self.pod: str | None = found[1] if found else None
        self.table = table_name(tables.number_of(host))
        key, split = host[:2], tables.is_split(host[:2])
        self.scope = Scope(
            key=key,
            name=scope_name(key),
            table=RESCOPE if split else self.table,
            split=split,
            version=_version(view, SCOPE, scope_name(key)),
            age=_age(view, SCOPE, scope_name(key)),
        )
        self.resources: list[tuple[ResourceType, str]] = [(SCOPE, scope_name(key)), (ROUTE, self.table)]
        if split:
            hashed = hashed_key(hashed_table_of(host, len(tables)))
            self.resources += [(SCOPE, scope_name(hashed)), (ROUTE, RESCOPE)]
        if self.pod:
            self.resources += [(CLUSTER, self.pod), (ENDPOINT, self.pod)]
        self.wanted = {resource: _version(view, *resource) for resource in self.resources}
        self.certificate = _certificate(view, host)
        self.secret: dict[tuple[ResourceType, str], str | None] = {}
        """The service's certificate, where that is the one: those on demand are on streams of their own."""
        if self.certificate and self.certificate.name and not self.certificate.on_demand:
            self.secret[SECRET, self.certificate.name] = _version(view, SECRET, self.certificate.name)

    def is_at(self, stream: Stream) -> bool:
        """The Envoy ACKed all of it as it is published."""
        return stream.has(ROUTE) and stream.has_acked(self.wanted) and not self._lacks_secret(stream)

    def is_rejected_by(self, stream: Stream) -> bool:
        """The Envoy rejected some of it."""
        copies = (stream.resource(kind, name) for kind, name in (*self.wanted, *self.secret))
        return any(status.rejected for status, _ in copies if status)

    def of(self, stream: Stream) -> dict[tuple[ResourceType, str], str | None]:
        """What concerns that Envoy, with the version that it should have."""
        return self.wanted | self.secret if self._has_secret(stream) else self.wanted

    def _lacks_secret(self, stream: Stream) -> bool:
        return bool(self.secret) and not stream.has_acked(self.secret) and self._has_secret(stream)

    def _has_secret(self, stream: Stream) -> bool:
        """It holds the certificate, or is sent it: not every Envoy need ask for it here."""
        return any(stream.resource(*secret)[0] is not None for secret in self.secret)


def _receipt_of(view: View, chain: _Chain) -> Receipt | None:
    if chain.domain is None:
        return None
    return view.tracker.receipts.standing(view.directory.revision_of(chain.domain)).receipt


def _record(view: View, chain: _Chain, receipt: Receipt | None) -> Record | None:
    if chain.domain is None or chain.pod is None:
        return None
    moved = _move_of(receipt, chain.domain)
    return Record(
        domain=chain.domain,
        pod=chain.pod,
        revision=view.directory.revision_of(chain.domain),
        received_at=receipt.wall if receipt else None,
        previous_pod=moved,
        by=None,
        committed_at=None,
        source=None,
        unknown_because=None,
    )


def _move_of(receipt: Receipt | None, domain: str) -> str | None:
    moves = receipt.first if receipt else ()
    return next((move.before for move in moves if move.kind == "domain" and move.name == domain), None)


def _notes(view: View, chain: _Chain, waits: Waits) -> list[str]:
    notes = []
    for name in dict.fromkeys((chain.host, chain.domain or chain.host)):
        aside = view.directory.set_aside.get(("domain", name))
        if aside is not None:
            notes.append(f"the newest record of {name} is set aside: {aside.reason}")
        held = waits(name)
        if held is not None:
            notes.append(f"held back: at GDS {name} is on {held[1] or 'no pod'}, at the edge on {held[0] or 'no pod'}")
    hold = view.kept().hold
    if hold is not None:
        notes.append(f"{hold.state}: {hold.text}")
    if chain.pod and (aside := view.directory.set_aside.get(("pod", chain.pod))):
        notes.append(f"the newest record of pod {chain.pod} is set aside: {aside.reason}")
    if chain.pod and not view.directory.pods[chain.pod].endpoints:
        notes.append(f"pod {chain.pod} has no endpoints: clients get 503")
    if view.kept().disk:
        notes.append("GDS hasn't answered since the start: this is what was kept on disk")
    return notes


def _cluster(view: View, pod: str | None) -> Cluster | None:
    if pod is None:
        return None
    found = view.directory.pods[pod]
    endpoints = [EndpointShown(**one.model_dump(), health="unknown") for one in endpoints_of(found)]
    return Cluster(
        name=pod,
        version=_version(view, CLUSTER, pod),
        age=_age(view, CLUSTER, pod),
        endpoints_version=_version(view, ENDPOINT, pod),
        endpoints_age=_age(view, ENDPOINT, pod),
        datacenter=found.datacenter,
        max_connections=found.max_connections,
        endpoints=endpoints,
    )


def _certificate(view: View, host: str) -> Certificate | None:
    if view.tls is None:
        return None
    index = view.tls.index
    own = index.get(view.tls.certificate)
    entry, note = own, "the service's own"
    on_demand = view.tls.on_demand is not None
    if own is None or not covered(host, own.facts.names):
        covering = index.covering(host) if on_demand else None
        if covering is not None:
            entry, note = covering, "the customer's own"
        elif view.tls.tls.unknown == "refuse" and (on_demand or own is not None):
            entry, note = None, "no certificate is for it: the handshake is refused (setting edge.tls.unknown_sni)"
    if entry is None:
        return Certificate(
            name=None,
            covers=False,
            on_demand=on_demand,
            age=None,
            not_before=None,
            not_after=None,
            days=None,
            note=note,
        )
    after, now = entry.facts.not_after, time.time()
    return Certificate(
        name=entry.place.name,
        covers=covered(host, entry.facts.names),
        on_demand=on_demand and entry is not own,
        age=Age(seconds=round(max(0.0, now - entry.since), 3), since_start=entry.first),
        not_before=shown(entry.facts.not_before),
        not_after=shown(after),
        days=round((after - now) / 86_400, 2),
        note=note,
    )


def _envoys(view: View, chain: _Chain, most: int) -> Envoys:
    streams = [stream for stream in view.streams() if stream.node is not None]
    lacking: list[Stream] = []
    having: list[Stream] = []
    for stream in streams:
        (having if chain.is_at(stream) else lacking).append(stream)
    rejecting = [stream for stream in lacking if chain.is_rejected_by(stream)]
    worst = islice(dict.fromkeys([*rejecting, *lacking]), most)
    shown = [_envoy(view, stream, False, chain) for stream in worst]
    shown += [_envoy(view, stream, True, chain) for stream in having[: most - len(shown)]]
    return Envoys(connected=len(streams), have_it=len(having), rejecting=len(rejecting), shown=shown)


def _envoy(view: View, stream: Stream, has_it: bool, chain: _Chain) -> Envoy:
    node = stream.node.id if stream.node else ""
    copies = []
    for (kind, name), version in chain.of(stream).items():
        status, acked = stream.resource(kind, name)
        copies.append(
            Copy(
                type=kind.name,
                name=name,
                wanted=version,
                sent=(status.version or None) if status else None,
                acked=acked or None,
                in_flight=status.in_flight if status else False,
                rejected=(status.rejected or None) if status else None,
                error=(status.error or None) if status else None,
            )
        )
    since = view.tracker.connected_since(stream)
    return Envoy(
        node=node,
        has_it=has_it,
        connected_seconds=round(view.clock() - since, 3) if since is not None else 0.0,
        resources=copies,
        live=None,
    )


def _age(view: View, kind: ResourceType, name: str) -> Age | None:
    made = view.cache.made(kind, name)
    return None if made is None else _age_since(view, made.at)


def _age_since(view: View, at: float) -> Age:
    """Of what was made then."""
    return Age(seconds=round(max(0.0, view.clock() - at), 3), since_start=view.cache.was_first(at))


def _version(view: View, kind: ResourceType, name: str) -> str | None:
    held = view.cache.view(kind).get(name)
    return held.version if held else None
