"""The command ``pointsman status``: all at a glance."""

from __future__ import annotations

from typing import Any

import typer

from xds.cli import exits
from xds.cli.options import Config, Json, Token, Url
from xds.cli.output import BAD, GOOD, WARN, age, ago, facts, print_json, styled, took
from xds.cli.plane import Plane

SOON = 14.0
"""Days before its end from which on a certificate is warned of."""


def status(config: Config = None, url: Url = "", token_file: Token = None, as_json: Json = False) -> None:
    """How everything stands: GDS, the directory, the Envoys, what is held, certificates.

    Exit code 3 unless all is well. Not well is: not ready, GDS not followed, a GDS that knows no host, a change held,
    an Envoy that rejects something, a state that can't be written, a certificate that has ended. An Envoy that is only
    behind is well: it catches up.

    Examples:
        pointsman status -c pointsman.toml
        pointsman status --url http://127.0.0.1:18080 --json | jq .nodes
    """
    found = Plane(config, url, token_file).get("/api/v1/status")
    wrong = wrongs(found)
    if as_json:
        print_json({**found, "wrong": wrong})
    else:
        facts(_rows(found))
        for each in wrong:
            facts([("not well", styled(each, BAD))])
    if wrong:
        raise typer.Exit(exits.FOUND)


def wrongs(found: dict[str, Any]) -> list[str]:
    """What isn't as it should be, in words; empty when all is well."""
    gds, nodes, certificates = found["gds"], found["nodes"], found["certificates"]
    wrong = []
    if not found["ready"]:
        wrong.append(f"not ready: {found['unready']}")
    if found["mode"] == "watch" and gds["state"] != "following":
        wrong.append(f"GDS is not followed ({gds['state']}): {gds['error'] or 'it was not heard yet'}")
    if (found.get("lookup") or {}).get("gds_knows_nobody"):
        wrong.append("GDS has known no host since the start: is it the right one? (see `pointsman check --host`)")
    if found["hold"]["state"] == "held":
        wrong.append(f"held: {found['hold']['text']} (see `pointsman hold show`)")
    if nodes["nacking"]:
        wrong.append(f"{nodes['nacking']} Envoys reject something (see `pointsman nodes`)")
    if found["state_error"]:
        wrong.append(f"the state can't be written: {found['state_error']}")
    if certificates and certificates["soonest"] and certificates["soonest"]["days"] <= 0:
        wrong.append(f"certificate {certificates['soonest']['name']} has ended (see `pointsman certs`)")
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
        (
            "Envoys",
            styled(
                f"{nodes['connected']} connected, {nodes['converged']} have everything, {nodes['behind']} behind, "
                f"{nodes['nacking']} reject something{_spared(nodes.get('spared', 0))}",
                BAD if nodes["nacking"] else WARN if nodes["behind"] or not nodes["connected"] else GOOD,
            ),
        ),
        (
            "convergence",
            f"{lately['count']} ACKs in 5 min, median {took(lately['p50'])}, p99 {took(lately['p99'])}"
            if lately["count"]
            else "nothing changed in 5 min",
        ),
        (
            "held",
            styled(
                f"{hold['state']} since {ago(hold['since'])}: {hold['text']}", BAD if hold["state"] == "held" else WARN
            )
            if hold["state"] != "none"
            else "nothing",
        ),
        ("set aside", styled(f"{found['set_aside']} records", WARN) if found["set_aside"] else "nothing"),
    ]
    if certificates := found["certificates"]:
        rows.append(("certificates", _certificates(certificates)))
    if found["state_error"]:
        rows.append(("state folder", styled(found["state_error"], BAD)))
    return rows


def _spared(envoys: int) -> str:
    return f", {envoys} keep what they came with, since it may be newer than the disk's" if envoys else ""


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
