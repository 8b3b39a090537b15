"""What is timed and counted as it happens. All other metrics are read from the state at each scrape (`xds.http`).

The names are those that istiod's users know, `pilot_` being `pointsman_`, with the unit that Prometheus wants. A change
is pushed to a thousand Envoys one after the other, so noting a push must cost next to nothing: it takes 1 µs, and with
prometheus_client's own histograms, their locks and labels, it took 20.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Literal, get_args

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from xds.resources.types import TYPES

Trigger = Literal["domain", "pod", "snapshot", "listener", "certificate", "split", "removal", "trial"]
"""Why something is published. ``removal``: of a pod whose grace is over; ``trial``: of a search for a bad record."""

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BYTES = tuple(4.0**power for power in range(3, 13))


class Histogram:
    """``bounds`` are the buckets' upper ones."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Iterable[str] = ()) -> None:
        bounds = [*map(str, self._bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
        family.add_metric(list(labels), buckets, self._sum)


class Measures(Collector):
    """Of one control plane. To be used on one thread."""

    def __init__(self) -> None:
        self.convergence = Histogram()
        self.fleet_convergence = Histogram()
        self.debounce = Histogram()
        self.queue = Histogram()
        self._pushes = {kind.name: (Histogram(), Histogram(), Histogram(BYTES)) for kind in TYPES}
        self._rejects: Counter[str] = Counter({kind.name: 0 for kind in TYPES})
        self._triggers: Counter[Trigger] = Counter(dict.fromkeys(get_args(Trigger), 0))

    def triggered(self, trigger: Trigger) -> None:
        """Something is published."""
        self._triggers[trigger] += 1

    def pushed(self, kind: str, size: int, seconds: float, sending: float) -> None:
        """A response of ``size`` bytes was written, ``seconds`` after it was wanted; ``sending`` of them it took to
        write. ``kind`` is the resource type's name."""
        push, send, config = self._pushes[kind]
        push.observe(seconds)
        send.observe(sending)
        config.observe(size)

    def rejected(self, kind: str) -> None:
        """A response was NACKed."""
        self._rejects[kind] += 1

    def collect(self) -> Iterator[Metric]:
        text = "From a change of GDS that comes to an Envoy's ACK of all of it."
        yield _one("proxy_convergence_time_seconds", text, self.convergence)
        text = "The same to the last ACK of those Envoys that were connected."
        yield _one("fleet_convergence_time_seconds", text, self.fleet_convergence)
        yield _one("debounce_time_seconds", "From the first change that isn't published to its publish.", self.debounce)
        yield _one("proxy_queue_time_seconds", "That a stream waits for its turn to have a response made.", self.queue)
        for name, text, which in (
            ("xds_push_time_seconds", "From wanting to push to written: queue, making, sending.", 0),
            ("xds_send_time_seconds", "That writing a response to a stream takes.", 1),
            ("xds_config_size_bytes", "Bytes of a response.", 2),
        ):
            family = HistogramMetricFamily(f"pointsman_{name}", text, labels=["type"])
            for kind, histograms in self._pushes.items():
                histograms[which].add_to(family, [kind])
            yield family
        yield _counted("xds_rejects", "Responses that Envoys NACKed.", self._rejects.items())
        yield _counted("push_triggers", "Publishes, by what they are of.", self._triggers.items())


def _one(name: str, text: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(f"pointsman_{name}", text)
    histogram.add_to(family)
    return family


def _counted(name: str, text: str, counts: Iterable[tuple[str, int]]) -> Metric:
    family = CounterMetricFamily(f"pointsman_{name}", text, labels=["type"])
    for kind, count in counts:
        family.add_metric([kind], count)
    return family
