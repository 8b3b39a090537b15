"""The metrics of many Envoys are Prometheus's text as it always was, and hold nobody up while they are written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from xds.http.exposition import exposed


class Many(Collector):
    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("many", "Of each node.", labels=["node"])
        for number in range(5_500):
            family.add_metric([f'# "{number}"\n#'], number)
        yield family
        yield GaugeMetricFamily("none", "Of nobody.", labels=["node"])


async def test_what_is_written_in_slices_is_what_prometheus_writes_and_others_have_their_turn() -> None:
    registry = CollectorRegistry()
    registry.register(Many())
    Histogram("took", "Seconds.", registry=registry).observe(1)
    Counter("asked", "Times.", ["by"], registry=registry).labels("me").inc()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    written = await exposed(registry)
    task.cancel()
    assert written == generate_latest(registry)
    assert turns >= 6
