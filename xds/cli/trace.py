"""The command ``pointsman trace``: one change, followed from GDS to the last Envoy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from xds.cli.fleet import fleet, from_all
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.output import BAD, GOOD, WARN, print_json, say, styled, took, when
from xds.cli.plane import PAGE, Plane
from xds.cli.revisions import STYLES, Revision, changed, lacking

_FEW = 10
"""Envoys of which all are shown one by one, and how many of more."""


def trace(
    revision: Revision,
    every: Annotated[
        bool, typer.Option("--all", help="Every Envoy that ACKed it one by one, in that order; however many.")
    ] = False,
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Follows one change: when GDS's word came, when it was published, when each Envoy had it, and who rejected what.

    Of more than ten Envoys that ACKed it those that took longest are shown one by one, and with --all the others, too;
    --json always has every one. Those that lack it and those that rejected something of it are named, up to twenty.

    With several control planes (setting http.replicas, or --url several times) at each of them; with --json a list.
    Exit code 1 when one of them doesn't answer, or none has a receipt of it.

    Examples:
        pointsman trace 4711 -c pointsman.toml
        pointsman trace 4711 --all
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
            _follow(one, every)
    if unasked:
        raise unasked[0]


def _traced(plane: Plane, revision: int) -> dict[str, Any]:
    """With the ACKs of all its pages."""
    path = f"/api/v1/revisions/{revision}"
    pages = [*plane.pages(f"{path}/trace", {"limit": PAGE})]
    acks = [ack for page in pages for ack in page["acks"]]
    return {**pages[0], "acks": acks, "next": None, "receipt": plane.get(path), "control_plane": plane.url}


def _follow(found: dict[str, Any], every: bool) -> None:
    receipt = found["receipt"]
    state = styled(receipt["state"], STYLES.get(receipt["state"], ""))
    say(f"revision {found['revision']} of epoch {found['epoch']}: ", state)
    if found.get("by") or found.get("committed_at") is not None:
        say(f"  made       {when(found['committed_at'])}  by {found['by'] or 'nobody that is named'}")
    say(f"  received   {when(found['received_at'])}  {changed(receipt)}")
    if found["published_at"] is not None:
        say(f"  published  {when(found['published_at'])}  {took(found['published_at'] - found['received_at'])} later")
    if lacks := lacking(receipt):
        say(styled("  not at", WARN), f"     {lacks}")
    for each in found["nacks"]:
        since = f" {when(each['at'])}" if each.get("at") else ""
        mended = ", mended since" if each.get("mended") else ""
        say(styled("  NACKed", BAD), f"    {since} by {each['node']}{mended}; {each['type']}: {each['reason']}")
    for each in receipt["refused"]:
        say(styled("  set aside", BAD), f"  {each['kind']} {each['name']}: {each['reason']}")
    if receipt["refused_more"]:
        say(styled("  set aside", BAD), f"  and {receipt['refused_more']:,} more")
    _acks(found["acks"], every)
    if receipt["envoys"] and not receipt["envoys"]["total"]:
        say("  no Envoy was connected then")
    elif not lacks and found["completed_at"] is not None:
        say(f"  complete   {when(found['completed_at'])}  every Envoy has it")


def _acks(acks: Sequence[dict[str, Any]], every: bool) -> None:
    """They come in the order in which they were made."""
    shown = acks if every or len(acks) <= _FEW else acks[-_FEW:]
    if len(acks) > _FEW:
        median, p99 = (acks[min(len(acks) - 1, int(len(acks) * share))]["seconds"] for share in (0.5, 0.99))
        say(
            styled("  ACKed", GOOD),
            f"      by {len(acks):,} Envoys: the first {took(acks[0]['seconds'])} after that, median {took(median)}, "
            f"p99 {took(p99)}, the last {took(acks[-1]['seconds'])}",
        )
    if len(shown) < len(acks):
        say(f"             the last {len(shown)} (--all):")
    for each in shown:
        say(styled("  ACKed", GOOD), f"      {took(each['seconds']):>10} after that, by {each['node']}")
