"""A process of its own that watches a folder with all folders within, and writes what changed, a line of JSON a batch.

To set up such a watch every file is looked at, and watchfiles lets no other thread of its process run meanwhile. It
ends when nobody reads, and with a line that says why when it can't watch all, be it a new folder that there is no room
for: each takes one of the system's watches. It is run by its path, and imports nothing of the control plane.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Generator

from watchfiles import watch
from watchfiles.main import FileChange


def watched(folder: str, *, deep: bool) -> Generator[set[FileChange]]:
    """Batches of changes, for ever: often empty ones, the first when the folder is watched."""
    return watch(
        folder,
        watch_filter=None,
        debounce=200,
        step=20,
        rust_timeout=250,
        yield_on_timeout=True,
        raise_interrupt=False,
        recursive=deep,
    )


def _check_room(folder: str) -> None:
    """Raises OSError when nothing more can be watched: watchfiles says so at its start, and of a new folder nothing."""
    with contextlib.closing(watch(folder, rust_timeout=1, yield_on_timeout=True, recursive=False)) as one:
        next(one)


def main() -> None:
    try:
        for changes in watched(sys.argv[1], deep=True):
            print(json.dumps([path for _, path in changes]), flush=True)
            if changes:
                _check_room(sys.argv[1])
    except BrokenPipeError:
        sys.stderr.close()
    except OSError as error:
        print(json.dumps(str(error)), flush=True)


if __name__ == "__main__":
    main()
