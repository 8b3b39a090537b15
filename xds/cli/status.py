"""The command ``pointsman status``: all at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from xds.cli import exits
from xds.cli.fleet import at_once, fleet
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.output import BAD, GOOD, WARN, age, ago, facts, print_json, styled, table, took
from xds.errors import OrderError, PointsmanError

SOON = 14.0
"""Days before its end from which on a certificate is warned of."""
_PATIENCE = 10.0
"""Seconds that a control plane has to answer."""
_COUNTS = "connected", "converged", "behind", "nacking", "late", "spared"


def status(config: Config = None, url: Urls = None, token_file: Token = None, as_json: Json = False) -> None:
    """How everything stands: GDS, the directory, the Envoys, what is held, certificates.

    With several control planes (setting http.replicas, or --url several times) a line for each, and what isn't well at
    which.

    Exit code 3 unless all is well. Not well is: not ready, GDS not followed, a change held, no Envoy connected (to any
    of them), one that rejects something or has lacked a change for more than five seconds, a state or an
    audit log that can't be written, a certificate that has ended; where GDS is asked for one host at a time, a GDS that
    fails, knows no host or too few of those it had, and a pods file that can't be used. An Envoy that is only behind is
    well: it catches up. 1 when a control plane doesn't answer; of several the others are told of all the same.

    Examples:
        pointsman status -c pointsman.toml
        pointsman status --url http://127.0.0.1:18080 --json | jq .nodes
        pointsman status --json | jq '.control_planes[] | {url, error, revision: .status.published}'
    """
    planes = fleet(config, url or (), token_file, patience=_PATIENCE)
    answers = at_once(planes, lambda plane: plane.get("/api/v1/status"))
    told = {plane.url: answer for plane, answer in zip(planes, answers, strict=True)}
    errors = [error for error in told.values() if isinstance(error, PointsmanError)]
    if len(errors) == len(told):
        raise errors[0]
    wrong = _single(answers[0], as_json) if len(told) == 1 else _several(told, as_json)
    if errors:
        away = "; ".join(map(str, errors))
        raise OrderError(f"{len(errors)} of {len(told)} control planes can't be asked: {away}")
    if wrong:
        raise typer.Exit(exits.FOUND)


def _single(found: dict[str, Any], as_json: bool) -> list[str]:
    wrong = [*wrongs(found), *_nobody(found["nodes"])]
    if as_json:
        print_json({**found, "wrong": wrong})
    else:
        facts(_rows(found))
        facts(("not well", styled(each, BAD)) for each in wrong)
    return wrong


def _several(told: Mapping[str, Any], as_json: bool) -> list[str]:
    """By URL: the status, or why there is none."""
    asked = {url: found for url, found in told.items() if not isinstance(found, PointsmanError)}
    wrong = [f"{url}: {each}" for url, found in asked.items() for each in wrongs(found)]
    nodes = {what: sum(found["nodes"][what] for found in asked.values()) for what in _COUNTS}
    wrong += _nobody(nodes)
    if as_json:
        each = [
            {
                "url": url,
                "status": asked.get(url),
                "wrong": wrongs(asked[url]) if url in asked else [],
                "error": None if url in asked else str(found),
            }
            for url, found in told.items()
        ]
        print_json({"control_planes": each, "nodes": nodes, "wrong": wrong})
        return wrong
    heads = "control plane", "state", "domains", "revision", "published", "GDS", "Envoys", "behind", "reject", "held"
    table(heads, [_line(url, asked.get(url)) for url in told], numbers=(2, 3, 4, 6, 7, 8))
    epochs = {found["epoch"] for found in asked.values()}
    together = f"{nodes['connected']} connected to {len(asked)} control planes that answer, of {len(told)}"
    rows = [("Envoys", styled(f"{together}; {_envoys(nodes)}", _style(nodes)))]
    if len(epochs) > 1:
        rows.append(("epochs", styled(f"{', '.join(sorted(epochs))}: they don't follow the same GDS", WARN)))
    facts([*rows, *(("not well", styled(each, BAD)) for each in wrong)])
    return wrong


def _nobody(nodes: Mapping[str, int]) -> list[str]:
    """Of all control planes together: one that stands by has none."""
    return [] if nodes["connected"] else ["no Envoy is connected, so no change reaches the edge"]


def _line(url: str, found: dict[str, Any] | None) -> list[Any]:
    if found is None:
        return [url, styled("doesn't answer", BAD), *["-"] * 8]
    nodes, gds, hold = found["nodes"], found["gds"], found["hold"]["state"]
    return [
        url,
        styled("ready", GOOD) if found["ready"] else styled("not ready", BAD),
        f"{found['domains']:,}",
        found["revision"],
        styled(found["published"], WARN if gds["lag_revisions"] else ""),
        styled(gds["state"], GOOD if gds["state"] == "following" else BAD),
        nodes["connected"],
        styled(nodes["behind"], BAD if nodes["late"] else WARN if nodes["behind"] else ""),
        styled(nodes["nacking"], BAD if nodes["nacking"] else ""),
        styled("nothing" if hold == "none" else hold, BAD if hold == "held" else ""),
    ]


def wrongs(found: dict[str, Any]) -> list[str]:
    """What isn't as it should be, in words; empty when all is well."""
    gds, nodes, certificates = found["gds"], found["nodes"], found["certificates"]
    wrong = []
    if not found["ready"]:
        wrong.append(f"not ready: {found['unready']}")
    if found["mode"] == "watch" and gds["state"] != "following":
        wrong.append(f"GDS is not followed ({gds['state']}): {gds['error'] or 'it was not heard yet'}")
    wrong += _wrong_in_lookup(found["lookup"], gds["error"]) if found["lookup"] else []
    if found["hold"]["state"] == "held":
        wrong.append(f"held: {found['hold']['text']} (see `pointsman hold show`)")
    if nodes["nacking"]:
        wrong.append(f"{nodes['nacking']} Envoys reject something (see `pointsman nodes`)")
    if nodes["late"]:
        wrong.append(f"{nodes['late']} Envoys lack a change for more than 5 s (see `pointsman nodes`)")
    if found["state_error"]:
        wrong.append(f"the state can't be written: {found['state_error']}")
    if found.get("audit_error"):
        wrong.append(f"the audit log can't be written: {found['audit_error']}")
    if certificates and certificates["soonest"] and certificates["soonest"]["days"] <= 0:
        wrong.append(f"certificate {certificates['soonest']['name']} has ended (see `pointsman certs`)")
    for own in found.get("own_certificates", ()):
        if own["days"] <= 0:
            wrong.append(f"the control plane's own certificate (setting {own['setting']}) has ended")
    return wrong


