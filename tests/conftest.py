"""A test that fails says what the real processes behind it said last: on another machine, logs are gone with it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("pointsman", deadline=None)  # a busy machine is no error of what is tested
settings.load_profile("pointsman")

LINES = 30
"""The last ones of each log."""
NOISE = ('"gds.lost"', '"level": "debug"')


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for folder in _folders(item):
            for log in sorted(folder.glob("*.log")):
                report.sections.append((f"{folder.name}/{log.name}", _last_words(log)))
    return report


def _folders(item: pytest.Item) -> set[Path]:
    """Of the systems that the test uses, be they in a fixture's value or in its own temporary folder."""
    values = getattr(item, "funcargs", {}).values()
    found = [getattr(getattr(value, "system", None), "folder", value) for value in values]
    return {folder for folder in found if isinstance(folder, Path) and folder.is_dir()}


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join([line[:1000] for line in lines if not any(noise in line for noise in NOISE)][-LINES:])
