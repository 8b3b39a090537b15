"""Metrics as Prometheus's text, written in slices: a thousand Envoys have some ten thousand of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from xds.slices import cut


async def exposed(metrics: Collector) -> bytes:
    """What ``generate_latest`` makes of them, byte by byte; between two slices others have their turn."""
    written = []
    for metric in metrics.collect():
        for number, some in enumerate(cut(metric.samples) if metric.samples else [[]]):
            part = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            part.samples = some
            text = generate_latest(_One(part))
            written.append(text if number == 0 else _without_head(text))
            await asyncio.sleep(0)
    return b"".join(written)


@dataclass(frozen=True, slots=True)
class _One:
    """A registry of one family."""

    metric: Metric

    def collect(self) -> Iterator[Metric]:
        yield self.metric


def _without_head(text: bytes) -> bytes:
    """Without HELP and TYPE, which a family has once."""
    return b"\n".join(line for line in text.split(b"\n") if not line.startswith(b"#"))
