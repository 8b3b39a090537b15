"""The command ``pointsman certs``: the edge's certificates, those that end first first."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xds.cli import exits
from xds.cli.options import Config, Json, Token, Url
from xds.cli.output import BAD, GOOD, WARN, print_json, say, styled, table
from xds.cli.plane import Plane


def certs(
    within: Annotated[
        float, typer.Option("--within", min=0, help="Days before its end from which on a certificate needs a look.")
    ] = 14.0,
    most: Annotated[int, typer.Option("--most", "-n", min=1, max=1000, help="How many of those that end first.")] = 100,
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """The certificates that end first, and those that can't be used, with the reason.

    Exit code 3 when one needs a look: it ends within --within days, or is set aside; or the folder isn't all read yet.

    Examples:
        pointsman certs -c pointsman.toml
        pointsman certs --within 30 --json | jq -r '.set_aside[].certificate'
    """
    plane = Plane(config, url, token_file)
    found = plane.get("/api/v1/certificates", {"limit": most})
    aside = plane.get("/api/v1/certificates/set-aside", {"limit": 100})
    certificates = found["items"]
    soon = [one for one in certificates if one["days"] < within]
    if as_json:
        print_json({**found, "set_aside": aside["items"], "ending": len(soon)})
    else:
        rows = [_row(one, within) for one in certificates]
        table(("certificate", "days", "ends", "key", "hosts"), rows, numbers=(1,))
        for one in aside["items"]:
            used = "an older one is used" if one["in_use"] else "not used"
            say(styled("set aside", BAD), f"  {one['certificate']} ({one['kind']}; {used}): {one['reason']}")
        unread = "" if found["complete"] else "; the folder isn't all read yet"
        say(f"{found['total']:,} certificates, {aside['total']} set aside, {len(soon)} end in {within:g} days{unread}")
    if soon or aside["total"] or not found["complete"]:
        raise typer.Exit(exits.FOUND)


def _row(one: dict[str, Any], within: float) -> list[Any]:
    days = one["days"]
    style = BAD if days <= 0 else WARN if days < within else GOOD
    hosts = one["hosts"]
    more = f" and {len(hosts) - 5} more" if len(hosts) > 5 else ""
    return [one["name"], styled(f"{days:.1f}", style), one["not_after"], one["key"], ", ".join(hosts[:5]) + more]
