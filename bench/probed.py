"""Starts GDS or the control plane with a probe inside that notes when things happened, and is no part of either.

``python -m bench.probed PROBE gds|pointsman|single …`` and then the command's own options; ``single`` is the control
plane with the layout of `bench.single_table`. PROBE becomes a file of JSON lines, each with ``e``, what happened, and
``t``, seconds of the monotonic clock that all processes of this machine share:

``commit``     GDS: a write is on disk. Up to which revision.
``asked``      the control plane asks for a snapshot;  ``ready``: it is read, laid out and published.
``publish``    changes are published: up to which revision, the version of each route table that changed, and the
               tables that changed and are published later.
``connected``  a stream opens.  ``ack``: an ACK or NACK is read, of which node and type, and of which route tables.
``stall``      the event loop came late by more than STALL: how late, and the CPU that its thread used meanwhile.
``where``      with the environment's BENCH_WHERE, seconds: the stack of what holds the event loop up for longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

STALL = 0.01
_BEAT = 0.005
_FEW = 64
"""Tables of an ACK that are named for every node; more only for the node of the real Envoy."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Probe:
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, event: str, **what: object) -> None:
        line = json.dumps({"e": event, "t": time.monotonic(), **what}) + "\n"
        os.write(self._file, line.encode())


def gds(probe: Probe, arguments: list[str]) -> None:
    from gds_mock import __main__, api, service

    class Service(service.Service):
        async def write(self, function: Callable[[*Ts], T], *args: *Ts, limit: float | None = None) -> T:
            def work() -> T:
                before = self.store.committed
                done = function(*args)
                if self.store.committed > before:
                    probe.note("commit", revision=self.store.committed)
                return done

            return await super().write(work, limit=limit)

    setattr(api, "Service", Service)  # noqa: B010
    sys.exit(__main__.main(arguments))


def pointsman(probe: Probe, arguments: list[str], *, single: bool = False) -> None:
    from xds import cli, control_plane, followers, pipeline
    from xds.cache import Cache, Watcher
    from xds.gds import mirror
    from xds.gds.client import GdsClient
    from xds.gds.model import Snapshot
    from xds.protocol.state import Settled
    from xds.protocol.stream import Stream
    from xds.resources.edge import Causes
    from xds.resources.types import ROUTE, Resource, ResourceType, Update
    from xds.server.xds import XdsServer

    class ProbedClient(GdsClient):
        async def snapshot(self) -> Snapshot:
            probe.note("asked")
            return await super().snapshot()

    class ProbedCache(Cache):
        def watch(self, watcher: Watcher, only: ResourceType | None = None) -> None:
            probe.note("connected")
            super().watch(watcher, only)

    class ProbedMirror(mirror.Mirror):
        async def _resync(self) -> None:
            await super()._resync()
            probe.note("ready", revision=self.status.gds_revision)

    class ProbedPipeline(pipeline.Pipeline):
        left: frozenset[str] = frozenset()

        def _publish(
            self,
            pods: Update,
            causes: Causes,
            tables: Mapping[str, Resource | None] | None = None,
            at_once: Collection[str] = (),
        ) -> None:
            left = frozenset(name for _, name in self._backlog)
            revision, new, self.left = self.directory.revision, left - self.left, left
            super()._publish(pods, causes, tables, at_once)
            sent = {name: self.version((kind, name)) for kind, name in causes if kind is ROUTE}
            probe.note("publish", revision=revision, tables=sent, later=[*new])

    def server(*args: Any, on_settled: Callable[[Stream, str, Settled], None], **kwargs: Any) -> XdsServer:
        def settled(stream: Stream, node: str, answer: Settled) -> None:
            named = answer.kind is ROUTE and (len(answer.versions) <= _FEW or node == "edge-1")
            tables = dict(answer.versions) if named else {}
            probe.note("ack", node=node, kind=answer.kind.name, error=answer.error, tables=tables)
            on_settled(stream, node, answer)

        return XdsServer(*args, on_settled=settled, **kwargs)

    async def run(settings: object) -> None:
        beating = asyncio.create_task(_beat(probe))
        try:
            await original(settings)
        finally:
            beating.cancel()

    original: Callable[..., Any] = control_plane.run
    changed: list[tuple[object, str, object]] = [
        (followers, "GdsClient", ProbedClient),
        (followers, "Mirror", ProbedMirror),
        (control_plane, "Cache", ProbedCache),
        (control_plane, "Pipeline", ProbedPipeline),
        (control_plane, "XdsServer", server),
        (control_plane, "run", run),
    ]
    if single:
        from bench.single_table import SingleTable

        changed.append((control_plane, "EdgeResources", SingleTable))
    for module, name, value in changed:
        getattr(module, name)  # it must be there, else nothing is noted
        setattr(module, name, value)
    cli.app(["serve", *arguments])


async def _beat(probe: Probe) -> None:
    collecting = 0.0

    def collected(phase: str, info: dict[str, int]) -> None:
        nonlocal collecting
        collecting += time.monotonic() if phase == "stop" else -time.monotonic()

    gc.callbacks.append(collected)
    beat = [time.monotonic()]
    if limit := float(os.environ.get("BENCH_WHERE", 0)):
        threading.Thread(target=_watch, args=(probe, beat, limit, threading.get_ident()), daemon=True).start()
    while True:
        beat[0] = time.monotonic()
        collecting, wall, cpu = 0.0, time.monotonic(), time.thread_time()
        await asyncio.sleep(_BEAT)
        late = time.monotonic() - wall - _BEAT
        if late > STALL:
            probe.note("stall", late=round(late, 4), cpu=round(time.thread_time() - cpu, 4), gc=round(collecting, 4))


def _watch(probe: Probe, beat: list[float], limit: float, thread: int) -> None:
    """Notes the stack of a beat that is late, again and again. What holds the interpreter is seen as it lets go."""
    while True:
        time.sleep(limit / 4)
        late = time.monotonic() - beat[0]
        if late > limit:
            stack = traceback.extract_stack(sys._current_frames()[thread])
            probe.note(
                "where",
                late=round(late, 3),
                stack=[f"{Path(at.filename).name}:{at.lineno} {at.name}" for at in stack[-8:]],
            )


def main() -> None:
    path, what, *arguments = sys.argv[1:]
    probe = Probe(path)
    with contextlib.suppress(KeyboardInterrupt):
        if what == "gds":
            gds(probe, arguments)
        else:
            pointsman(probe, arguments, single=what == "single")


if __name__ == "__main__":
    main()
