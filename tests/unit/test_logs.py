"""Logs are for machines unless somebody watches."""

from __future__ import annotations

import json
import subprocess
import sys

SAY = "import structlog; from xds.logs import configure; configure('info', {style!r}); \
structlog.get_logger().info('started', port=1); structlog.get_logger().debug('unseen')"


def said(style: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", SAY.format(style=style)], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_where_nobody_watches_each_line_is_json() -> None:
    (line,) = said("auto")
    assert {"event": "started", "level": "info", "port": 1}.items() <= json.loads(line).items()


def test_for_people_it_is_text() -> None:
    (line,) = said("console")
    assert "started" in line
    assert not line.startswith("{")


def test_in_the_journal_of_systemd_a_warning_is_one() -> None:
    code = (
        "import os, sys, structlog; from xds.logs import configure\n"
        "stat = os.fstat(2); os.environ['JOURNAL_STREAM'] = f'{stat.st_dev}:{stat.st_ino}'\n"
        "configure('info', 'auto'); log = structlog.get_logger()\n"
        "log.info('started'); log.warning('odd'); log.error('broken')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [(line[:3], json.loads(line[3:])["event"]) for line in done.stderr.splitlines()] == [
        ("<6>", "started"),
        ("<4>", "odd"),
        ("<3>", "broken"),
    ]
