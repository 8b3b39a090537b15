"""The commands ``pointsman history``, ``trace`` and ``wait``: the receipt of every change of GDS."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Annotated, Any

import typer

from xds.cli import exits
from xds.cli.fleet import at_once, fleet, from_all
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.output import BAD, GOOD, WARN, print_json, progress, say, styled, table, took, when
from xds.cli.plane import Plane
from xds.errors import OrderError, PointsmanError

_LOOK = 1.0
"""Seconds after which it is looked anew whether it still can become complete."""
_ANSWER = 1.0
"""Seconds beyond the time that is left which a control plane has to answer."""
_BETWEEN = 0.05
_REPLACED = 409
"""The status when GDS's epoch isn't the one that was asked for."""
_BUSY = 503
"""The status when so many wait there already that another one may not."""
_ANEW = 0.25
"""Seconds until control planes that have a change are asked again how many Envoys have it."""
_WAITING = {
    "expected": "GDS hasn't spoken of it",
    "received": "it isn't published yet",
    "held": "it is held (see `pointsman hold show`)",
}
"""Why one in that state isn't complete."""
_LAST = "complete", "set_aside", "rolled_back"
"""States after which none comes by waiting."""
_WORST = [exits.OK, exits.LATE, exits.FOUND, exits.REJECTED]
_WORST_STATES = "set_aside", "rolled_back", "held"
_STYLES = {"complete": GOOD, "set_aside": BAD, "rolled_back": BAD, "held": WARN}

Revision = Annotated[int, typer.Argument(min=0, help="A revision of GDS, as its answer to a change says.")]


def history(
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="How many, the newest first.")] = 20,
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """The last changes of GDS, the newest first: what they changed, and how soon which share of the Envoys had them.

    With several control planes (setting http.replicas, or --url several times) the Envoys of all are counted together;
    with --json each one's receipts are listed. Exit code 1 when one of them doesn't answer.

    Examples:
        pointsman history -c pointsman.toml
        pointsman history -n 1000 --json | jq '.[] | select(.nacks != [])'
    """
    planes = fleet(config, url or (), token_file)
    found, unasked = from_all(planes, lambda plane: _receipts(plane, most))
    found.sort(key=lambda one: -one["received_at"])
    same: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for one in found:
        same.setdefault((one["epoch"], one["revision"]), []).append(one)
    newest = [*same.values()][:most]
    if as_json:
        print_json([one for receipts in newest for one in receipts])
    else:
        heads: tuple[str, ...] = (
            "revision",
            "received",
            "state",
            "Envoys",
            "NACKs",
            "to publish",
            "to last ACK",
            "by",
            "changes",
        )
        rows = [_row(receipts) for receipts in newest]
        if len({receipts[0]["epoch"] for receipts in newest}) > 1:
            heads = *heads, "epoch"
            rows = [[*row, receipts[0]["epoch"]] for row, receipts in zip(rows, newest, strict=True)]
        if newest:
            table(heads, rows, numbers=(0, 4, 5, 6))
        else:
            print("no change is remembered")
    if unasked:
        raise unasked[0]


def _receipts(plane: Plane, most: int) -> list[dict[str, Any]]:
    found = islice(plane.items("/api/v1/revisions", {"limit": min(most, 1000)}), most)
    return [{**one, "control_plane": plane.url} for one in found]


def _row(receipts: Sequence[dict[str, Any]]) -> list[Any]:
    """Of one change, what each control plane says of it."""
    states = [*dict.fromkeys(one["state"] for one in receipts)]
    style = next((_STYLES[state] for state in (*_WORST_STATES, "complete") if state in states), "")
    known = [one["envoys"] for one in receipts if one["envoys"]]
    total, nacked = sum(one["total"] for one in known), sum(one["nacked"] for one in known)
    envoys = f"{sum(one['acked'] for one in known)}/{total}" if total else "none" if known else "-"
    return [
        receipts[0]["revision"],
        when(min(one["received_at"] for one in receipts)),
        styled(", ".join(states), style),
        envoys,
        styled(nacked or "", BAD),
        took(_longest(receipts, "received_to_published")),
        took(_longest(receipts, "published_to_last_ack")),
        receipts[0].get("by") or "-",
        changed(receipts[0]),
    ]


def _longest(receipts: Sequence[dict[str, Any]], what: str) -> float | None:
    return max((one["seconds"][what] for one in receipts if (one["seconds"] or {}).get(what) is not None), default=None)


