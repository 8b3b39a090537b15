"""The command ``pointsman diff``: what the edge would get against what it has."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xds.cli import completion, exits
from xds.cli.fleet import fleet, from_all
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.output import print_json, progress, say, table
from xds.cli.plane import PAGE, Plane
from xds.errors import PointsmanError

if TYPE_CHECKING:
    from xds.gds.model import Snapshot

_SETTLE = 2.0
"""Seconds after which what differs is looked at anew: what GDS has just said is on its way."""


def diff(
    node: Annotated[
        str | None, typer.Argument(help="Only this Envoy, by its node id.", autocompletion=completion.nodes)
    ] = None,
    gds: Annotated[
        bool, typer.Option("--gds", help="Reads GDS's snapshot anew, and holds what is routed against it.")
    ] = False,
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="At most so many differences.")] = 1_000,
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    as_json: Json = False,
) -> None:
    """What the edge would get against what it has: what is held back, and what each Envoy lacks.

    With --gds the control plane's word isn't taken for GDS's: its snapshot is read, and compared domain by domain. What
    differs is looked at again after two seconds, and only told when it still does: changes are on their way all the
    time.

    With several control planes (setting http.replicas, or --url several times) those of all. Exit code 3 when there is
    a difference, 1 when one of them doesn't answer.

    Examples:
        pointsman diff -c pointsman.toml
        pointsman diff edge-1 --json
        pointsman diff --gds -c pointsman.toml
    """
    if gds and node:
        raise typer.BadParameter("--gds compares the control plane with GDS, not an Envoy: leave NODE out")
    planes = fleet(config, url or (), token_file)
    found, unasked = _against_gds(planes, most) if gds else from_all(planes, lambda plane: _lacks(plane, node, most))
    found = found[:most]
    if as_json:
        print_json(found)
    elif not found and not unasked:
        print("no difference")
    elif found:
        several = len(planes) > 1
        heads = "Envoy", "of", "name", "has", "would get", "reason"
        table((*heads, "control plane") if several else heads, [_row(one, several) for one in found])
        say(f"{len(found):,} differences{', perhaps more' if len(found) == most else ''}")
    if unasked:
        raise unasked[0]
    if found:
        raise typer.Exit(exits.FOUND)


def _row(one: dict[str, Any], several: bool) -> list[Any]:
    kind = one.get("type") or one["kind"]
    cells = [one.get("node") or "", kind, one["name"], one["from"], one["to"], one.get("reason")]
    return [*cells, one["control_plane"]] if several else cells


def _lacks(plane: Plane, node: str | None, most: int) -> list[dict[str, Any]]:
    found = islice(plane.items("/api/v1/diff", {"node": node or "", "limit": min(most, PAGE)}), most)
    return [{**one, "control_plane": plane.url} for one in found]


def _against_gds(planes: Sequence[Plane], most: int) -> tuple[list[dict[str, Any]], list[PointsmanError]]:
    found, unasked = _compared(planes, most)
    if found:
        time.sleep(_SETTLE)
        before = {_identity(one) for one in found}
        again, unasked = _compared(planes, most)
        found = [one for one in again if _identity(one) in before]
    return found, unasked


def _identity(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["control_plane"], one["name"], one["from"], one["to"]


def _compared(planes: Sequence[Plane], most: int) -> tuple[list[dict[str, Any]], list[PointsmanError]]:
    with progress("GDS's snapshot"):
        snapshot = planes[0].snapshot()
    with progress("domains", len(snapshot.domains) * len(planes)) as told:
        counts = dict.fromkeys([plane.url for plane in planes], 0)

        def read(plane: Plane) -> list[dict[str, Any]]:
            def routed() -> Iterator[tuple[str, str]]:
                for number, each in enumerate(plane.items("/api/v1/domains", {"limit": PAGE}), 1):
                    if number % PAGE == 0:
                        counts[plane.url] = number
                        told(sum(counts.values()))
                    yield each["domain"], each["pod"]

            return [{**one, "control_plane": plane.url} for one in differences(snapshot, routed(), most)]

        return from_all(planes, read)


def differences(snapshot: Snapshot, routed: Iterable[tuple[str, str]], most: int) -> list[dict[str, Any]]:
    """Of kind "gds": the domain ``name`` is routed ``from``, and GDS says ``to``."""
    wanted = dict(snapshot.domains)
    found: list[dict[str, Any]] = []
    for domain, pod in routed:
        said = wanted.pop(domain, None)
        if said != pod and len(found) < most:
            found.append({"kind": "gds", "name": domain, "from": pod, "to": said})
    for domain, said in islice(wanted.items(), most - len(found)):
        found.append({"kind": "gds", "name": domain, "from": None, "to": said})
    return found
