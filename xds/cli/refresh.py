"""The command ``pointsman refresh``."""

from __future__ import annotations

from typing import Annotated

import typer

from xds.cli.completion import hosts
from xds.cli.options import Config, Json, Token, Url
from xds.cli.output import print_found
from xds.cli.plane import Plane


def refresh(
    host: Annotated[str, typer.Argument(help="The host that GDS is asked for.", autocompletion=hosts)],
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Has GDS asked for a host now, where it is asked for one host at a time: for the job that moves a customer.

    Examples:
        pointsman refresh shop.acme.com -c pointsman.toml
    """
    plane = Plane(config, url, token_file)
    found = plane.order(plane.path("/api/v1/domains", host, "refresh"), {})
    was, pod = found["was"] or "not routed", found["pod"] or "not routed"
    text = f"{found['host']}: {pod}" if found["was"] == found["pod"] else f"{found['host']}: {was} → {pod}"
    print_found(found, as_json, text)
