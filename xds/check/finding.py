"""What a check found: one line, how bad it is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``name``: the check's, the same in every version. ``advice`` is empty when all is well."""

    name: str
    level: Level
    found: str
    advice: str = ""


def ok(name: str, found: str) -> Finding:
    return Finding(name, "ok", found)


def warn(name: str, found: str, advice: str) -> Finding:
    return Finding(name, "warn", found, advice)


def fail(name: str, found: str, advice: str) -> Finding:
    return Finding(name, "fail", found, advice)


def skipped(name: str, found: str, advice: str = "") -> Finding:
    return Finding(name, "skipped", found, advice)
