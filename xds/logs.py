"""Structured logs on stderr: events with fields, as JSON or, on a terminal, for people. Where stderr is systemd's
journal, a line begins with its priority, which `journalctl -p` goes by; the journal takes that off again."""

from __future__ import annotations

import logging
import os
import sys
from typing import Literal

import structlog

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}
"""Of sd-daemon(3), by the method that logs."""


def configure(level: str, style: Literal["auto", "json", "console"]) -> None:
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    chain: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        chain.append(structlog.dev.ConsoleRenderer())
    else:
        chain += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if _is_journal():
        chain.append(_with_priority)
    structlog.configure(
        processors=chain,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def _is_journal() -> bool:
    """systemd says which file its journal is; stderr may be another one since."""
    stat = os.fstat(sys.stderr.fileno())
    return os.environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


def _with_priority(logger: object, method: str, line: structlog.typing.EventDict) -> str:
    return "\n".join(f"<{_PRIORITIES.get(method, 6)}>{part}" for part in str(line).splitlines())
