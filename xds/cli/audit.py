"""The command ``pointsman audit``: who changed what."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import typer

from xds.cli.fleet import fleet, from_all
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.output import BAD, GOOD, print_json, styled, table, when
from xds.cli.plane import PAGE, Plane


def audit(
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="How many, the newest first.")] = 50,
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Every order and what came of it, the newest first: who, what, when, from where. Needs the token.

    With several control planes (setting http.replicas, or --url several times) those of all. Exit code 1 when one of
    them doesn't answer.

    Examples:
        pointsman audit -c pointsman.toml
        pointsman audit -n 1000 --json | jq '.[] | select(.outcome == "denied")'
    """
    planes = fleet(config, url or (), token_file)
    found, unasked = from_all(planes, lambda plane: _entries(plane, most))
    newest = sorted(found, key=lambda one: -one["at"])[:most]
    if as_json:
        print_json(newest)
    elif not newest:
        print("nothing was ordered")
    else:
        heads = "when", "order", "outcome", "who", "from", "revision", "reason"
        several = len(planes) > 1
        table((*heads, "control plane") if several else heads, [_row(one, several) for one in newest], numbers=(5,))
    if unasked:
        raise unasked[0]


def _entries(plane: Plane, most: int) -> list[dict[str, Any]]:
    found = islice(plane.items("/api/v1/audit", {"limit": min(most, PAGE)}), most)
    return [{**one, "control_plane": plane.url} for one in found]


def _row(one: dict[str, Any], several: bool) -> list[Any]:
    outcome = styled(one["outcome"], {"done": GOOD, "denied": BAD, "refused": BAD}.get(one["outcome"], ""))
    cells = [when(one["at"]), one["order"], outcome, one["who"], one["address"], one["revision"], one["reason"]]
    return [*cells, one["control_plane"]] if several else cells
