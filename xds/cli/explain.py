"""The command ``pointsman explain``: why a host goes where it goes, link by link."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from xds.cli import exits
from xds.cli.completion import hosts
from xds.cli.fleet import fleet
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.output import (
    BAD,
    GOOD,
    QUIET,
    WARN,
    age,
    ago,
    moment,
    print_json,
    progress,
    say,
    styled,
    table,
    took,
    when,
)
from xds.cli.pasted import host_in
from xds.cli.plane import Plane
from xds.cli.status import SOON
from xds.errors import PointsmanError

_FEW = 10
"""Envoys of which all are shown one by one."""
_FIRST = 100
"""Envoys of a control plane that are looked through for such as differ, those that lack something first."""


def explain(
    host: Annotated[
        str, typer.Argument(help="A host as a client would name it, or a URL with it.", autocompletion=hosts)
    ],
    probe: Annotated[bool, typer.Option("--probe", help="Also asks the edge for it (setting http.probe).")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Every connected Envoy one by one, also those that have it; however many.")
    ] = False,
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Why a host goes where it goes: every link, and what every Envoy has of it.

    GDS's record, with who made it and when if GDS tells that, scope, table, virtual host, route, cluster, endpoints and
    their health, certificate; and for every Envoy what is wanted, was sent, ACKed, and is live (setting
    http.envoy_admins). With several control planes (setting http.replicas, or --url several times) the first one's
    answer, with the Envoys of all. Of more than ten Envoys those that lack something, or route it elsewhere, are shown
    one by one, and with --all the others, too.

    Exit code 3: it goes nowhere, its pod has no endpoints, clients are shown no certificate or one that has ended, no
    Envoy is connected, one lacks something of it or routes it elsewhere, the probe isn't answered by its pod, or one of
    several control planes can't be asked or says another pod. 1 when the only one, or the first, can't be asked.

    Examples:
        pointsman explain acme.example.com -c pointsman.toml
        pointsman explain acme.example.com --probe
        pointsman explain acme.example.com --json | jq .envoys
    """
    host = host_in(host)
    plane, *others = fleet(config, url or (), token_file)
    query = {"envoys": _FIRST, **({"probe": "true"} if probe else {})}
    found = plane.get(plane.path("/api/v1/domains", host, "explain"), query)
    if every:
        found["envoys"]["shown"] = _every(plane, host, found["envoys"]["connected"])
    asked = all([_joined(found, other, host, every) for other in others])
    if as_json:
        print_json(found)
    else:
        _show(found, every)
    pod = found["record"]["pod"] if found["record"] else None
    elsewhere = [one for one in found["envoys"]["shown"] if _elsewhere(one, pod)]
    probed = found["probe"] and not _right(found["probe"], pod)
    if (
        not asked
        or not found["routed"]
        or found["envoys"]["have_it"] < found["envoys"]["connected"]
        or not found["envoys"]["connected"]
        or not (found["cluster"] and found["cluster"]["endpoints"])
        or elsewhere
        or probed
        or (found["certificate"] and _useless(found["certificate"]))
    ):
        raise typer.Exit(exits.FOUND)


def _every(plane: Plane, host: str, connected: int) -> list[dict[str, Any]]:
    """Every Envoy of a control plane, those that lack something first."""
    found = []
    with progress("reading what the Envoys have", connected) as told:
        # As many as a control plane can ask for what is live, in the time that it takes for an answer.
        for envoy in plane.items(plane.path("/api/v1/domains", host, "explain", "envoys"), {"limit": _FIRST}):
            found.append(envoy)
            told(len(found), max(len(found), connected))
    return sorted(found, key=lambda one: bool(one["has_it"]))


def _joined(found: dict[str, Any], other: Plane, host: str, every: bool) -> bool:
    """Adds the Envoys of another control plane; whether it could be asked, and says the same."""
    try:
        told = other.get(other.path("/api/v1/domains", host, "explain"), {"envoys": _FIRST})
        shown = _every(other, host, told["envoys"]["connected"]) if every else told["envoys"]["shown"]
    except PointsmanError as error:
        found["notes"].append(f"its Envoys aren't in this: {error}")
        return False
    for count in ("connected", "have_it", "rejecting"):
        found["envoys"][count] += told["envoys"][count]
    found["envoys"]["shown"] += shown
    here, there = (each["record"]["pod"] if each["record"] else "nowhere" for each in (found, told))
    if here != there:
        found["notes"].append(f"the control plane at {other.url} says {there}")
    return here == there


