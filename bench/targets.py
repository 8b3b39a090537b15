"""The figures in ``bench/results/`` beside what they are to reach: ``python -m bench.targets``.

Absolute times are of the machine that they were measured on; the ratios are what counts elsewhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report import RESULTS

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Target:
    """``of`` gives the figure out of the rows of ``part``; None when they don't hold it."""

    what: str
    part: str
    of: Callable[[Rows], float | None]
    bound: float
    unit: str = ""
    least: bool = False
    """It is to be at least the bound, not at most."""


def _at(key: str, figure: str, value: object) -> Callable[[Rows], float | None]:
    def found(rows: Rows) -> float | None:
        return next((float(row[figure]) for row in rows if row.get(key) == value), None)

    return found


def _worst(figure: str) -> Callable[[Rows], float | None]:
    """None, too, when a row has nothing that it could be measured by."""

    def found(rows: Rows) -> float | None:
        values = [float(row[figure]) for row in rows if figure in row]
        return None if any(map(math.isnan, values)) else max(values, default=None)

    return found


def _least(figure: str, **of: object) -> Callable[[Rows], float | None]:
    """The smallest among the rows that are ``of`` this."""

    def found(rows: Rows) -> float | None:
        those = (row for row in rows if figure in row and of.items() <= row.items())
        return min((float(row[figure]) for row in those), default=None)

    return found


def _ours(figure: str, part: str) -> Callable[[Rows], float | None]:
    return _least(figure, side="pointsman", part=part)


_published = _least("envoy_is_x", side="published")


def _growth(figure: str) -> Callable[[Rows], float | None]:
    def found(rows: Rows) -> float | None:
        small, large = _at("domains", figure, 1_000)(rows), _at("domains", figure, 1_000_000)(rows)
        return large / small if small and large else None

    return found


def _at_1m(figure: str) -> Callable[[Rows], float | None]:
    return _at("domains", figure, 1_000_000)


TARGETS = (
    Target("commit → ACK, p50, any size", "moves", _worst("ack_p50_ms"), 10, "ms"),
    Target("commit → request at the new pod, p50, any size", "moves", _worst("request_p50_ms"), 15, "ms"),
    Target("commit → ACK, p99, any size", "moves", _worst("ack_p99_ms"), 50, "ms"),
    Target("commit → request at the new pod, p99, any size", "moves", _worst("request_p99_ms"), 50, "ms"),
    Target("commit → ACK, p50: 1 M / 1 k", "moves", _growth("ack_p50_ms"), 2, "x"),
    Target("commit → request, p50: 1 M / 1 k", "moves", _growth("request_p50_ms"), 2, "x"),
    Target("one table / ours at 100 k", "layouts", _at("domains", "ratio", 100_000), 100, "x", True),
    Target("one table / ours at 1 M", "layouts", _at_1m("ratio"), 1_000, "x", True),
    Target("Sovereign, quickest reload / ours at 1 k", "sovereign", _at("domains", "ratio", 1_000), 50, "x", True),
    Target("Sovereign, quickest reload / ours at 10 k", "sovereign", _at("domains", "ratio", 10_000), 50, "x", True),
    Target("skewed names at 1 M: commit → ACK, p50", "skew-edge", _worst("ack_p50_ms"), 15, "ms"),
    Target("skewed names at 1 M: commit → ACK, p99", "skew-edge", _worst("ack_p99_ms"), 15, "ms"),
    Target("bytes to one Envoy per change at 1 M", "moves", _at_1m("bytes"), 64_000, "B"),
    Target("Envoy's memory at 1 M", "moves", _at_1m("envoy_mb"), 400, "MB"),
    Target("control plane's memory at 1 M", "moves", _at_1m("control_mb"), 600, "MB"),
    Target("the same after a resync, or a million in one change", "stalls", _worst("control_mb"), 600, "MB"),
    Target("snapshot → ready at 1 M", "moves", _at_1m("ready_s"), 15, "s"),
    Target("new Envoy connected → serving at 1 M", "moves", _at_1m("serving_s"), 4, "s"),
    Target("100,000 moves in one transaction: commit → ACK", "bulk", _worst("commit_to_ack_s"), 5, "s"),
    Target("single change meanwhile: commit → ACK", "bulk", _worst("single_commit_to_ack_max_s"), 1, "s"),
    Target("500 changes/s: longest lag", "steady", _worst("lag_max_ms"), 250, "ms"),
    Target("500 changes/s: wrong at the edge", "steady", _worst("wrong_at_the_edge"), 0),
    Target("500 changes/s: without an ACK", "steady", _worst("not_acked"), 0),
    Target("500 changes/s: made in a second", "steady", _least("changes_per_s"), 495, "", True),
    Target("1,000 Envoys: commit → last ACK, p50", "fleet", _at("envoys", "last_ack_p50_ms", 1_000), 500, "ms"),
    Target("1,000 Envoys: memory of each", "fleet", _at("envoys", "kb_each", 1_000), 200, "kB"),
    Target("1,000 come back: all current", "return", _worst("all_current_s"), 15, "s"),
    Target("ours / HAProxy as published, any load", "dataplane-gds", _published, 4, "x", True),
    Target("the same, with a GDS that costs nothing", "dataplane", _published, 4, "x", True),
    Target("our Envoy / HAProxy map first, any load", "dataplane", _least("envoy_is_x", side="map"), 0.4, "x", True),
    Target("lookup: cold request over GDS's own time, p50", "lookup", _ours("own_p50_ms", "cold"), 10, "ms"),
    Target("lookup: known customers' p99, GDS slow / as usual", "lookup", _ours("p99_is_x", "slow"), 1.5, "x"),
    Target("lookup: known customers' p99, GDS away / as usual", "lookup", _ours("p99_is_x", "away"), 1.5, "x"),
    Target("9,000 connections held for a minute: errors", "held", _worst("errors"), 0),
    *(
        Target(f"longest stall: {part}", part, _worst("stall_ms"), 100, "ms")
        for part in ("moves", "bulk", "stalls", "steady", "fleet", "return")
    ),
)


def rows_of(part: str) -> Rows:
    file: Path = RESULTS / f"{part}.json"
    if not file.exists():
        return []
    held: Rows = json.loads(file.read_text())["rows"]
    return held


def lines() -> Iterator[tuple[str, str, str, str]]:
    """What, figure, bound, and whether it is reached."""
    for target in TARGETS:
        figure = target.of(rows_of(target.part))
        sign = "≥" if target.least else "≤"
        bound = f"{sign} {target.bound:,g} {target.unit}"
        if figure is None:
            yield target.what, "not measured", bound, ""
        else:
            reached = figure >= target.bound if target.least else figure <= target.bound
            yield target.what, f"{figure:,.4g} {target.unit}", bound, "reached" if reached else "MISSED"


def main() -> None:
    print("\nWhat was to be reached, and what bench/results/ holds")
    for what, figure, bound, verdict in lines():
        print(f"  {what:<52}{figure:>16}{bound:>14}  {verdict}")


if __name__ == "__main__":
    main()
