"""What edge-lint says, for people and for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from xds.errors import LintError
from xds.lint.checklist import verdicts
from xds.lint.rule import Verdict
from xds.lint.sources import SAMPLE, planned, running, snapshot_of
from xds.settings import load

_MARKS = {"held": "held  ", "broken": "BROKEN", "not asked": "-     "}


def verdicts_of(
    source: str | None, bootstrap: Path | None, config: Path | None, snapshot: Path | None = None
) -> list[Verdict]:
    """Of a running Envoy, or of one to be. Raises PointsmanError."""
    if (source is None) == (bootstrap is None):
        raise LintError("give either an Envoy's admin address or dump, or --bootstrap (with --config, --snapshot)")
    if source is not None:
        if snapshot is not None:
            raise LintError("--snapshot is for --bootstrap: a running Envoy has its tables already")
        return verdicts(running(source))
    assert bootstrap is not None
    return verdicts(planned(bootstrap, load(config), snapshot_of(snapshot) if snapshot else SAMPLE))


def as_text(rows: Sequence[Verdict]) -> str:
    lines = []
    for row in rows:
        lines.append(f"{_MARKS[row.status]} {row.name:<20} {row.row}")
        if row.found:
            lines.append(f"{'':27} {row.found}")
        if row.advice:
            lines.append(f"{'':27} → {row.advice}")
    broken = sum(row.status == "broken" for row in rows)
    return "\n".join([*lines, f"{len(rows)} rows, {broken} broken"])


def as_json(rows: Sequence[Verdict]) -> str:
    broken = sum(row.status == "broken" for row in rows)
    return json.dumps({"broken": broken, "rows": [dataclasses.asdict(row) for row in rows]}, indent=2)
