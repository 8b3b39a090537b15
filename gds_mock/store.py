"""What a store is, whatever keeps it: a write is on disk when its method returns, and readers see whole revisions.

The methods block; they may be called from any thread. Writers go one after the other; readers never wait for them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, Self

import msgspec

from gds_mock.bulk import Stage
from gds_mock.errors import PreconditionFailed
from gds_mock.preconditions import Condition
from gds_mock.values import Change, DeleteDomain, DeletePod, Entry, Pod, PutDomain, PutPod, encode

KEEP_CHANGES = 200_000


class Written(msgspec.Struct, frozen=True):
    """What a write came to: the store's revision, the revision of the thing itself, and whether it is new."""

    revision: int
    changed_at: int
    created: bool = False


class Logged(msgspec.Struct, frozen=True):
    """One entry of the change log, with who made its revision and when, as far as known."""

    seq: int
    revision: int
    change: Change
    by: str | None = None
    at: str | None = None


class Snapshot(Protocol):
    """The whole directory at one revision, read block by block. Any thread may use it, and must close it."""

    revision: int

    def head(self) -> bytes:
        """The first line: where this snapshot stands, how many domains follow, and all pods."""

    def block(self) -> bytes:
        """The next lines, ordered by domain; empty after the last."""

    def close(self) -> None:
        """Ends the transaction. Safe to call twice."""


class Store(ABC):
    """The directory. Every method raises StoreUnavailable when what keeps it does not answer. ``by``: who asks for the
    change, None when nobody says so."""

    name: str
    """What messages call it: a file, or a server without its password."""
    epoch: str
    committed: int
    """The newest revision this process knows of; another process may have committed a newer one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Closes every connection that is not in use."""

    def interrupt(self) -> None:
        """Makes calls that wait for an answer fail now, where that is possible: the process is to end."""
        return None

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """Everything as it is now."""

    @abstractmethod
    def stage(self) -> Stage:
        """An empty load of the caller's own."""

    def following(self, wake: Callable[[int], None]) -> AbstractContextManager[None]:
        """Calls ``wake``, from any thread, with the revisions that other processes commit, if the store can tell.

        It may miss some: whoever must know them all also asks ``revision`` now and then.
        """
        return _nobody(wake)

    @abstractmethod
    def revision(self) -> int:
        """The current revision on disk, whoever wrote it."""

    @abstractmethod
    def lookup(self, domain: str) -> Entry:
        """The entry that answers for a normalised domain: its own, or the longest wildcard's. Raises UnknownDomain."""

    @abstractmethod
    def pods(self) -> list[Pod]:
        """All pods by name."""

    @abstractmethod
    def pod(self, name: str) -> tuple[Pod, int]:
        """A pod and the revision at which it last changed. Raises UnknownPod."""

    @abstractmethod
    def position_after(self, epoch: str, revision: int) -> int:
        """Where in the change log a watcher of this epoch that has ``revision`` goes on. Raises HistoryGone."""

    @abstractmethod
    def changes_after(self, seq: int, limit: int) -> list[Logged]:
        """At most ``limit`` changes that follow ``seq``. Raises HistoryGone when they were forgotten meanwhile."""

    @abstractmethod
    def put_domain(self, domain: str, pod: str, condition: Condition | None = None, by: str | None = None) -> Written:
        """Puts a normalised domain on a pod. Raises MissingPod, PreconditionFailed."""

    @abstractmethod
    def delete_domain(self, domain: str, condition: Condition | None = None, by: str | None = None) -> None:
        """Forgets a normalised domain. Raises UnknownDomain, PreconditionFailed."""

    @abstractmethod
    def put_pod(self, pod: Pod, by: str | None = None) -> Written:
        """Creates or replaces a pod; the same pod again changes nothing. Raises BadPod."""

    @abstractmethod
    def delete_pod(self, name: str, by: str | None = None) -> None:
        """Deletes a pod that no domain lives on. Raises UnknownPod, PodInUse.

        There is no index by pod: pods go rarely, and an index would cost every load of a million domains.
        """


class Head(msgspec.Struct):
    """A snapshot's first line."""

    epoch: str
    revision: int
    domains: int
    pods: list[msgspec.Raw]

    def line(self) -> bytes:
        """As it stands on the wire."""
        return encode(self) + b"\n"


def require(condition: Condition | None, domain: str, changed_at: int | None) -> None:
    """Raises PreconditionFailed unless the condition holds for an entry that last changed then (None: is not here)."""
    if condition is not None and not condition.holds(changed_at):
        is_at = "is not here" if changed_at is None else f"last changed at revision {changed_at}"
        raise PreconditionFailed(f"If-Match does not hold: {domain} {is_at}")


def change(op: str, kind: str, name: str, payload: str | None) -> Change:
    """A change as the log keeps it: ``payload`` is the domain's pod or the pod's JSON, None for what went."""
    del op  # says the same for whoever reads the table
    if kind == "domain":
        return DeleteDomain(name) if payload is None else PutDomain(name, payload)
    return DeletePod(name) if payload is None else PutPod(msgspec.Raw(payload.encode()))


@contextmanager
def _nobody(_: Callable[[int], None]) -> Iterator[None]:
    yield
