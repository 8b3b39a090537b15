"""GDS: whether it can be reached, and speaks the contract. Its whole snapshot is read, and the begin of a watch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from xds.check import lookup
from xds.check.finding import Finding, fail, ok, skipped, warn
from xds.errors import HistoryGone, PointsmanError
from xds.gds.client import GdsClient, Timeouts
from xds.gds.model import Snapshot, check_domain
from xds.settings import Settings

SHOWN = 5


@dataclass(slots=True)
class Looked:
    findings: list[Finding] = field(default_factory=list)
    snapshot: Snapshot | None = None


async def look(settings: Settings, hosts: Sequence[str], looked: Looked) -> None:
    """``hosts``: that GDS should know, where it is asked for one at a time. What is found is in ``looked``."""
    gds = settings.gds
    if gds.mode == "lookup":
        looked.findings += await lookup.look(settings, hosts)
        return
    if hosts:
        looked.findings.append(skipped("gds-hosts", "this GDS isn't asked for single hosts: all of it is read"))
    try:
        async with GdsClient(str(gds.url), Timeouts(gds.connect_timeout, gds.read_timeout), gds.credentials) as client:
            snapshot = await client.snapshot()
            looked.snapshot = snapshot
            looked.findings.append(_read(snapshot, client.shown))
            looked.findings.append(await _watched(client, snapshot, gds.read_timeout))
    except PointsmanError as error:
        looked.findings.append(fail("gds", str(error), "does GDS run, and is the URL right? (settings gds.*)"))


def _read(snapshot: Snapshot, shown: str) -> Finding:
    pods = {pod.name for pod in snapshot.pods}
    bad = [f"{one.kind} {one.name}: {one.reason}" for one in snapshot.bad]
    for domain, pod in snapshot.domains:
        try:
            check_domain(domain)
        except PointsmanError as error:
            bad.append(str(error))
        else:
            if pod not in pods:
                bad.append(f"domain {domain}: its pod {pod!r} is not in the snapshot")
    said = f"{shown}: {len(snapshot.domains):,} domains on {len(pods):,} pods at revision {snapshot.revision}"
    if bad:
        rest = f"; {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        return warn(
            "gds", f"{said}; {len(bad)} records can't be used: {'; '.join(bad[:SHOWN])}{rest}", "put them right in GDS"
        )
    if not snapshot.domains:
        return warn("gds", said, "a control plane without a state on disk waits for the first domain")
    return ok("gds", said)


async def _watched(client: GdsClient, snapshot: Snapshot, patience: float) -> Finding:
    name = "gds-watch"
    try:
        async with asyncio.timeout(patience):
            async for _ in client.watch(snapshot.epoch, snapshot.revision):
                return ok(name, "a change or a heartbeat came")
    except TimeoutError:
        return fail(
            name,
            f"nothing came on the watch within {patience:.0f} s, not even a heartbeat",
            "set gds.read_timeout above the interval of GDS's heartbeats",
        )
    except HistoryGone as error:
        return warn(
            name, f"{error}: right after the snapshot", "GDS keeps too little history; every gap costs a snapshot"
        )
    except PointsmanError as error:
        return fail(name, str(error), "GDS must offer GET /watch, as docs/gds.md says")
    return fail(name, "the watch ended", "GDS must keep it open")
