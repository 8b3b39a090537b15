"""Where a host goes, link by link, in words for people: what the API explains, told anew. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from xds.http import explanation as api
from xds.http.live import LiveState
from xds.http.page.content import CopyRow, Explanation, Link, Listing, Tone
from xds.http.page.rows import kind
from xds.http.page.verdict import SOON
from xds.http.page.words import duration, moment, number, plural
from xds.http.paging import Page

ENVOYS = 20
_ENDPOINTS = 20
_DAY = 86_400.0


def told(found: api.Explanation) -> Explanation:
    envoys = found.envoys or api.Envoys(connected=0, have_it=0, rejecting=0, shown=[])
    everywhere = envoys.have_it == envoys.connected
    if not envoys.connected:
        had = "no Envoy is connected"
    elif everywhere:
        had = "every Envoy has it so"
    else:
        had = f"{number(envoys.have_it)} of {plural(envoys.connected, 'Envoy')} have it so"
    if found.record:
        answer = f"{found.host} goes to {found.record.pod}, and {had}."
    else:
        answer = f"{found.host} goes nowhere: clients get {found.answer or 'an error'}."
    return Explanation(
        host=found.host,
        tone="good" if found.record and everywhere and not found.notes else "warn",
        answer=answer,
        notes=found.notes,
        links=[*_links(found)],
        copies=Listing([_copy(one) for one in envoys.shown[:ENVOYS]], envoys.connected),
        copies_text=_copies(envoys),
    )


def _copies(envoys: api.Envoys) -> str:
    if not envoys.connected:
        return ""
    rest = {"reject": envoys.rejecting, "lack": envoys.connected - envoys.have_it - envoys.rejecting}
    words = "".join(f", {number(count)} {does} something of it" for does, count in rest.items() if count)
    return f"{number(envoys.have_it)} of {number(envoys.connected)} have it{words}"


def _links(found: api.Explanation) -> Iterator[Link]:
    yield _record(found)
    scope = found.scope
    split = f"so many hosts begin with {found.scope.key!r} that a hash of the whole name chooses the table"
    chosen = split if scope.split else "the first two characters choose the table"
    note = f"{chosen}; {_version(scope.version, scope.age)}"
    yield Link("Scope", scope.key, "good" if scope.version else "warn", note)
    table = _version(found.table_version, found.table_age)
    yield Link("Route table", found.table, "good" if found.table_version else "warn", table)
    if found.virtual_host:
        note = f"{found.route}; {_version(found.virtual_host_version, found.virtual_host_age)}"
        yield Link("Virtual host", found.virtual_host, "good" if found.virtual_host_version else "warn", note)
    if found.cluster:
        cluster, endpoints = found.cluster, found.cluster.endpoints
        facts = [("datacenter", cluster.datacenter or "none"), ("most connections", number(cluster.max_connections))]
        note = _version(cluster.version, cluster.age)
        yield Link("Cluster", cluster.name, "good" if cluster.version else "warn", note, facts)
        healthy = any(one.health != "unhealthy" for one in endpoints)
        places = [(f"{one.address}:{one.port}", _endpoint(one)) for one in endpoints[:_ENDPOINTS]]
        more = len(endpoints) - len(places)
        note = _version(cluster.endpoints_version, cluster.endpoints_age) + (f"; {number(more)} more" if more else "")
        yield Link("Endpoints", number(len(endpoints)), "good" if healthy else "bad", note, places)
    if found.certificate:
        yield _certificate(found.certificate)


def _record(found: api.Explanation) -> Link:
    record = found.record
    if record is None:
        return Link("Record", "none", "warn", f"at revision {number(found.revision)} of GDS")
    note = f"since revision {number(record.revision)}"
    note += f", {moment(record.received_at)}" if record.received_at is not None else ""
    note += f"; on {record.previous_pod} before" if record.previous_pod else ""
    if record.source is None:
        note += f"; by whom and when isn't known: {record.unknown_because}"
        return Link("Record", f"{record.domain} → {record.pod}", "good", note)
    facts = [
        ("made by", record.by or "nobody that is named"),
        ("made at", "not told" if record.committed_at is None else moment(record.committed_at)),
        ("says who", "GDS, now" if record.source == "gds" else "the change, when it came"),
    ]
    return Link("Record", f"{record.domain} → {record.pod}", "good", note, facts)


def _certificate(found: api.Certificate) -> Link:
    if found.name is None:
        return Link("Certificate", "none", "bad", found.note)
    tone: Tone = "good"
    if found.days is not None:
        tone = "bad" if found.days < 0 else "warn" if found.days < SOON else "good"
    facts = [("from", found.not_before)] if found.not_before else []
    facts += [("until", found.not_after)] if found.not_after else []
    facts += [("left", duration(max(0.0, found.days * _DAY)))] if found.days is not None else []
    note = found.note + ("" if found.covers else ", which isn't for this host") + _shown_since(found.age)
    return Link("Certificate", found.name, tone if found.covers else "warn", note, facts)


def _shown_since(age: api.Age | None) -> str:
    if age is None:
        return ""
    if age.since_start:
        return f"; as at the start {duration(age.seconds)} ago, since when before that isn't known"
    return f"; this one for {duration(age.seconds)}"


def _endpoint(one: api.EndpointShown) -> str:
    known = [f"zone {one.zone}" if one.zone else "", f"weight {one.weight}"]
    return ", ".join([*filter(None, known), *([one.health] if one.health != "unknown" else [])])


def copies(found: Page[api.Envoy]) -> Listing[CopyRow]:
    """Some of all Envoys."""
    return Listing([_copy(one) for one in found.items], found.total or 0, found.next or "")


def _copy(envoy: api.Envoy) -> CopyRow:
    rejected = next((one for one in envoy.resources if one.error), None)
    lacks = [kind(one.type) for one in envoy.resources if one.wanted != one.acked]
    if envoy.has_it:
        return CopyRow(envoy.node, "good", "has it", _live(envoy.live), envoy.connected_seconds)
    if rejected:
        state = f"rejected its {kind(rejected.type)}: {rejected.error}"
        return CopyRow(envoy.node, "bad", state, _live(envoy.live), envoy.connected_seconds)
    state = "lacks " + ", ".join(dict.fromkeys(lacks)) if lacks else "hasn't asked yet"
    return CopyRow(envoy.node, "warn", state, _live(envoy.live), envoy.connected_seconds)


def _live(live: LiveState | None) -> str:
    if live is None:
        return ""
    return live.error or (f"routes it to {live.pod}" if live.pod else "routes it nowhere")


def _version(version: str | None, age: api.Age | None) -> str:
    if version is None or age is None:
        return f"version {version}" if version else "not published"
    if age.since_start:
        return f"version {version}, as at the start {duration(age.seconds)} ago; how old it was then isn't known"
    return f"version {version}, published {duration(age.seconds)} ago"
