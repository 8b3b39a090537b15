"""The command ``pointsman refresh``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xds.cli.completion import hosts
from xds.cli.fleet import everywhere, fleet
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.pasted import host_in


def refresh(
    host: Annotated[str, typer.Argument(help="The host that GDS is asked for, or a URL of it.", autocompletion=hosts)],
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Has GDS asked for a host now, where it is asked for one host at a time: for the job that moves a customer.

    With several control planes (setting http.replicas, or --url several times) each of them asks, as each learns by
    itself. Exit code 1 when one of them didn't, or holds back what GDS says.

    Examples:
        pointsman refresh shop.acme.com -c pointsman.toml
    """
    name = host_in(host)
    planes = fleet(config, url or (), token_file)
    everywhere(planes, lambda plane: plane.order(plane.path("/api/v1/domains", name, "refresh"), {}), _told, as_json)


def _told(found: dict[str, Any]) -> str:
    was, pod = found["was"] or "not routed", found["pod"] or "not routed"
    return f"{found['host']}: {pod}" if found["was"] == found["pod"] else f"{found['host']}: {was} → {pod}"
