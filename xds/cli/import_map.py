"""The commands ``pointsman import``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xds.cli import exits
from xds.cli.fleet import at_once, everywhere, fleet
from xds.cli.options import Config, Json, Token, Urls
from xds.cli.output import plain, print_json
from xds.cli.plane import Plane
from xds.errors import MapError, OrderError, PointsmanError

if TYPE_CHECKING:
    from rich.progress import Progress

    from xds.haproxy_map import HostMap

_MOST = 50_000
_BYTES = 4 * 1024 * 1024 - 4_096
"""Hosts, and bytes of them, that one order may have."""
_AROUND = len('"": "", ')
_SHOWN = 20


def haproxy_map(
    file: Annotated[Path, typer.Argument(help="The map, `host pod` a line; - for stdin.")],
    config: Config = None,
    url: Urls = None,
    token_file: Token = None,
    check: Annotated[bool, typer.Option("--check", help="Only say which lines can't be used.")] = False,
    as_json: Json = False,
) -> None:
    """A running control plane in lookup mode knows the old proxy's hosts from now on, as if it had asked GDS for them.

    What it knows already stays as it is: GDS said so later. All are asked for again in the background. With several
    control planes (setting http.replicas, or --url several times) all of them are told, as each learns for itself. Exit
    code 0: all lines are taken; 3: not all, the others are named and nothing of the rest is lost, or some are held back
    from the edge (`pointsman hold show`); 1: it can't be done, or not at all of them. It may be done again.

    Examples:
        pointsman import haproxy-map --check /etc/haproxy/backend.map
        pointsman import haproxy-map /etc/haproxy/backend.map -c pointsman.toml
    """
    from xds.cli import hosts_file as files

    planes = [] if check else fleet(config, url or (), token_file)
    with files.progress() as bars:
        found = files.read(file, bars)
        if not found.lines:
            raise MapError(f"{file} is empty")
        told = at_once(planes, lambda plane: _imported(plane, found, bars)) if planes else []
    if len(told) == 1 and isinstance(told[0], PointsmanError):
        raise told[0]
    done = {plane.url: said for plane, said in zip(planes, told, strict=False)}
    for said in told:
        if isinstance(said, _Done):
            found.refuse({host: why for host, why in said.refused.items() if host in found.pods})
    if as_json:
        print_json(_as_json(found, done))
    else:
        can = [f"{len(found.pods):,} hosts can be taken"] if check else _lines(done)
        can[-1] += f"; {len(found.bad):,} lines can't be used"
        print("\n".join([*files.bad_lines(file, found.bad), *can]))
    failed = [said for said in told if isinstance(said, PointsmanError)]
    if failed:
        why = "; ".join(map(str, failed))
        raise OrderError(f"{len(failed)} of {len(planes)} control planes didn't do it: {why}")
    if found.bad or any(isinstance(said, _Done) and said.held for said in told):
        raise typer.Exit(exits.FOUND)


@dataclass(slots=True)
class _Done:
    """At one control plane."""

    taken: int = 0
    held: int = 0
    kept: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        back = f" ({self.held:,} of them are held back from the edge: `pointsman hold show`)" if self.held else ""
        return f"{self.taken:,} hosts taken{back}, {self.kept:,} known already"


def _imported(plane: Plane, found: HostMap, bars: Progress) -> _Done:
    made, total, asked = _Done(), len(found.pods), 0
    task = bars.add_task(f"importing to {plane.url}", total=total)
    for some in _portions(found):
        asked += len(some)
        try:
            said = plane.order("/api/v1/lookup/hosts", {"hosts": some, "more": asked < total})
        except OrderError as error:
            known = f"{made.taken + made.kept:,} of {total:,} hosts are known, the others may not be: do it again"
            raise OrderError(f"{error}; {known}", status=error.status) from None
        made.taken += said["taken"]
        made.held += said.get("held", 0)
        made.kept += said["kept"]
        made.refused.update((one["host"], one["reason"]) for one in said["refused"])
        bars.advance(task, len(some))
    return made


def _lines(done: Mapping[str, _Done | PointsmanError]) -> list[str]:
    if len(done) == 1:
        return [*map(str, done.values())]
    return [f"{url}: {'' if isinstance(said, _Done) else 'NOT DONE: '}{plain(said)}" for url, said in done.items()]


def _as_json(found: HostMap, done: Mapping[str, _Done | PointsmanError]) -> dict[str, Any]:
    """With several control planes each has its own counts."""
    bad = [{"line": one.line, "text": one.text, "reason": one.reason} for one in found.bad]
    whole = {"lines": found.lines, "hosts": len(found.pods)}
    counts = [
        {"taken": said.taken, "held": said.held, "known_already": said.kept}
        if isinstance(said, _Done)
        else {"error": str(said)}
        for said in done.values()
    ]
    if len(counts) < 2:
        return {**whole, **(counts[0] if counts else {"taken": 0, "held": 0, "known_already": 0}), "bad_lines": bad}
    each = [{"url": url, **count} for url, count in zip(done, counts, strict=True)]
    return {**whole, "control_planes": each, "bad_lines": bad}


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
    for host, pod in found.pods.items():
        added = len(host) + len(pod) + _AROUND
        if some and (size + added > _BYTES or len(some) >= _MOST):
            yield some
            some, size = {}, 0
        some[host] = pod
        size += added
    if some:
        yield some
