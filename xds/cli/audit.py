"""The command ``pointsman audit``: who changed what."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from xds.cli.options import Config, Json, Token, Url
from xds.cli.output import BAD, GOOD, print_json, styled, table, when
from xds.cli.plane import Plane


def audit(
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="How many, the newest first.")] = 50,
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Every order and what came of it, the newest first: who, what, when, from where. Needs the token.

    Examples:
        pointsman audit -c pointsman.toml
        pointsman audit -n 1000 --json | jq '.[] | select(.outcome == "denied")'
    """
    plane = Plane(config, url, token_file)
    found = list(islice(plane.items("/api/v1/audit", {"limit": min(most, 1000)}), most))
    if as_json:
        print_json(found)
        return
    styles = {"done": GOOD, "denied": BAD, "refused": BAD}
    table(
        ("when", "order", "outcome", "who", "from", "revision", "reason"),
        [
            [
                when(one["at"]),
                one["order"],
                styled(one["outcome"], styles.get(one["outcome"], "")),
                one["who"],
                one["address"],
                one["revision"],
                one["reason"],
            ]
            for one in found
        ],
        numbers=(5,),
    )
