"""The commands ``pointsman history``, ``trace`` and ``wait``: the receipt of every change of GDS."""

from __future__ import annotations

import re
import time
from itertools import islice
from typing import Annotated, Any

import typer

from xds.cli import exits
from xds.cli.fleet import fleet
from xds.cli.options import Config, Json, Token, Url, Urls
from xds.cli.output import BAD, GOOD, WARN, print_json, progress, say, styled, table, took, when
from xds.cli.plane import Plane
from xds.errors import OrderError

_LOOK = 1.0
"""Seconds after which it is looked anew whether it still can become complete."""
_BETWEEN = 0.05
_LAST = "complete", "set_aside", "rolled_back"
"""States after which none comes by waiting."""
_WORST = [exits.OK, exits.LATE, exits.FOUND, exits.REJECTED]
_STYLES = {"complete": GOOD, "set_aside": BAD, "rolled_back": BAD, "held": WARN}

Revision = Annotated[int, typer.Argument(min=0, help="A revision of GDS, as its answer to a change says.")]


def history(
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="How many, the newest first.")] = 20,
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """The last changes of GDS, the newest first: what they changed, and how soon which share of the Envoys had them.

    Examples:
        pointsman history -c pointsman.toml
        pointsman history -n 1000 --json | jq '.[] | select(.nacks != [])'
    """
    plane = Plane(config, url, token_file)
    found = list(islice(plane.items("/api/v1/revisions", {"limit": min(most, 1000)}), most))
    if as_json:
        print_json(found)
        return
    rows = [
        [
            one["revision"],
            when(one["received_at"]),
            styled(one["state"], _STYLES.get(one["state"], "")),
            _envoys(one),
            took((one["seconds"] or {}).get("received_to_published")),
            took((one["seconds"] or {}).get("published_to_last_ack")),
            changed(one),
        ]
        for one in found
    ]
    table(("revision", "received", "state", "Envoys", "to publish", "to last ACK", "changes"), rows, numbers=(0, 4, 5))


