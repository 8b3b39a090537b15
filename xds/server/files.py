"""Notices that files have changed, at the price of a stat."""

from __future__ import annotations

from pathlib import Path


class Files:
    """``changed`` is true the first time, and whenever the files are others than at the call before."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._seen: list[tuple[int, ...]] | None = None

    def changed(self) -> bool:
        # Before the files are read: a change while they are read is then seen by the next call.
        found = [_stamp(path) for path in self._paths]
        changed = found != self._seen
        self._seen = found
        return changed


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
