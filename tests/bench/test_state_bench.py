"""A million domains on disk, and GDS away: a real control plane has them in under ten seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.state import directory, started


@pytest.mark.alone
def test_a_million_domains_are_loaded_from_disk_in_under_ten_seconds(tmp_path: Path) -> None:
    state = directory(1_000_000)
    assert len(state.domains) == 1_000_000
    figures = started(tmp_path, state)  # what is read back must be equal
    assert 0 < figures["loaded_s"] < 10