def _wrong_in_lookup(lookup: dict[str, Any], error: str) -> list[str]:
    wrong = []
    if lookup["breaker"] != "closed":
        why = f": {error}" if error else ""
        wrong.append(f"GDS fails, so it is asked for nothing but to try it; hosts that aren't known get 503{why}")
    if lookup["gds_knows_nobody"]:
        wrong.append("GDS has known no host since the start: is it the right one? (see `pointsman check --host`)")
    if lookup["gds_doubted"]:
        wrong.append(f"GDS hasn't got {lookup['missing']:,} known hosts: these are so many that none is withdrawn")
    if lookup["pods_error"]:
        wrong.append(f"the pods file can't be used as it is: {lookup['pods_error']}")
    return wrong


def _rows(found: dict[str, Any]) -> list[tuple[str, Any]]:
    gds, nodes, hold, lately = found["gds"], found["nodes"], found["hold"], found["convergence"]
    up = age(found["now"] - found["started_at"])
    ready = styled("ready", GOOD) if found["ready"] else styled(f"not ready: {found['unready']}", BAD)
    rows: list[tuple[str, Any]] = [
        ("control plane", f"{found['version']}, up {up}, mode {found['mode']}"),
        ("state", ready),
        (
            "directory",
            f"{found['domains']:,} domains on {found['pods']:,} pods, revision {found['revision']} of epoch "
            f"{found['epoch']}, published {found['published']}{', from disk' if found['from_disk'] else ''}",
        ),
        ("GDS", styled(_gds(gds), GOOD if gds["state"] == "following" else BAD)),
        *([("lookup", _lookup(found["lookup"]))] if found["lookup"] else []),
        (
            "Envoys",
            styled(f"{nodes['connected']} connected, {_envoys(nodes)}", _style(nodes)),
        ),
        (
            "convergence",
            f"{lately['count']} ACKs in 5 min, median {took(lately['p50'])}, p99 {took(lately['p99'])}"
            if lately["count"]
            else "nothing changed in 5 min",
        ),
        (
            "held",
            styled(f"{hold['state']} {ago(hold['since'])}: {hold['text']}", BAD if hold["state"] == "held" else WARN)
            if hold["state"] != "none"
            else "nothing",
        ),
        ("set aside", styled(f"{found['set_aside']} records", WARN) if found["set_aside"] else "nothing"),
    ]
    if certificates := found["certificates"]:
        rows.append(("certificates", _certificates(certificates)))
    if own := found.get("own_certificates"):
        said = f"setting {own[0]['setting']} ends first, in {own[0]['days']:.0f} days"
        rows.append(("its own certificates", styled(said, WARN if own[0]["days"] < SOON else GOOD)))
    if found["state_error"]:
        rows.append(("state folder", styled(found["state_error"], BAD)))
    return rows


def _lookup(lookup: dict[str, Any]) -> Any:
    known = f"{lookup['known']:,} hosts known, all asked for again within {age(lookup['round_seconds'])}"
    said = f"{known}; {lookup['waiting']:,} waited for, {lookup['missing']:,} missing at GDS"
    return styled(said, GOOD if lookup["breaker"] == "closed" else BAD)


def _envoys(nodes: dict[str, int]) -> str:
    spared = nodes["spared"]
    kept = f", {spared} keep what they came with, since it may be newer than the disk's" if spared else ""
    return f"{nodes['converged']} have everything, {nodes['behind']} behind, {nodes['nacking']} reject something{kept}"


def _style(nodes: dict[str, int]) -> str:
    return BAD if nodes["nacking"] or nodes["late"] else WARN if nodes["behind"] or not nodes["connected"] else GOOD


def _gds(gds: dict[str, Any]) -> str:
    heard = "never heard" if gds["silent_seconds"] is None else f"last heard {age(gds['silent_seconds'])} ago"
    said = f"{gds['state']}, revision {gds['revision']}, the edge is {gds['lag_revisions']} behind, {heard}"
    return f"{said}: {gds['error']}" if gds["error"] else said


def _certificates(certificates: dict[str, Any]) -> Any:
    soonest = certificates["soonest"]
    said = f"{certificates['total']:,}, {certificates['set_aside']} set aside"
    if soonest is None:
        return said
    said += f"; {soonest['name']} ends first, in {soonest['days']:.0f} days"
    return styled(said, WARN if soonest["days"] < SOON or certificates["set_aside"] else GOOD)
