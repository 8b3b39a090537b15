"""The rows of the page's tables, from what the API reads: never more than are shown, whatever there is."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from urllib.parse import unquote

from xds.audit import Entry as Act
from xds.certificates.index import Entry
from xds.convergence import Quantiles
from xds.edge_tls import EdgeTls
from xds.gds.model import Pod
from xds.http.lookup import LookupState, lookup_state
from xds.http.page.content import (
    ActRow,
    AsideRow,
    CertificateRow,
    ChangeRow,
    Convergence,
    EnvoyRow,
    Listing,
    NackRow,
    OwnRow,
    PodRow,
    Point,
    Tone,
    UnknownRow,
    UnusedRow,
)
from xds.http.page.verdict import SOON
from xds.http.page.words import duration, moment, number, plural
from xds.http.view import Counts, View
from xds.protocol.stream import Stream
from xds.receipt import Move, Receipt
from xds.receipts import Receipts
from xds.resources.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPE, SECRET
from xds.server.streams import NodeState
from xds.set_aside import SetAside
from xds.unknown_hosts import Asked

CHANGES, FEW = 15, 8
LATELY, AT_LEAST = 1_800.0, 300.0
"""Seconds of the chart: fewer while there aren't as many since the start."""
_LOOKED_AT = 100
"""Receipts in which NACKs are looked for."""
_NAMES = 3
_DAY = 86_400.0
_KINDS = {
    CLUSTER: "clusters",
    ENDPOINT: "endpoints",
    LISTENER: "listeners",
    ROUTE: "route tables",
    SCOPE: "scopes",
    SECRET: "certificates",
}
_OUTCOMES: dict[str, Tone] = {"done": "good", "asked": "idle", "failed": "bad", "denied": "bad"}
_NAMED = {of.name: called for of, called in _KINDS.items()}


def kind(name: str) -> str:
    """A resource type as people call its resources."""
    return _NAMED.get(name, name)


def changes(receipts: Receipts, before: int | None = None, most: int = CHANGES) -> Iterator[ChangeRow]:
    """The newest first; ``before``: those that came before the receipt of that number."""
    joining = receipts.joining
    for receipt in islice(receipts.newest_first(before), most):
        yield _change(receipts, receipt, joining)


def _change(receipts: Receipts, receipt: Receipt, joining: int) -> ChangeRow:
    publish = receipt.publish
    state, tone = _state(receipts, receipt, joining)
    name = receipt.number, receipt.revision
    if publish is None or not publish.envoys:
        return ChangeRow(*name, receipt.wall, said(receipt), state, tone, by=receipt.author.by)
    done = publish.completed
    seconds = max(0.0, done - receipt.received) if done is not None and not publish.pending else None
    acked = publish.envoys - publish.pending - publish.left
    row = ChangeRow(*name, receipt.wall, said(receipt), state, tone, by=receipt.author.by)
    return replace(row, acked=acked, envoys=publish.envoys, seconds=seconds)


def _state(receipts: Receipts, receipt: Receipt, joining: int) -> tuple[str, Tone]:
    publish = receipt.publish
    match receipts.state_of(receipt, joining):
        case "held":
            return "held", "warn"
        case "set_aside":
            return "partly set aside", "warn"
        case "rolled_back":
            return "not at the edge", "idle"
        case "complete" if publish and publish.envoys:
            return "at all", "good"
        case "complete":
            return "published", "good"
        case "published" if publish and receipts.is_rejected(publish):
            return "rejected", "bad"
        case "published" if publish and publish.pending and publish.pending == publish.missing:
            return "an Envoy left without it", "warn"
        case "published" if publish and publish.pending:
            return "on its way", "idle"
        case "published" if publish and publish.doubtful:
            return "being checked", "idle"  # which of its records are used isn't known before a search ends
        case "published" if receipt.bad and not joining:
            return "on its way", "idle"
        case "published":
            return "at all", "good"  # those that have just come get it with all else
        case _:
            return "received", "idle"


def said(receipt: Receipt) -> str:
    """What a revision changed: its first change, and how many more."""
    if receipt.kind == "snapshot":
        return f"snapshot of GDS: {plural(receipt.changes, 'difference')}"
    if not receipt.first:
        return plural(receipt.changes, "change")
    more = receipt.changes - 1
    return moved(receipt.first[0]) + (f", and {number(more)} more" if more else "")


