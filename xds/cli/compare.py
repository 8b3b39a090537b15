"""The command ``pointsman compare``."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xds.cli import exits
from xds.cli.options import Config, Json, Token, Url
from xds.cli.output import print_json
from xds.cli.plane import Plane
from xds.errors import CompareError

if TYPE_CHECKING:
    from rich.progress import Progress

    from xds.compare.run import Bounds
    from xds.compare.verdict import Row, Tally
    from xds.haproxy_map import HostMap
    from xds.settings import Settings


_NO_EDGE = "none"


def compare(
    map_file: Annotated[
        Path | None, typer.Option("--map", help="The old HAProxy map, `host pod` a line; - for stdin.", metavar="FILE")
    ] = None,
    hosts_file: Annotated[
        Path | None, typer.Option("--hosts", help="Instead: a list of hosts, one a line; - for stdin.", metavar="FILE")
    ] = None,
    config: Config = None,
    url: Url = "",
    token_file: Token = None,
    edge: Annotated[
        str,
        typer.Option(
            "--edge",
            help="The edge's URL, if it isn't edge.https_port of this machine; none: don't ask it.",
            metavar="URL",
        ),
    ] = "",
    edge_ca: Annotated[
        Path | None, typer.Option("--edge-ca", help="Who signs the edge's certificates, if not a public CA.")
    ] = None,
    edge_path: Annotated[str, typer.Option("--edge-path", help="The path that the edge is asked for (HEAD).")] = "/",
    pod_header: Annotated[
        str, typer.Option("--pod-header", help="The answer's header that names the pod, if not edge.pod_header.")
    ] = "",
    rate: Annotated[float, typer.Option("--rate", min=0.1, help="Questions to GDS a second, at most.")] = 100.0,
    together: Annotated[int, typer.Option("--together", min=1, max=1_000, help="Hosts under way at a time.")] = 16,
    settle: Annotated[
        float, typer.Option("--settle", min=0, max=600, help="Seconds after which a difference is asked for again.")
    ] = 2.0,
    sample: Annotated[int, typer.Option("--sample", min=0, help="So many of the hosts, by chance; 0: all.")] = 0,
    as_json: Json = False,
) -> None:
    """Asks the old map, GDS, the control plane and the edge for each host, and says what differs.

    Exit code 0: all say the same of all hosts; 3: there are differences; 1: some couldn't be compared, or what is at
    --edge isn't the edge. Settings say where GDS is, and what it is asked with. Without --edge, this machine's edge
    is asked when it can be recognised; when it isn't asked, that is said, and is no failure.

    Examples:
        pointsman compare --map backend.map -c pointsman.toml
        pointsman compare --map backend.map -c pointsman.toml --edge https://127.0.0.1:10443 --edge-ca ca.crt
        cut -f1 customers | pointsman compare --hosts - --sample 1000 --json
    """
    from xds import settings
    from xds.cli import hosts_file as files
    from xds.compare.run import Bounds

    file = map_file or hosts_file
    if file is None or (map_file and hosts_file):
        raise typer.BadParameter("give --map FILE or --hosts FILE")
    loaded = settings.load(config)
    header = pod_header or loaded.edge.pod_header or ""
    if edge not in ("", _NO_EDGE) and not header:
        raise CompareError(
            "nothing in the edge's answers names the pod: set edge.pod_header, or name a header that the pods set with "
            "--pod-header"
        )
    bounds = Bounds(rate, together, settle)
    with files.progress() as bars:
        found = files.read(file, bars, hosts_alone=map_file is None)
        if not found.pods:
            raise CompareError(f"{file} has no host to be compared ({len(found.bad):,} bad lines)")
        listed = list(found.pods.items())
        if sample and sample < len(listed):
            listed = random.SystemRandom().sample(listed, sample)
        through = (edge, edge_path, header, edge_ca)
        tally, unasked = asyncio.run(_compared(loaded, Plane(config, url, token_file), through, listed, bounds, bars))
    if as_json:
        print_json(_as_json(tally, found, unasked))
    else:
        said = [f"the edge wasn't asked: {unasked}"] if unasked else []
        print("\n".join([*_told(tally), *files.bad_lines(file, found.bad), *said, _summary(tally, found)]))
    if tally.different:
        raise typer.Exit(exits.FOUND)
    if tally.unanswered or found.bad:
        raise typer.Exit(exits.FAILED)


async def _compared(
    loaded: Settings,
    plane: Plane,
    through: tuple[str, str, str, Path | None],
    listed: Sequence[tuple[str, str]],
    bounds: Bounds,
    bars: Progress,
) -> tuple[Tally, str]:
    """And why the edge wasn't asked."""
    from xds.compare import run, sources
    from xds.lookup.client import LookupClient, Wait

    gds, lookup = loaded.gds, loaded.lookup
    credentials = gds.credentials
    wait = Wait(gds.connect_timeout, lookup.timeout)
    task = bars.add_task("comparing", total=len(listed))
    async with contextlib.AsyncExitStack() as stack:
        client = LookupClient(str(gds.url), lookup.client, credentials, wait, bounds.together)
        await stack.enter_async_context(client)
        http = await stack.enter_async_context(plane.at_once(bounds.together))
        asked: list[run.Source] = [
            sources.Gds(client),
            sources.ControlPlane(plane.url, http, lookup=gds.mode == "lookup"),
        ]
        edge, path, header, ca = through
        unasked = (
            "--edge none" if edge == _NO_EDGE else "" if header else "it doesn't name pods (setting edge.pod_header)"
        )
        if not unasked:
            clients = await stack.enter_async_context(sources.through(bounds.together, ca))
            probe = sources.Edge(edge or f"https://127.0.0.1:{loaded.edge.https_port}", path, header, clients)
            try:
                await probe.recognise([host for host, _ in listed])
                asked.append(probe)
            except CompareError as error:
                if edge:
                    raise
                unasked = f"{error} (options --edge, --edge-ca)"
        return await run.compare(listed, asked, bounds, lambda row: bars.advance(task)), unasked


def _told(tally: Tally) -> list[str]:
    return [_line(row) for row in (*tally.different, *tally.unanswered)]


def _line(row: Row) -> str:
    from xds.compare.verdict import SOURCES

    said = ", ".join(f"{name.replace('_', ' ')}: {row.said[name]}" for name in SOURCES if name in row.said)
    return f"{row.host}  {said}"


def _summary(tally: Tally, found: HostMap) -> str:
    parts = [f"{tally.hosts:,} hosts: {tally.equal:,} equal, {len(tally.different):,} different"]
    for count, words in (
        (len(tally.unanswered), "without an answer"),
        (len(found.bad), "bad lines"),
        (tally.settled, "differed at first and not any more"),
        (tally.silent, "that the control plane hasn't been asked for yet"),
    ):
        if count:
            parts.append(f"{count:,} {words}")
    return "; ".join(parts)


def _as_json(tally: Tally, found: HostMap, unasked: str) -> dict[str, Any]:
    return {
        "hosts": tally.hosts,
        "equal": tally.equal,
        "settled": tally.settled,
        "not_asked_for_yet": tally.silent,
        "edge_not_asked": unasked,
        "different": [row.as_json() for row in tally.different],
        "unanswered": [row.as_json() for row in tally.unanswered],
        "bad_lines": [{"line": bad.line, "text": bad.text, "reason": bad.reason} for bad in found.bad],
    }
