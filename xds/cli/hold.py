"""The commands ``pointsman hold`` and ``pointsman rollback``: what an operator orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Annotated, Any

import typer

from xds.cli import exits
from xds.cli.fleet import everywhere, fleet
from xds.cli.options import Config, Json, Token, Url, Urls
from xds.cli.output import print_found, when
from xds.cli.plane import PAGE, Plane
from xds.errors import OrderError

NOTHING = "nothing is held"


def show(config: Config = None, url: Urls = None, token_file: Token = None, as_json: Json = False) -> None:
    """What is held, and why.

    Exit code 3 when something is.

    Examples:
        pointsman hold show -c pointsman.toml
        pointsman hold show --json
    """
    found = everywhere(fleet(config, url or (), token_file), lambda plane: plane.get("/api/v1/hold"), _told, as_json)
    if any(one["state"] == "held" for one in found):
        raise typer.Exit(exits.FOUND)


def release(config: Config = None, url: Urls = None, token_file: Token = None, as_json: Json = False) -> None:
    """GDS's newest state goes to the edge.

    Examples:
        pointsman hold release -c pointsman.toml
        pointsman hold release --url http://10.0.0.1:18080 --url http://10.0.0.2:18080 --token-file token
    """
    _order(
        "release",
        fleet(config, url or (), token_file),
        lambda found: "released" if found else NOTHING,
        as_json,
    )


def refuse(config: Config = None, url: Urls = None, token_file: Token = None, as_json: Json = False) -> None:
    """What is held isn't taken; the edge stays as it is until GDS was put right.

    Examples:
        pointsman hold refuse -c pointsman.toml
    """
    _order(
        "refuse",
        fleet(config, url or (), token_file),
        lambda found: _told(found) if found else NOTHING,
        as_json,
    )


def states(
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="How many, the newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """The states that can be gone back to, the newest first. Needs the token.

    Examples:
        pointsman rollback list -c pointsman.toml
        pointsman rollback list -n 100 --json
    """
    found = list(islice(Plane(config, url, token_file).items("/api/v1/states", {"limit": min(most, PAGE)}), most))
    if not found and not as_json:
        print("there is no state to go back to")
        return
    lines = [f"{'revision':>12}  {'when':23}  {'domains':>9}  epoch"]
    for one in found:
        domains = "" if one["domains"] is None else one["domains"]
        lines.append(f"{one['revision']:>12}  {when(one['at'])}  {domains:>9}  {one['epoch']}")
    print_found(found, as_json, "\n".join(lines))


def to(
    revision: Annotated[str, typer.Argument(help="REVISION, or EPOCH:REVISION where several epochs had it.")],
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """Takes the edge back to that revision. GDS doesn't overwrite it until `pointsman hold release`.

    Examples:
        pointsman rollback to 4711 -c pointsman.toml
    """
    epoch, _, number = revision.rpartition(":")
    if not number.isdecimal():
        raise typer.BadParameter(
            f"{revision!r} is not a revision: a number, or EPOCH:NUMBER (see `pointsman rollback list`)"
        )
    order = {"revision": int(number), "epoch": epoch}
    planes = fleet(config, url or (), token_file)
    everywhere(planes, lambda plane: plane.order("/api/v1/rollback", order), _told, as_json)


def _order(what: str, planes: Sequence[Plane], told: Callable[[Any], str], as_json: bool) -> None:
    """With several control planes, one that holds nothing has nothing to do."""

    def ask(plane: Plane) -> Any:
        if len(planes) > 1 and plane.get("/api/v1/hold")["state"] == "none":
            return None
        return plane.order(f"/api/v1/hold/{what}", {})

    if not any(everywhere(planes, ask, told, as_json)):
        raise OrderError("nothing is held at any of them")


def _told(found: dict[str, Any]) -> str:
    if found["state"] == "none":
        return NOTHING
    lines = [f"{found['state']} since {when(found['since'])} ({found['reason']}): {found['text']}"]
    changes = found["changes"]
    if changes is None:
        lines.append("GDS hasn't answered since the start: what a release would do isn't known yet")
    else:
        lines.append(
            f"a release would move {changes['moved']} domains, remove {changes['removed']} and add {changes['added']}, "
            f"remove {changes['pods_removed']} pods and change {changes['pods_changed']}{_ends(changes)}"
        )
    for one in found["examples"]:
        lines.append(f"  {one['domain']}: {one['edge'] or 'not routed'} → {one['gds'] or 'not routed'}")
    return "\n".join(lines)


def _ends(changes: dict[str, int]) -> str:
    """Of the pods that would change, those that lose every endpoint that they have."""
    emptied, replaced = changes.get("pods_emptied", 0), changes.get("pods_replaced", 0)
    said = [f"{emptied} lose all endpoints"] * bool(emptied) + [f"{replaced} get other endpoints"] * bool(replaced)
    return f" (of these {' and '.join(said)})" if said else ""
