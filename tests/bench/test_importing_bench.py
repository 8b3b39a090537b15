"""The benchmark of an import runs from one end to the other: all hosts are known, and at Envoy."""

from __future__ import annotations

from pathlib import Path

from bench.importing import measure


def test_a_map_is_imported_and_what_is_measured_is_there(tmp_path: Path) -> None:
    found = measure(tmp_path, 3_000)
    assert found["said"] == "2,999 hosts taken, 1 known already; 0 lines can't be used"
    figures = {name: value for name, value in found.items() if isinstance(value, float)}
    assert min(figures.values()) > 0, figures
    assert figures["at_envoy_s"] >= figures["seconds"]
