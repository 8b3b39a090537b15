"""NOTIFY to wake-ups: a connection of its own that listens for what all instances commit, and comes back when lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from gds_mock.postgres.engine import Engines
from gds_mock.postgres.transaction import CHANNEL

_LOOK = 0.5  # seconds between looks at whether the end has come
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


@contextmanager
def listening(engines: Engines, epoch: str, wake: Callable[[int], None]) -> Iterator[None]:
    """Wakes with every revision of this epoch that is heard of until the block ends."""
    ended = threading.Event()
    # A daemon: where the server does not answer, the end of the process does not wait for it.
    thread = threading.Thread(target=_listen, args=(engines, epoch, wake, ended), name="gds-listener", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2 * _LOOK)


def _listen(engines: Engines, epoch: str, wake: Callable[[int], None], ended: threading.Event) -> None:
    pause = _FIRST_PAUSE
    while not ended.is_set():
        try:
            with engines.connect(engines.limits.statement, engines.limits.silent_client) as db:
                db.autocommit = True
                db.execute(f"LISTEN {CHANNEL}")
                # What was committed before this moment was not heard of.
                for found, revision in db.execute("SELECT epoch, revision FROM gds_meta"):
                    _tell(f"{found}:{revision}", epoch, wake)
                pause = _FIRST_PAUSE
                while not ended.is_set():
                    for notification in db.notifies(timeout=_LOOK):
                        _tell(notification.payload, epoch, wake)
        except psycopg.Error:
            ended.wait(pause)  # meanwhile the service asks for the revision now and then
            pause = min(2 * pause, _LONGEST_PAUSE)


def _tell(news: str, epoch: str, wake: Callable[[int], None]) -> None:
    of, _, revision = news.rpartition(":")
    if of == epoch and revision.isdecimal():
        wake(int(revision))
