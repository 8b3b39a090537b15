"""The listener's part of TLS: what changes it, and what doesn't."""

from __future__ import annotations

import asyncio
from pathlib import Path

from demo.issuer import Issuer, write_flat
from xds.edge_tls import EdgeTls, Options
from xds.resources.tls import Tls
from xds.resources.types import SECRET, Update

CA = Issuer()


async def test_the_order_of_the_names_in_a_renewed_certificate_does_not_change_the_listener(tmp_path: Path) -> None:
    shown: list[str] = []
    changed: list[Tls] = []

    def publish(update: Update) -> None:
        shown.extend(name for name in update.get(SECRET, {}) if name == "edge")

    write_flat(tmp_path, "edge", CA.issue("b.test", "a.test"))
    tls = EdgeTls(Options(tmp_path), publish, changed.append, lambda host: False)
    tls.start()
    task = asyncio.create_task(tls.run())
    try:
        for names, times in ((("a.test", "b.test"), 2), (("a.test", "c.test"), 3)):
            async with asyncio.timeout(20):
                await asyncio.sleep(0.5)
                write_flat(tmp_path, "edge", CA.issue(*names))
                while len(shown) < times:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [made.server_names for made in changed] == [("a.test", "c.test")]
