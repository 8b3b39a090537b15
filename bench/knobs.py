"""What each setting of the generated configuration costs per request: Envoy's CPU with it and without, side by side.

``python -m bench.knobs [VARIANT …] [--protocols h1 h2] [--rounds 12] [--seconds 0.8]``. Each variant (`bench.varied`)
is an edge of its own beside the unchanged one; in every round each of them is asked in turn. A run's CPU per request is
divided by the median of its round, so that what else the machine does falls out; the ratio is that of the medians over
the rounds, and ``error`` its standard error. "same" is an unchanged one, too: what differs there is noise.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.edge import cpu_seconds
from bench.load import Load, Measured, Shape
from bench.plane import Plane, plane
from bench.report import RESULTS, Report
from bench.varied import VARIANTS

BASE = ""
Runs = Mapping[str, Sequence[Measured]]
"""Of each variant, one for each round."""


def beside(runs: Runs, name: str) -> tuple[float, float]:
    """How much CPU the variant needs for a request, as a ratio to the unchanged one's, and the standard error of it."""
    rounds = [statistics.median(run.cpu_us for run in each) for each in zip(*runs.values(), strict=True)]
    theirs, ours = (
        [run.cpu_us / middle for run, middle in zip(runs[side], rounds, strict=True)] for side in (name, BASE)
    )
    ratio = statistics.median(theirs) / statistics.median(ours)
    if name == BASE or len(rounds) < 2:
        return ratio, 0.0
    # A median's error is about 1.25 times that of a mean.
    parts = [statistics.stdev(values) / statistics.mean(values) for values in (theirs, ours)]
    return ratio, ratio * 1.25 * math.hypot(*parts) / math.sqrt(len(rounds))


def measure(edges: Mapping[str, Plane], loads: Mapping[str, Load], shape: Shape, rounds: int) -> Runs:
    runs: dict[str, list[Measured]] = {name: [] for name in edges}
    for number in range(rounds):
        for name in list(edges)[:: 1 if number % 2 else -1]:
            edge = edges[name]
            runs[name].append(loads[name].run(edge.ports.edge_https, shape, partial(cpu_seconds, edge.parts["envoy"])))
    return runs


def tell(protocol: str, runs: Runs, report: Report) -> None:
    typical = statistics.median(run.cpu_us for run in runs[BASE])
    for name, found in runs.items():
        ratio, error = beside(runs, name)
        report.add(
            protocol=protocol,
            variant=name or "as generated",
            cpu_us=statistics.median(run.cpu_us for run in found),
            ratio=f"{ratio:.3f}",
            error=f"{error:.3f}",
            saves_us=typical * (1 - ratio),
            requests_per_s=round(statistics.median(run.per_second for run in found)),
            errors=sum(run.errors for run in found),
            what=VARIANTS[name].what if name else "",
        )


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.knobs", description=__doc__)
    parser.add_argument("variants", nargs="*", default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--protocols", nargs="+", default=["h1", "h2"])
    parser.add_argument("--domains", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=0.8)
    parser.add_argument("--json", type=Path, default=RESULTS / "knobs.json")
    options = parser.parse_args()
    unknown = set(options.variants) - set(VARIANTS)
    if unknown:
        parser.error(f"no variant {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    with contextlib.ExitStack() as stack:
        edges: dict[str, Plane] = {BASE: stack.enter_context(plane(options.domains))}
        for name in options.variants:
            edges[name] = stack.enter_context(plane(options.domains, name))
        loads = {name: Load(edge.folder, edge.asked()) for name, edge in edges.items()}
        report = Report("Envoy's CPU for a request, with one setting changed")
        for protocol in options.protocols:
            shape = Shape(protocol, 100, 10 if protocol == "h2" else 1, options.seconds, warm_up=0.2)
            tell(protocol, measure(edges, loads, shape, options.rounds), report)
        report.show(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