def _elsewhere(envoy: dict[str, Any], pod: str | None) -> bool:
    """It routes it to another pod than it should, as its admin says."""
    live = envoy["live"]
    return bool(live and not live["error"] and live["pod"] != pod)


def _show(found: dict[str, Any], every: bool) -> None:
    record, scope, certificate = found["record"], found["scope"], found["certificate"]
    head = f"{found['host']} → {record['pod']}" if record else f"{found['host']} goes nowhere: {found['answer']}"
    say(styled(head, GOOD if found["routed"] else BAD))
    for note in found["notes"]:
        say(styled(f"! {note}", WARN))
    if record:
        before = f", before on {record['previous_pod']}" if record["previous_pod"] else ""
        came = f", received {ago(record['received_at'])}" if record["received_at"] else ""
        _link("record", f"{record['domain']} is on {record['pod']} since revision {record['revision']}{came}{before}")
        _link("made", _made(record))
    behind = found["revision"] - found["published"]
    note = f"; the edge is {behind} revisions behind" if behind > 0 else ""
    _link("directory", f"revision {found['revision']} of epoch {found['epoch']}, published {found['published']}{note}")
    split = ", split: a hash of the whole name chooses the table" if scope["split"] else ""
    since = _since(scope.get("version"), scope.get("age"))
    _link("scope", f"{scope['key']!r} ({scope['name']}) leads to {scope['table']}{split}, {since}")
    _link("table", f"{found['table']}, {_since(found['table_version'], found.get('table_age'))}")
    if record:
        since = _since(found.get("virtual_host_version"), found.get("virtual_host_age"))
        _link("virtual host", f"{found['virtual_host']}, {since}")
        _link("route", f"{found['route']}, a part of the virtual host")
    if cluster := found["cluster"]:
        _cluster(cluster)
    if certificate:
        _certificate(certificate)
    if probe := found["probe"]:
        _probe(probe, record)
    _envoys(found["envoys"], record["pod"] if record else None, every)


def _made(record: dict[str, Any]) -> str:
    """Who made the record, and when."""
    if record.get("source") is None:
        return f"by whom and when isn't known: {record.get('unknown_because') or 'the control plane is an older one'}"
    whose = "as GDS says" if record["source"] == "gds" else "as the change said when it came"
    return f"by {record['by'] or 'nobody that is named'}{_at(record['committed_at'])}, {whose}"


def _at(seconds: float | None) -> str:
    return ", at a time that isn't told" if seconds is None else f", {ago(seconds)} ({when(seconds)})"


def _link(name: str, *parts: Any) -> None:
    say(styled(f"  {name:<13}", "bold"), *parts)


def _since(version: str | None, old: dict[str, Any] | None) -> str:
    """Which version is published, and since when."""
    if version is None or old is None:
        return f"version {version}" if version else "not published"
    if old["since_start"]:
        return f"version {version}, as it was {age(old['seconds'])} ago at the start; how old it was then isn't known"
    return f"version {version}, published {age(old['seconds'])} ago"


def _cluster(cluster: dict[str, Any]) -> None:
    where = f" in {cluster['datacenter']}" if cluster["datacenter"] else ""
    _link("cluster", f"{cluster['name']}{where}, {_since(cluster['version'], cluster.get('age'))}")
    _link("endpoints", _since(cluster.get("endpoints_version"), cluster.get("endpoints_age")))
    styles = {"healthy": GOOD, "unhealthy": BAD, "unknown": QUIET}
    for each in cluster["endpoints"]:
        zone = f" zone {each['zone']}" if each["zone"] else ""
        health = styled(f"health {each['health']}", styles[each["health"]])
        _link("endpoint", f"{each['address']}:{each['port']}{zone}, weight {each['weight']}, ", health)
    if not cluster["endpoints"]:
        _link("endpoint", styled("none: clients get 503", BAD))


def _useless(certificate: dict[str, Any]) -> bool:
    """No client gets further."""
    return not certificate["name"] or (certificate["days"] is not None and certificate["days"] <= 0)


