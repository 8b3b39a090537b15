"""The command ``pointsman wait``: until a change of GDS is at every Envoy."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from xds.cli import exits
from xds.cli.fleet import at_once, fleet
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.output import BAD, GOOD, print_json, progress, say, styled, took
from xds.cli.plane import Plane
from xds.cli.revisions import Revision, lacking, rejecting
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

    An Envoy that rejects something of it doesn't end the waiting: as a rule the control plane finds the record that is
    at fault within seconds, and the Envoy takes the rest. When that record is one of this change, the waiting ends.

    Exit code 0: every Envoy has it, whatever it rejected before. 1: a control plane doesn't answer, or GDS's epoch
    isn't the one of --epoch. 4: not within the time. 5: a record of it can't be used or is rejected, at once when that
    is known; or the time is over and an Envoy still rejects something of it. 3: it never will be, since the edge was
    taken back to a state before it, or GDS was replaced meanwhile.

    Examples:
        pointsman wait 4711 --timeout 5s --envoys 3 -c pointsman.toml && echo moved
        pointsman wait "$(curl -sX PUT $GDS/backend/acme.com -d '{"pod":"pod2"}' | jq .revision)" --timeout 5s
    """
    patience, begun = _seconds(timeout), time.monotonic()
    end = begun + patience
    planes = fleet(config, url or (), token_file)
    told = _everywhere(planes, revision, epoch, envoys, end)
    answers = [found for found in told if not isinstance(found, PointsmanError)]
    away = [found for found in told if isinstance(found, PointsmanError)]
    if not answers:
        raise away[0]
    waited = min(patience, round(time.monotonic() - begun, 1))
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
            say(f"{where}revision {revision}: ", styled(_said(found, waited), style))
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
    decided = threading.Event()
    with progress(f"waiting for revision {revision}") as told:

        def tell(plane: Plane, have: int, total: int) -> None:
            counts[id(plane)] = have, total
            told(sum(have for have, _ in counts.values()), sum(total for _, total in counts.values()))

        while True:
            answers = at_once(planes, lambda plane: _waited(plane, revision, epoch, each, end, decided, tell))
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
    return found["complete"] or (found["state"] == "published" and not rejecting(found) and not lacking(found))


def _waited(
    plane: Plane,
    revision: int,
    epoch: str,
    envoys: int,
    end: float,
    decided: threading.Event,
    tell: Callable[[Plane, int, int], None],
) -> dict[str, Any]:
    """Its receipt, as soon as nothing more is to be waited for, or when ``end`` is there. ``decided``: at one of them
    it never will be complete, so the others needn't be waited for. Raises PointsmanError."""
    path, asked = f"/api/v1/revisions/{revision}", {"envoys": envoys, **({"epoch": epoch} if epoch else {})}
    lost: OrderError | None = None
    found: dict[str, Any] = plane.get(path, asked, max(0.0, end - time.monotonic()) + _ANSWER)
    while found["state"] not in _LAST and (rest := end - time.monotonic()) > 0 and not decided.is_set():
        if found["known"]:
            asked["epoch"] = found["epoch"]  # another GDS may come to a revision of that number, too
        try:
            look = round(min(rest, _LOOK), 3)
            found, lost = plane.get(path, {**asked, "wait": look}, rest + _ANSWER), None
        except OrderError as error:
            if error.status == _REPLACED and not epoch:
                decided.set()
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
    if found["state"] in _LAST and not found["complete"]:
        decided.set()
    return found


def _code(found: dict[str, Any]) -> int:
    if found["complete"]:
        return exits.OK
    if found["state"] == "rolled_back":
        return exits.FOUND
    return exits.REJECTED if found["state"] == "set_aside" or rejecting(found) else exits.LATE


def _said(found: dict[str, Any], waited: float) -> str:
    match found["state"]:
        case "complete":
            took_it = (found["seconds"] or {}).get("published_to_last_ack")
            left = (found["envoys"] or {}).get("left", 0)
            nodes = dict.fromkeys(one["node"] for one in found["nacks"])
            return "".join(
                [
                    f"complete, {_where(found)}",
                    f", {took(took_it)} after the publish" if took_it else "",
                    f"; {left} went before they had it" if left else "",
                    f"; rejected before by {', '.join(nodes)}" if nodes else "",
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
            nacks = "; ".join(f"{one['node']} rejects {one['type']}: {one['reason']}" for one in rejecting(found))
            why = nacks or _WAITING.get(state) or lacking(found)
            where = _where(found)
            return f"not complete after {waited:g} s: " + (", ".join(filter(None, [why, where])) or state)


def _where(found: dict[str, Any]) -> str:
    """How many Envoys have it, of those that were to have it when it was published; empty while it isn't."""
    if not (envoys := found["envoys"]):
        return ""
    if envoys["total"]:
        return f"{envoys['acked']}/{envoys['total']} Envoys have it"
    return f"{envoys['have']} Envoys that came later have it" if envoys["have"] else "no Envoy is connected with it"
