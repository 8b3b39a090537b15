"""The command ``pointsman diff``: what the edge would get against what it has."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xds.cli import exits
from xds.cli.options import Config, Json, Token, Url
from xds.cli.output import print_json, progress, say, table
from xds.cli.plane import Plane

if TYPE_CHECKING:
    from xds.gds.model import Snapshot


def diff(
    node: Annotated[str | None, typer.Argument(help="Only this Envoy, by its node id.")] = None,
    gds: Annotated[
        bool, typer.Option("--gds", help="Reads GDS's snapshot anew, and holds what is routed against it.")
    ] = False,
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="At most so many differences.")] = 1_000,
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """What the edge would get against what it has: what is held back, and what each Envoy lacks.

    Exit code 3 when there is a difference. With --gds the control plane's word isn't taken for GDS's: its snapshot is
    read, and compared domain by domain.

    Examples:
        pointsman diff -c pointsman.toml
        pointsman diff edge-1 --json
        pointsman diff --gds -c pointsman.toml
    """
    plane = Plane(config, url, token_file)
    if gds:
        found = _against_gds(plane, most)
    else:
        found = list(islice(plane.items("/api/v1/diff", {"node": node or "", "limit": min(most, 1000)}), most))
    if as_json:
        print_json(found)
    elif not found:
        print("no difference")
    else:
        rows = [
            [
                one.get("node") or "",
                one.get("type") or one["kind"],
                one["name"],
                one["from"],
                one["to"],
                one.get("reason"),
            ]
            for one in found
        ]
        table(("Envoy", "of", "name", "has", "would get", "reason"), rows)
        say(f"{len(found):,} differences{', perhaps more' if len(found) == most else ''}")
    if found:
        raise typer.Exit(exits.FOUND)


def _against_gds(plane: Plane, most: int) -> list[dict[str, Any]]:
    with progress("GDS's snapshot"):
        snapshot = plane.snapshot()
    return differences(snapshot, plane, most)


def differences(snapshot: Snapshot, plane: Plane, most: int) -> list[dict[str, Any]]:
    """Of kind "gds": the domain ``name`` is routed ``from``, and GDS says ``to``."""
    wanted = dict(snapshot.domains)
    found: list[dict[str, Any]] = []
    with progress("domains", len(wanted)) as told:
        for number, each in enumerate(plane.items("/api/v1/domains", {"limit": 1000}), 1):
            if number % 1000 == 0:
                told(number)
            pod = wanted.pop(each["domain"], None)
            if pod != each["pod"] and len(found) < most:
                found.append({"kind": "gds", "name": each["domain"], "from": each["pod"], "to": pod})
    for domain, pod in islice(wanted.items(), most - len(found)):
        found.append({"kind": "gds", "name": domain, "from": None, "to": pod})
    return found
