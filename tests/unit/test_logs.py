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