def trace(
    revision: Revision,
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Follows one change: when GDS's word came, when it was published, when each Envoy had it, and who rejected what.

    Examples:
        pointsman trace 4711 -c pointsman.toml
        pointsman trace 4711 --json | jq '.acks[-1]'
    """
    plane = Plane(config, url, token_file)
    found = plane.get(f"/api/v1/revisions/{revision}/trace")
    receipt = plane.get(f"/api/v1/revisions/{revision}")
    if as_json:
        print_json({**found, "receipt": receipt})
        return
    say(f"revision {revision} of epoch {found['epoch']}: ", styled(receipt["state"], _STYLES.get(receipt["state"], "")))
    say(f"  received   {when(found['received_at'])}  {changed(receipt)}")
    if found["published_at"] is not None:
        say(f"  published  {when(found['published_at'])}  {took(found['published_at'] - found['received_at'])} later")
    for each in found["acks"]:
        say(styled("  ACKed", GOOD), f"      {took(each['seconds']):>10} after that, by {each['node']}")
    if found["total"] > len(found["acks"]):
        say(f"  ACKed      by {found['total'] - len(found['acks'])} more")
    for each in found["nacks"]:
        say(styled("  NACKed", BAD), f"     by {each['node']}, {each['type']}: {each['reason']}")
    for each in receipt["refused"]:
        say(styled("  set aside", BAD), f"  {each['kind']} {each['name']}: {each['reason']}")
    if found["completed_at"] is not None:
        say(f"  complete   {when(found['completed_at'])}  every Envoy has it")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)?", text.strip())
    if not found:
        raise typer.BadParameter(f"{text!r} is not a time, such as 5s, 500ms or 2min")
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}[found[2] or "s"]


def wait(
    revision: Revision,
    timeout: Annotated[str, typer.Option("--timeout", "-t", help="How long, at most: 5s, 500ms, 2min.")] = "30s",
    epoch: Annotated[str, typer.Option("--epoch", help="GDS's, when it must be this one.", show_default=False)] = "",
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Waits until a change of GDS is at every connected Envoy: so that a deployment knows the edge is right.

    With several control planes (setting http.replicas, or --url several times) it waits for the Envoys of all of them.

    Exit code 0: every Envoy has it. 4: not within the time. 5: an Envoy rejected something of it, or a record
    of it can't be used. 3: it never will be, since the edge was taken back to a state before it.

    Examples:
        pointsman wait 4711 --timeout 5s -c pointsman.toml && echo moved
        pointsman wait "$(curl -sX PUT $GDS/backend/acme.com -d '{"pod":"pod2"}' | jq .revision)" --timeout 5s
    """
    patience = _seconds(timeout)
    end = time.monotonic() + patience
    code = exits.OK
    answers = []
    for plane in (planes := fleet(config, url or (), token_file)):
        found = _waited(plane, revision, epoch, end)
        answers.append({"url": plane.url, "answer": found})
        code = max(code, _code(found), key=_WORST.index)
        if not as_json:
            where = f"{plane.url}: " if len(planes) > 1 else ""
            style = GOOD if _code(found) == exits.OK else BAD
            say(f"{where}revision {revision}: ", styled(_said(found, patience), style))
    if as_json:
        print_json(answers if len(planes) > 1 else answers[0]["answer"])
    raise typer.Exit(code)


def _waited(plane: Plane, revision: int, epoch: str, end: float) -> dict[str, Any]:
    """Its receipt, as soon as nothing more is to be waited for, or when ``end`` is there."""
    path, asked = f"/api/v1/revisions/{revision}", {"epoch": epoch} if epoch else {}
    with progress(f"waiting for revision {revision}") as told:
        found: dict[str, Any] = plane.get(path, asked)
        while found["state"] not in _LAST and (rest := end - time.monotonic()) > 0:
            try:
                found = plane.get(path, {**asked, "wait": round(min(rest, _LOOK), 3)})
            except OrderError as error:
                if error.status != 503:  # so many wait there already that another one may not
                    raise
                time.sleep(min(rest, _LOOK))
            if envoys := found["envoys"]:
                told(envoys["acked"], envoys["total"])
            if not found["complete"]:
                time.sleep(min(_BETWEEN, max(0.0, end - time.monotonic())))
    return found


def _code(found: dict[str, Any]) -> int:
    if found["complete"]:
        return exits.OK
    if found["state"] == "rolled_back":
        return exits.FOUND
    return exits.REJECTED if found["state"] == "set_aside" or found["nacks"] else exits.LATE


def _said(found: dict[str, Any], patience: float) -> str:
    match found["state"]:
        case "complete":
            took_it = (found["seconds"] or {}).get("published_to_last_ack")
            left = (found["envoys"] or {}).get("left", 0)
            return "".join(
                [
                    f"complete, {_envoys(found)} Envoys",
                    f", {took(took_it)} after the publish" if took_it else "",
                    f"; {left} went before they had it" if left else "",
                ]
            )
        case "set_aside":
            refused = "; ".join(f"{one['kind']} {one['name']}: {one['reason']}" for one in found["refused"])
            return f"part of it isn't used: {refused or 'see its trace'}"
        case "rolled_back":
            return "the edge was taken back to a state before it, or GDS was replaced"
        case state:
            nacks = "; ".join(f"{one['node']} rejects {one['type']}: {one['reason']}" for one in found["nacks"])
            why = {"expected": "GDS hasn't spoken of it", "held": "it is held (see `pointsman hold show`)"}.get(
                state, state
            )
            return f"not complete after {patience:g} s: {nacks or why}, {_envoys(found)} Envoys have it"


def _envoys(found: dict[str, Any]) -> str:
    envoys = found["envoys"]
    return f"{envoys['acked']}/{envoys['total']}" if envoys else "-"


def changed(found: dict[str, Any]) -> str:
    """What a revision changed, in a few words."""
    if found["kind"] == "snapshot":
        return f"a whole snapshot, {found['changes']:,} changes"
    words = []
    for one in (found["first_changes"] or [])[:3]:
        if one["kind"] == "pod":
            words.append(f"pod {one['name']}{'' if one['to'] else ' removed'}")
        else:
            words.append(f"{one['name']}: {one['from'] or 'nowhere'} → {one['to'] or 'nowhere'}")
    more = (found["changes"] or 0) - len(words)
    return "; ".join(words) + (f"; {more:,} more" if more > 0 else "")