def _certificate(found: dict[str, Any]) -> None:
    asked = ", on demand" if found["on_demand"] else ""
    text = f"{found['name'] or 'none'}, {found['note']}{asked}"
    if old := found.get("age"):
        seconds = age(old["seconds"])
        start = f", as it was {seconds} ago at the start; since when before that isn't known"
        text += start if old["since_start"] else f", this one for {seconds}"
    _link("certificate", text if found["covers"] else styled(f"{text}; it is not for this host", WARN))
    if found["days"] is not None:
        ended = f"ended {-found['days']:.0f} days ago" if found["days"] < 0 else f"ends in {found['days']:.0f} days"
        style = BAD if found["days"] < 0 else WARN if found["days"] < SOON else ""
        begins = f"valid from {moment(found['not_before'])} " if found.get("not_before") else "valid "
        _link("", f"{begins}to {moment(found['not_after'])}, ", styled(ended, style))


def _right(probe: dict[str, Any], pod: str | None) -> bool:
    """A pod answered, and no other one as far as is known; of a host that goes nowhere the edge itself did."""
    if probe["error"] or pod is None:
        return not probe["error"] and not probe["by_pod"]
    return bool(probe["by_pod"]) and probe["pod"] in (None, pod)


def _probe(probe: dict[str, Any], record: dict[str, Any] | None) -> None:
    if probe["error"]:
        _link("probe", styled(f"{probe['edge']}: {probe['error']}", BAD))
        return
    who = f"pod {probe['pod']}" if probe["pod"] else "a pod; which one it doesn't say (setting edge.pod_header)"
    by = f"by {who}" if probe["by_pod"] else "by itself: no pod answered"
    style = GOOD if _right(probe, record["pod"] if record else None) else BAD
    _link("probe", styled(f"{probe['edge']} answers {probe['status']} in {took(probe['seconds'])}, {by}", style))


def _envoys(envoys: dict[str, Any], pod: str | None, every: bool) -> None:
    connected, have_it, rejecting = envoys["connected"], envoys["have_it"], envoys["rejecting"]
    shown = envoys["shown"]
    differing = [one for one in shown if not one["has_it"] or _elsewhere(one, pod)]
    counts = {
        "reject something of it": rejecting,
        "lack something of it": connected - have_it - rejecting,
        "route it elsewhere": sum(_elsewhere(one, pod) for one in shown),
    }
    words = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
    style = GOOD if have_it == connected and not words else BAD if rejecting else WARN
    _link("Envoys", styled(f"{have_it:,} of {connected:,} have it{words}", style))
    listed = shown if every or connected <= _FEW else differing
    _copies(listed)
    if connected > len(listed):
        lacking = connected - have_it - sum(not one["has_it"] for one in listed)
        others = [f"{lacking:,} that lack something of it"] if lacking else []
        if having := connected - len(listed) - lacking:
            others.append(f"{having:,} that have it")
        say(f"  and {' and '.join(others)}{'' if every else ' (--all)'}")


def _copies(envoys: list[dict[str, Any]]) -> None:
    rows = []
    for envoy in envoys:
        live = envoy["live"]
        if live is None:
            lives: Any = styled("-", QUIET)
        else:
            lives = styled(live["error"], WARN) if live["error"] else f"{live['pod'] or 'nowhere'}"
        for number, copy in enumerate(envoy["resources"]):
            same = copy["wanted"] == copy["acked"]
            state = (
                "rejected" if copy["rejected"] else "under way" if copy["in_flight"] else "ACKed" if same else "behind"
            )
            rows.append(
                [
                    envoy["node"] if number == 0 else "",
                    age(envoy["connected_seconds"]) if number == 0 else "",
                    copy["type"],
                    copy["name"],
                    *(_version(copy[which]) for which in ("wanted", "sent", "acked")),
                    styled(state, {"ACKed": GOOD, "rejected": BAD}.get(state, WARN)),
                    lives if number == 0 else "",
                    copy["error"] or "",
                ]
            )
    if rows:
        table(("node", "connected", "type", "resource", "wanted", "sent", "ACKed", "state", "live", "error"), rows)


def _version(version: str | None) -> str:
    """On a terminal its beginning, which tells one from another."""
    return (version or "-")[: 8 if sys.stdout.isatty() else None]