def trace(
    revision: Revision,
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Follows one change: when GDS's word came, when it was published, when each Envoy had it, and who rejected what.

    With several control planes (setting http.replicas, or --url several times) at each of them; with --json a list.
    Exit code 1 when one of them doesn't answer, or none has a receipt of it.

    Examples:
        pointsman trace 4711 -c pointsman.toml
        pointsman trace 4711 --json | jq '.acks[-1]'
    """
    planes = fleet(config, url or (), token_file)
    found, unasked = from_all(planes, lambda plane: [_traced(plane, revision)])
    if as_json:
        print_json(found if len(planes) > 1 else found[0])
    else:
        for one in found:
            if len(planes) > 1:
                say(styled(f"{one['control_plane']}:", "bold"))
            _follow(one)
    if unasked:
        raise unasked[0]


def _traced(plane: Plane, revision: int) -> dict[str, Any]:
    found = plane.get(f"/api/v1/revisions/{revision}/trace")
    return {**found, "receipt": plane.get(f"/api/v1/revisions/{revision}"), "control_plane": plane.url}


def _follow(found: dict[str, Any]) -> None:
    receipt = found["receipt"]
    state = styled(receipt["state"], _STYLES.get(receipt["state"], ""))
    say(f"revision {found['revision']} of epoch {found['epoch']}: ", state)
    if found.get("by") or found.get("committed_at") is not None:
        say(f"  made       {when(found['committed_at'])}  by {found['by'] or 'nobody that is named'}")
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
    if receipt["refused_more"]:
        say(styled("  set aside", BAD), f"  and {receipt['refused_more']:,} more")
    if receipt["envoys"] and not receipt["envoys"]["total"]:
        say("  no Envoy was connected then")
    elif lacking := _lacking(receipt):
        say(styled("  not at", WARN), f"     {lacking}")
    elif found["completed_at"] is not None:
        say(f"  complete   {when(found['completed_at'])}  every Envoy has it")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)?", text.strip())
    if not found:
        raise typer.BadParameter(f"{text!r} is not a time, such as 5s, 500ms or 2min")
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}[found[2] or "s"]


def wait(
    revision: Revision,
    timeout: Annotated[str, typer.Option("--timeout", "-t", help="How long, at most: 5s, 500ms, 2min.")] = "1min",
    epoch: Annotated[str, typer.Option("--epoch", help="GDS's, when it must be this one.", show_default=False)] = "",
    envoys: Annotated[
        int,
        typer.Option("--envoys", "-e", min=0, help="How many must be connected and have it, at least."),
    ] = 1,
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Waits until a change of GDS is at every Envoy: so that a deployment knows the edge is right.

    While it waits it may be away for a moment, such as for an upgrade: it is asked again.

    An Envoy that left before it had the change is waited for until it is back with it, or for as long as the setting
    http.receipt_grace says. One that never came isn't known: --envoys says how many there are.

    With several control planes (setting http.replicas, or --url several times) it waits for the Envoys of all of them,
    and --envoys counts them together.

    Exit code 0: every Envoy has it. 1: a control plane doesn't answer, or GDS's epoch isn't the one of --epoch. 4: not
    within the time. 5: an Envoy rejected something of it, or a record of it can't be used. 3: it never will be, since
    the edge was taken back to a state before it, or GDS was replaced meanwhile.

    Examples:
        pointsman wait 4711 --timeout 5s --envoys 3 -c pointsman.toml && echo moved
        pointsman wait "$(curl -sX PUT $GDS/backend/acme.com -d '{"pod":"pod2"}' | jq .revision)" --timeout 5s
    """
    patience = _seconds(timeout)
    end = time.monotonic() + patience
    planes = fleet(config, url or (), token_file)
    told = _everywhere(planes, revision, epoch, envoys, end)
    answers = [found for found in told if not isinstance(found, PointsmanError)]
    away = [found for found in told if isinstance(found, PointsmanError)]
    if not answers:
        raise away[0]
    code = max(map(_code, answers), key=_WORST.index)
    have = sum(map(_have, answers))
    if as_json:
        print_json([_with_url(*one) for one in zip(planes, told, strict=True)] if len(planes) > 1 else answers[0])
    else:
        for plane, found in zip(planes, told, strict=True):
            if isinstance(found, PointsmanError):
                continue
            where = f"{plane.url}: " if len(planes) > 1 else ""
            style = GOOD if _code(found) == exits.OK else BAD
            say(f"{where}revision {revision}: ", styled(_said(found, patience), style))
        if have < envoys and all(map(_as_far_as_known, answers)):
            say(f"revision {revision}: ", styled(f"{have} connected with it, {envoys} wanted (--envoys)", BAD))
    if away:
        why = "; ".join(map(str, away))
        raise OrderError(f"{len(away)} of {len(planes)} control planes can't be asked: {why}")
    raise typer.Exit(exits.LATE if code == exits.OK and have < envoys else code)


def _with_url(plane: Plane, found: dict[str, Any] | PointsmanError) -> dict[str, Any]:
    if isinstance(found, PointsmanError):
        return {"url": plane.url, "answer": None, "error": str(found)}
    return {"url": plane.url, "answer": found, "error": None}


def _everywhere(planes: Sequence[Plane], revision: int, epoch: str, envoys: int, end: float) -> list[Any]:
    """Its receipt of each control plane, or why there is none. Of several none knows how many Envoys the others have:
    they are counted here, and all are asked anew until there are as many as are wanted."""
    each = envoys if len(planes) == 1 else 0
    counts: dict[int, tuple[int, int]] = {}
    with progress(f"waiting for revision {revision}") as told:

        def tell(plane: Plane, have: int, total: int) -> None:
            counts[id(plane)] = have, total
            told(sum(have for have, _ in counts.values()), sum(total for _, total in counts.values()))

        while True:
            answers = at_once(planes, lambda plane: _waited(plane, revision, epoch, each, end, tell))
            found = [one for one in answers if not isinstance(one, PointsmanError)]
            enough = sum(map(_have, found)) >= envoys or len(found) < len(planes)
            if enough or any(map(_code, found)) or (rest := end - time.monotonic()) <= 0:
                return answers
            time.sleep(min(rest, _ANEW))


def _have(found: dict[str, Any]) -> int:
    """The Envoys that are connected and have it."""
    have: int = found["envoys"]["have"] if found["envoys"] else 0
    return have


def _as_far_as_known(found: dict[str, Any]) -> bool:
    """Nothing is wrong with it but the number of Envoys, if anything is."""
    return found["complete"] or (found["state"] == "published" and not found["nacks"] and not _lacking(found))


def _waited(
    plane: Plane, revision: int, epoch: str, envoys: int, end: float, tell: Callable[[Plane, int, int], None]
) -> dict[str, Any]:
    """Its receipt, as soon as nothing more is to be waited for, or when ``end`` is there. Raises PointsmanError."""
    path, asked = f"/api/v1/revisions/{revision}", {"envoys": envoys, **({"epoch": epoch} if epoch else {})}
    lost: OrderError | None = None
    found: dict[str, Any] = plane.get(path, asked, max(0.0, end - time.monotonic()) + _ANSWER)
    while found["state"] not in _LAST and (rest := end - time.monotonic()) > 0:
        if found["known"]:
            asked["epoch"] = found["epoch"]  # another GDS may come to a revision of that number, too
        try:
            look = round(min(rest, _LOOK), 3)
            found, lost = plane.get(path, {**asked, "wait": look}, rest + _ANSWER), None
        except OrderError as error:
            if error.status == _REPLACED and not epoch:
                return {**found, "state": "rolled_back", "complete": False}
            if error.status not in (0, _BUSY):
                raise
            lost = error if error.status == 0 else None
            time.sleep(min(rest, _LOOK))
        if known := found["envoys"]:
            tell(plane, known["acked"], known["total"])
        if not found["complete"]:
            time.sleep(min(_BETWEEN, max(0.0, end - time.monotonic())))
    if lost is not None:
        raise lost
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
                    f"complete, {_where(found)}",
                    f", {took(took_it)} after the publish" if took_it else "",
                    f"; {left} went before they had it" if left else "",
                ]
            )
        case "set_aside":
            refused = [f"{one['kind']} {one['name']}: {one['reason']}" for one in found["refused"]]
            if found["refused_more"]:
                refused.append(f"and {found['refused_more']:,} more (see `pointsman set-aside`)")
            if not found["known"]:
                return "its receipt isn't remembered, and a record of it may not be used: see `pointsman set-aside`"
            return f"part of it isn't used: {'; '.join(refused) or 'see `pointsman set-aside`'}"
        case "rolled_back":
            return "the edge was taken back to a state before it, or GDS was replaced"
        case state:
            nacks = "; ".join(f"{one['node']} rejects {one['type']}: {one['reason']}" for one in found["nacks"])
            why = nacks or _WAITING.get(state) or _lacking(found)
            where = _where(found)
            return f"not complete after {patience:g} s: " + (", ".join(filter(None, [why, where])) or state)


def _lacking(found: dict[str, Any]) -> str:
    """Who keeps a change that is published from being complete."""
    if not (envoys := found["envoys"]):
        return ""
    names = ", ".join(found.get("lacking", ()))  # an older control plane doesn't name them
    words = {
        f"connected without it{f' ({names})' if names else ''}": envoys["pending"] - envoys["missing"],
        f"left without it ({', '.join(found['missing'])})": envoys["missing"],
        "just came": envoys["joining"],
    }
    return "; ".join(f"{number} {what}" for what, number in words.items() if number)


def _where(found: dict[str, Any]) -> str:
    """How many Envoys have it, of those that were to have it when it was published; empty while it isn't."""
    if not (envoys := found["envoys"]):
        return ""
    if envoys["total"]:
        return f"{envoys['acked']}/{envoys['total']} Envoys have it"
    return f"{envoys['have']} Envoys that came later have it" if envoys["have"] else "no Envoy is connected with it"


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