def moved(move: Move) -> str:
    if move.kind == "pod":
        return f"pod {move.name} " + ("removed" if move.after is None else "changed" if move.before else "added")
    if move.after is None:
        return f"{move.name}: removed from {move.before or 'nowhere'}"
    return f"{move.name}: {move.before} → {move.after}" if move.before else f"{move.name}: new on {move.after}"


def convergence(view: View) -> Convergence:
    now, wall, times = view.clock(), view.tracker.wall(), view.tracker.receipts.convergence
    span = min(LATELY, max(AT_LEAST, wall - view.started_at))
    points = [_point(one.at - now + wall, one.quantiles) for one in times.series(now)]
    whole = times.lately(now, span)
    return Convergence(wall, span, _point(wall - span, whole) if whole.count else None, points)


def _point(at: float, of: Quantiles) -> Point:
    return Point(at, of.p50, of.p99, of.max, of.count)


def envoy(state: NodeState, lacks: bool, now: float) -> EnvoyRow:
    """``lacks``: something of the newest publish. ``now``: seconds since 1970."""
    days = (state.certificate_ends - now) / _DAY if state.certificate_ends else None
    rejected = [kind(one.type) for one in state.types if one.rejecting]
    behind = [kind(one.type) for one in state.types if one.in_flight]
    tone: Tone = "bad" if rejected else "idle" if lacks else "good"
    word = "rejects" if rejected else "behind" if lacks else "current"
    return EnvoyRow(
        state.node,
        unquote(state.peer.partition(":")[2]),  # gRPC says "ipv4:10.0.0.1:5000", and escapes the brackets of IPv6
        state.cluster,
        state.variant,
        state.connected_seconds,
        tone,
        word,
        behind if lacks else (),
        rejected,
        state.user_agent,
        days,
        "good" if days is None else _left(days),
    )


def envoys(view: View, rejecting: Collection[Stream], behind: Collection[Hashable]) -> list[EnvoyRow]:
    """Those that aren't current first, then those that have been here for longest."""
    first = [*rejecting, *(one for one in islice(behind, FEW) if isinstance(one, Stream))][:FEW]
    now = view.tracker.wall()
    rows = [envoy(state, lacks=True, now=now) for state in view.nodes_of(dict.fromkeys(first))]
    for state in view.nodes_after(0, 2 * FEW):
        row = envoy(state, lacks=False, now=now)
        if len(rows) < FEW and row.tone == "good" and row.peer not in {one.peer for one in rows}:
            rows.append(row)
    return rows


def nacks(view: View, rejecting: Sequence[Stream]) -> Listing[NackRow]:
    """What is rejected now, and then what was rejected lately and is taken since."""
    now: dict[tuple[str, str], NackRow] = {}
    for state in view.nodes_of(rejecting[:FEW]):
        for one in state.types:
            if one.rejecting:
                names = one.rejected[:_NAMES]
                row = NackRow(None, state.node, kind(one.type), names, one.last_nack, current=True)
                now[state.node, one.type] = row
    rows = [*now.values(), *_before(view.tracker.receipts, now)]
    return Listing(rows[:FEW], max(len(rejecting), len(rows[:FEW])))


def _before(receipts: Receipts, now: Collection[tuple[str, str]]) -> Iterator[NackRow]:
    seen = set(now)
    for receipt in islice(receipts.newest_first(), _LOOKED_AT):
        publish = receipt.publish
        for nack in publish.nacks.values() if publish else ():
            node = receipts.name_of(nack.number)
            if (node, nack.type) not in seen:
                seen.add((node, nack.type))
                at = receipt.wall + max(0.0, nack.at - receipt.received)
                yield NackRow(at, node, kind(nack.type), (), nack.reason, current=False)


def pod(view: View, pod: Pod) -> PodRow:
    return PodRow(pod.name, pod.datacenter, view.directory.residents.get(pod.name, 0), len(pod.endpoints))


