"""What the documents say of the code is so."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_settings_are_documented_as_they_are() -> None:
    reference = runpy.run_path(str(ROOT / "docs" / "reference.py"))
    assert (ROOT / "docs" / "settings.md").read_text() == reference["pages"](), "run `make docs`"
