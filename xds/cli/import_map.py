"""The commands ``pointsman import``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xds.cli import exits
from xds.cli.fleet import everywhere, fleet
from xds.cli.options import Config, Json, Token, Url, Urls
from xds.cli.output import print_json
from xds.cli.plane import Plane
from xds.errors import MapError

if TYPE_CHECKING:
    from xds.haproxy_map import HostMap

_MOST = 2_000
_BYTES = 60 * 1024
"""Hosts, and bytes of them, that one order may have."""
_AROUND = len('"": "", ')
_SHOWN = 20


def haproxy_map(
    file: Annotated[Path, typer.Argument(help="The map, `host pod` a line; - for stdin.")],
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    check: Annotated[bool, typer.Option("--check", help="Only say which lines can't be used.")] = False,
    as_json: Json = False,
) -> None:
    """A running control plane in lookup mode knows the old proxy's hosts from now on, as if it had asked GDS for them.

    What it knows already stays as it is: GDS said so later. All are asked for again in the background. Exit code 0: all
    lines are taken; 3: not all, the others are named and nothing of the rest is lost, or some are held back from the
    edge (`pointsman hold show`); 1: it can't be done. It may be done again.

    Examples:
        pointsman import haproxy-map --check /etc/haproxy/backend.map
        pointsman import haproxy-map /etc/haproxy/backend.map -c pointsman.toml
    """
    from xds.cli import hosts_file as files

    plane = Plane(config, url, token_file)
    taken = kept = held = 0
    with files.progress() as bars:
        found = files.read(file, bars)
        total = len(found.pods)
        task = bars.add_task("importing", total=total, visible=not check)
        done = 0
        for some in () if check else _portions(found):
            done += len(some)
            said = plane.order("/api/v1/lookup/hosts", {"hosts": some, "more": done < total})
            taken += said["taken"]
            kept += said["kept"]
            held += said.get("held", 0)
            found.refuse({one["host"]: one["reason"] for one in said["refused"]})
            bars.advance(task, len(some))
    if not found.lines:
        raise MapError(f"{file} is empty")
    if as_json:
        bad = [{"line": one.line, "text": one.text, "reason": one.reason} for one in found.bad]
        print_json(
            {
                **{"lines": found.lines, "hosts": len(found.pods), "taken": taken, "held": held},
                **{"known_already": kept, "bad_lines": bad},
            }
        )
    else:
        back = f" ({held:,} of them are held back from the edge: `pointsman hold show`)" if held else ""
        said = f"{taken:,} hosts taken{back}, {kept:,} known already"
        if check:
            said = f"{len(found.pods):,} hosts can be taken"
        print("\n".join([*files.bad_lines(file, found.bad), f"{said}; {len(found.bad):,} lines can't be used"]))
    if found.bad or held:
        raise typer.Exit(exits.FOUND)


def show(config: Config = None, url: Urls = None, token_file: Token = None, as_json: Json = False) -> None:
    """What GDS said since of the hosts that were imported: how many it has where the map said, and which not at all.

    Examples:
        pointsman import show -c pointsman.toml
        pointsman import show --json | jq -r '.left[]'
    """
    planes = fleet(config, url or (), token_file)
    everywhere(planes, lambda plane: plane.get("/api/v1/lookup/hosts"), _told, as_json)


def _told(found: dict[str, Any]) -> str:
    lines = [
        f"GDS agrees on {found['agreed']:,} hosts, has {found['moved']:,} on another pod, and hasn't got "
        f"{found['gone']:,}, which aren't routed any more, nor {found['missing']:,}, which still are; it wasn't asked "
        f"for {found['not_asked']:,} yet"
    ]
    if found["doubted"]:
        lines.append("it differs from the map more often than not, so the guard judges what it says (`hold show`)")
    lines += [f"  gone: {host}" for host in found["left"][:_SHOWN]]
    if found["gone"] > _SHOWN:
        lines.append(f"  and {found['gone'] - _SHOWN:,} more (--json has the first {len(found['left']):,})")
    return "\n".join(lines)


def _portions(found: HostMap) -> Iterator[dict[str, str]]:
    some: dict[str, str] = {}
    size = 0
    for host, pod in list(found.pods.items()):
        added = len(host) + len(pod) + _AROUND
        if some and (size + added > _BYTES or len(some) >= _MOST):
            yield some
            some, size = {}, 0
        some[host] = pod
        size += added
    if some:
        yield some
