"""The commands ``pointsman hold`` and ``pointsman rollback``: what an operator orders."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xds.cli import exits
from xds.cli.options import Config, Json, Token, Url
from xds.cli.output import print_found, when
from xds.cli.plane import Plane
from xds.errors import OrderError


def show(config: Config = None, url: Url = "", as_json: Json = False) -> None:
    """What is held, and why. Exit code 3 when something is.

    Examples:
        pointsman hold show -c pointsman.toml
        pointsman hold show --json
    """
    found = Plane(config, url).get("/api/v1/hold")
    print_found(found, as_json, _told(found))
    if found["state"] == "held":
        raise typer.Exit(exits.FOUND)


def release(config: Config = None, url: Url = "", token_file: Token = None, as_json: Json = False) -> None:
    """GDS's newest state goes to the edge.

    Examples:
        pointsman hold release -c pointsman.toml
    """
    found = Plane(config, url, token_file).order("/api/v1/hold/release", {})
    print_found(found, as_json, "released")


def refuse(config: Config = None, url: Url = "", token_file: Token = None, as_json: Json = False) -> None:
    """What is held isn't taken; the edge stays as it is until GDS was put right.

    Examples:
        pointsman hold refuse -c pointsman.toml
    """
    found = Plane(config, url, token_file).order("/api/v1/hold/refuse", {})
    print_found(found, as_json, _told(found))


def states(
    config: Config = None,
    url: Url = "",
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="How many, the newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """The states that can be gone back to, the newest first.

    Examples:
        pointsman rollback list -c pointsman.toml
        pointsman rollback list -n 100 --json
    """
    found = Plane(config, url).get("/api/v1/states", {"most": most})
    lines = [f"{'revision':>12}  {'when':23}  {'domains':>9}  epoch"]
    for one in found:
        domains = "" if one["domains"] is None else one["domains"]
        lines.append(f"{one['revision']:>12}  {when(one['at'])}  {domains:>9}  {one['epoch']}")
    print_found(found, as_json, "\n".join(lines))


def to(
    revision: Annotated[str, typer.Argument(help="REVISION, or EPOCH:REVISION where several epochs had it.")],
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Takes the edge back to that revision. GDS doesn't overwrite it until `pointsman hold release`.

    Examples:
        pointsman rollback to 4711 -c pointsman.toml
    """
    epoch, _, number = revision.rpartition(":")
    if not number.isdecimal():
        raise OrderError(f"{revision!r} is not a revision: a number, or EPOCH:NUMBER (see `pointsman rollback list`)")
    order = {"revision": int(number), "epoch": epoch}
    found = Plane(config, url, token_file).order("/api/v1/rollback", order)
    print_found(found, as_json, _told(found))


def _told(found: dict[str, Any]) -> str:
    if found["state"] == "none":
        return "nothing is held"
    lines = [f"{found['state']} since {when(found['since'])} ({found['reason']}): {found['text']}"]
    changes = found["changes"]
    if changes is None:
        lines.append("GDS hasn't answered since the start: what a release would do isn't known yet")
    else:
        lines.append(
            f"a release would move {changes['moved']} domains, remove {changes['removed']} and add {changes['added']}, "
            f"remove {changes['pods_removed']} pods and change {changes['pods_changed']}"
        )
    for one in found["examples"]:
        lines.append(f"  {one['domain']}: {one['edge'] or 'not routed'} → {one['gds'] or 'not routed'}")
    return "\n".join(lines)
