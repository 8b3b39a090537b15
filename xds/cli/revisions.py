"""The command ``pointsman history``, and what it shares with ``trace`` and ``wait``: the words for a receipt."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any

import typer

from xds.cli.fleet import fleet, from_all
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.output import BAD, GOOD, WARN, print_json, styled, table, took, when
from xds.cli.plane import PAGE, Plane

_WORST_STATES = "set_aside", "rolled_back", "held"
STYLES = {"complete": GOOD, "set_aside": BAD, "rolled_back": BAD, "held": WARN}
_COUNTED = 20
"""Envoys up to which a control plane counts those that rejected something of a change."""

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
    found = islice(plane.items("/api/v1/revisions", {"limit": min(most, PAGE)}), most)
    return [{**one, "control_plane": plane.url} for one in found]


def _row(receipts: Sequence[dict[str, Any]]) -> list[Any]:
    """Of one change, what each control plane says of it."""
    states = [*dict.fromkeys(one["state"] for one in receipts)]
    style = next((STYLES[state] for state in (*_WORST_STATES, "complete") if state in states), "")
    known = [one["envoys"] for one in receipts if one["envoys"]]
    total, nacked = sum(one["total"] for one in known), sum(one["nacked"] for one in known)
    counted = any(one["nacked"] >= _COUNTED for one in known)
    envoys = f"{sum(one['acked'] for one in known)}/{total}" if total else "none" if known else "-"
    return [
        receipts[0]["revision"],
        when(min(one["received_at"] for one in receipts)),
        styled(", ".join(states), style),
        envoys,
        styled(f"{nacked}+" if counted else nacked or "", BAD),
        took(_longest(receipts, "received_to_published")),
        took(_longest(receipts, "published_to_last_ack")),
        receipts[0].get("by") or "-",
        changed(receipts[0]),
    ]


def _longest(receipts: Sequence[dict[str, Any]], what: str) -> float | None:
    return max((one["seconds"][what] for one in receipts if (one["seconds"] or {}).get(what) is not None), default=None)


def lacking(found: dict[str, Any]) -> str:
    """Who keeps a change that is published from being complete."""
    if not (envoys := found["envoys"]):
        return ""
    connected = envoys["pending"] - envoys["missing"]
    words = {
        f"connected without it{_named(found.get('lacking', ()), connected)}": connected,
        f"left without it{_named(found['missing'], envoys['missing'])}": envoys["missing"],
        "just came": envoys["joining"],
    }
    return "; ".join(f"{number:,} {what}" for what, number in words.items() if number)


def _named(names: Sequence[str], count: int) -> str:
    """A control plane names the first ones, an older one none."""
    more = f" and {count - len(names):,} more" if count > len(names) else ""
    return f" ({', '.join(names)}{more})" if names else ""


def rejecting(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Of a receipt's NACKs those of Envoys that lack the change still; an older control plane doesn't say which do."""
    return [one for one in found["nacks"] if not one.get("mended", False)]


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
