"""What stands between GDS and the edge starts while GDS doesn't answer: what it leaves on disk, and serves."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from xds import hold, tokens
from xds.cache import Cache
from xds.gds.mirror import Mirror
from xds.guard import Limits
from xds.pipeline import Pace, Pipeline
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.standing import Standing
from xds.state.folder import StateFolder


class _Silent(Mirror):
    """GDS can't be reached."""

    async def run(self) -> None:
        self.status.last_error = "away"
        await asyncio.Event().wait()


async def started(folder: Path) -> Pipeline:
    """The pipeline after a start that saw nothing of GDS, and an orderly end."""
    pipeline = Pipeline(
        EdgeResources(4, timedelta(seconds=1)),
        Cache(),
        Edge(),
        Pace(0.0, 0.0),
        later=lambda seconds, call: call(),
        clock=lambda: 0.0,
    )
    standing = Standing(pipeline, StateFolder(folder), Limits(), token=True)
    running = asyncio.create_task(standing.run(_Silent(None, standing.gate)))  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        while not (folder / tokens.FILE).exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return pipeline


async def test_starts_that_never_heard_gds_leave_no_directory_and_serve_none(tmp_path: Path) -> None:
    for _ in range(2):
        pipeline = await started(tmp_path / "state")
        assert not pipeline.directory.complete
        assert not list((tmp_path / "state").glob("*.state"))


async def test_a_hold_without_any_state_does_not_come_back_at_a_later_start(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / hold.FILE).write_bytes(hold.encode(hold.Hold("rollback", "rolled back", 1.0, "E", 7)))
    await started(folder)
    assert not (folder / hold.FILE).exists()