def largest_pods(view: View) -> Listing[PodRow]:
    residents, all_pods = view.directory.residents, view.directory.pods
    largest = heapq.nsmallest(FEW, all_pods, key=lambda name: (-residents.get(name, 0), name))
    return Listing([pod(view, all_pods[name]) for name in largest], len(all_pods))


def certificate(entry: Entry, now: float) -> CertificateRow:
    days = (entry.facts.not_after - now) / _DAY
    names = entry.facts.names
    more = max(0, len(names) - _NAMES)
    return CertificateRow(entry.place.name, names[:_NAMES], more, entry.facts.not_after, days, _left(days))


def own_certificates(ends: Mapping[str, float], now: float) -> list[OwnRow]:
    """``ends``: by setting, when each ends."""
    days = {setting: (at - now) / _DAY for setting, at in ends.items()}
    soonest = sorted(ends.items(), key=lambda one: one[1])
    return [OwnRow(setting, at, days[setting], _left(days[setting])) for setting, at in soonest]


def _left(days: float) -> Tone:
    return "bad" if days < 0 else "warn" if days < SOON else "good"


def unused(tls: EdgeTls, names: Iterable[str]) -> list[UnusedRow]:
    index = tls.index
    return [UnusedRow(name, index.aside[name].reason, name in index) for name in names]


def aside(some: Iterable[SetAside]) -> list[AsideRow]:
    return [AsideRow(one.kind, one.name, one.reason, one.revision) for one in some]


def unknown(some: Iterable[Asked]) -> list[UnknownRow]:
    return [UnknownRow(one.host, one.count, one.error) for one in some]


def acts(some: Iterable[Act]) -> list[ActRow]:
    return [
        ActRow(
            one.at,
            one.order,
            one.outcome,
            _OUTCOMES.get(one.outcome, "warn"),
            one.who,
            one.address,
            one.reason,
            one.revision,
        )
        for one in some
    ]


def figures(view: View) -> Iterator[tuple[str, str]]:
    """Of the API's status, what no other section shows."""
    counts, mirror = view.counts(), view.mirror
    yield "Started", f"{moment(view.started_at)}, {duration(max(0.0, view.tracker.wall() - view.started_at))} ago"
    yield "Epoch of GDS", view.directory.epoch or "none"
    yield "GDS reached anew", plural(mirror.reconnects, "time")
    yield "Snapshots of GDS", number(mirror.snapshots)
    yield "Changes", f"{number(counts.changes)} in {plural(counts.publishes, 'publish', 'es')}"
    refused = sum(counts.refused.values())
    yield "At the xDS port", f"{plural(counts.handshakes, 'handshake')}, {number(refused)} refused"
    under_way = ", one under way" if counts.searching else ""
    yield "Searches for a record that is rejected", f"{number(counts.searches)}{under_way}"
    if told := splits_said(counts, view.tables.split_pairs):
        yield "Crowded pairs of first characters", told
    if view.audit.trouble:
        yield "Audit log", f"can't be written: {view.audit.trouble}"
    if view.spared:
        yield "Envoys that keep what they came back with", f"{number(view.spared)}, until GDS answers"
    if view.tls is not None and view.tls.on_demand is not None:
        yield "Certificates held on demand", number(view.tls.on_demand.held)
    if view.lookup is not None:
        yield from _lookup(lookup_state(view.lookup))


def splits_said(counts: Counts, pairs: int) -> str:
    """Empty where there are none."""
    said = [f"{number(pairs)} split over all tables"] * bool(pairs)
    if counts.splitting:
        lacking = f"{plural(counts.split_lacking, 'Envoy')} to take it"
        said.append(f"a step is under way, {lacking}" if counts.split_lacking else "a step is under way")
    if counts.splits_untaken:
        said.append(f"{plural(counts.splits_untaken, 'step')} not taken by every Envoy in time")
    return "; ".join(said)


def _lookup(state: LookupState) -> Iterator[tuple[str, str]]:
    yield "Hosts asked again in the background", f"{number(state.known)}, all within {duration(state.round_seconds)}"
    yield "Hosts that GDS is asked for now", number(state.waiting)
    yield "Known hosts that GDS hasn't got", number(state.missing)
    yield "Breaker to GDS", state.breaker
