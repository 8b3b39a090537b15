"""A map file or a list of hosts, read with progress: a million lines take some seconds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from xds.errors import MapError
from xds.haproxy_map import BadLine, HostMap, reading

STDIN = Path("-")
BAD_SHOWN = 20
_OFTEN = 1_000  # lines between two updates of the bar


@contextmanager
def progress() -> Iterator[Progress]:
    """Bars on stderr, where that is a terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as made:
        yield made


def read(path: Path, bars: Progress, *, hosts_alone: bool = False) -> HostMap:
    """``path``: a file, or `STDIN`. Raises MapError when it can't be read."""
    found = HostMap()
    try:
        if path == STDIN:
            _read(sys.stdin.buffer, found, bars, None, hosts_alone)
        else:
            with path.open("rb") as file:
                _read(file, found, bars, os.fstat(file.fileno()).st_size or None, hosts_alone)
    except OSError as error:
        raise MapError(f"{path} can't be read: {error.strerror}") from None
    return found


def bad_lines(path: Path, bad: list[BadLine]) -> list[str]:
    """For people: the first of them."""
    lines = [f"{path}:{each.line}: {each.reason}: {each.text}" for each in bad[:BAD_SHOWN]]
    return [*lines, f"and {len(bad) - BAD_SHOWN:,} more (--json has all)"] if len(bad) > BAD_SHOWN else lines


def _read(lines: IO[bytes], found: HostMap, bars: Progress, size: int | None, hosts_alone: bool) -> None:
    task = bars.add_task("reading", total=size)
    held = 0
    for number, length in enumerate(reading(lines, found, hosts_alone=hosts_alone), 1):
        held += length
        if number % _OFTEN == 0:
            bars.advance(task, held)
            held = 0
    bars.remove_task(task)
