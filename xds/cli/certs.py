"""The command ``pointsman certs``: the edge's certificates, those that end first first."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xds.cli import exits
from xds.cli.fleet import fleet, shown
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.output import BAD, GOOD, WARN, moment, say, styled, table
from xds.cli.plane import Plane


def certs(
    within: Annotated[
        float, typer.Option("--within", min=0, help="Days before its end from which on a certificate needs a look.")
    ] = 14.0,
    most: Annotated[int, typer.Option("--most", "-n", min=1, max=1000, help="How many of those that end first.")] = 100,
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """The certificates that end first, and those that can't be used, with the reason.

    With several control planes (setting http.replicas, or --url several times) those of each, which reads its own
    folder.

    Exit code 3 when one needs a look: it ends within --within days, is set aside, or is kept though its files are gone;
    or the folder isn't all read yet, or can't be read.

    Examples:
        pointsman certs -c pointsman.toml
        pointsman certs --within 30 --json | jq -r '.set_aside[].certificate'
    """
    planes = fleet(config, url or (), token_file)
    found = shown(planes, lambda plane: _certificates(plane, most, within), lambda one: _show(one, within), as_json)
    if any(_needs_a_look(one) for one in found):
        raise typer.Exit(exits.FOUND)


def _certificates(plane: Plane, most: int, within: float) -> dict[str, Any]:
    found: dict[str, Any] = plane.get("/api/v1/certificates", {"limit": most})
    aside = plane.get("/api/v1/certificates/set-aside", {"limit": 100})
    ending = sum(one["days"] < within for one in found["items"])
    return {**found, "set_aside": aside["items"], "ending": ending}


def _needs_a_look(found: dict[str, Any]) -> bool:
    bad = found["ending"] or found["set_aside_total"] or found["missing_total"]
    return bool(bad or found["trouble"] or not found["complete"])


def _show(found: dict[str, Any], within: float) -> None:
    certificates = found["items"]
    if certificates:
        table(
            ("certificate", "days", "ends", "key", "hosts"), [_row(one, within) for one in certificates], numbers=(1,)
        )
    for one in found["set_aside"]:
        used = "an older one is used" if one["in_use"] else "not used"
        say(styled("set aside", BAD), f"  {one['certificate']} ({one['kind']}; {used}): {one['reason']}")
    for name in found["missing"]:
        say(styled("missing", BAD), f"  {name}: its files are gone from the folder, and it is used as it was")
    for name in found["readable"]:
        say(styled("key", WARN), f"  {name}: others than the owner may read its key")
    if found["trouble"]:
        say(styled("the folder can't be read now", BAD), f": {found['trouble']}")
    unread = "" if found["complete"] else "; the folder isn't all read yet"
    gone = f", {found['missing_total']} missing" if found["missing_total"] else ""
    least = "at least " if found["ending"] == len(certificates) < found["total"] else ""
    ending = f"{least}{found['ending']} end in {within:g} days"
    say(f"{found['total']:,} certificates, {found['set_aside_total']} set aside{gone}, {ending}{unread}")


def _row(one: dict[str, Any], within: float) -> list[Any]:
    days = one["days"]
    style = BAD if days <= 0 else WARN if days < within else GOOD
    hosts = one["hosts"]
    more = f" and {len(hosts) - 5} more" if len(hosts) > 5 else ""
    return [
        one["name"],
        styled(f"{days:.1f}", style),
        moment(one["not_after"]),
        one["key"],
        ", ".join(hosts[:5]) + more,
    ]
