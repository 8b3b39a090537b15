"""What can go wrong, as one small tree: the store raises it, ``problems`` makes it HTTP, ``__main__`` an exit code."""

from __future__ import annotations

from dataclasses import dataclass


class GdsError(Exception):
    """Everything this package raises on purpose. The message is one sentence for whoever asked."""


class BadRequest(GdsError):
    """A call whose header, query or body can't be understood."""


class TooLarge(GdsError):
    """A body larger than the call takes."""


class NotAHost(GdsError):
    """A name that is neither a host name nor ``*.`` and a host name."""


class BadPod(GdsError):
    """A pod that no proxy could be told about."""


class UnknownDomain(GdsError):
    """No entry, and no wildcard, answers for this host."""


class UnknownPod(GdsError):
    """There is no pod of this name."""


class MissingPod(GdsError):
    """A domain was to be put on a pod that does not exist."""


class PodInUse(GdsError):
    """Domains still live on the pod that was to be deleted."""


class PreconditionFailed(GdsError):
    """The domain is not at the revision that ``If-Match`` names."""


class HistoryGone(GdsError):
    """The changes asked for are not in the log: take a new snapshot."""


class StoreUnavailable(GdsError):
    """What keeps the store can't be opened, read or written now."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """One line of a bulk load that can't be applied."""

    line: int
    detail: str


class BadLines(GdsError):
    """A bulk load with bad lines: nothing of it was applied. ``errors`` names the first, ``total`` counts all."""

    def __init__(self, errors: tuple[BadLine, ...], total: int) -> None:
        super().__init__(f"{total} bad {'line' if total == 1 else 'lines'}: nothing was applied")
        self.errors = errors
        self.total = total
