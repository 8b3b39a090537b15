"""What one client has of one type: what it was sent, what it answered, what it rejected.

After a NACK nobody knows what the client has of the names in that response: Envoy applies the valid clusters and
listeners of a response that it NACKs. They count as held at no known version, so that whatever comes next is sent, be
it the content from before, and so is a removal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from xds.protocol.held import Held
from xds.protocol.state import NAMES_SHOWN, ResourceStatus, Settled, TypeState, readable
from xds.resources.types import ResourceType

UNKNOWN = ""
"""The version of something that may be held, one doesn't know in which version."""

_FEW, _FEW_SHORT = 64, 8 * 1024
"""Versions whose digest is remembered, and characters of their names: these may be a client's own."""

Versions = dict[str, str | None]


@dataclass(slots=True)
class _Sent:
    """A response in flight: what it brought anew, None for a removal, and the name of its content. ``carries``: with
    it everything up to this publish is sent; 0 when that isn't so."""

    versions: Versions
    digest: str
    carries: int = 0


class Holdings:
    """``versions`` are those sent last and not rejected, by name."""

    def __init__(self, kind: ResourceType) -> None:
        self.state = TypeState(kind.name)
        self.versions = Held()
        self.reached = 0
        """The publish up to which the client ACKed everything, as far as responses say so."""
        self.rejected_at = 0
        """The publish that the response which was NACKed last carried."""
        self._kind = kind
        self._in_flight: dict[str, _Sent] = {}
        self._weight = 0
        self._rejected: dict[str, Settled] = {}
        self._good: dict[str, str] = {}
        """The versions ACKed last, of names in flight or rejected."""

    @property
    def in_flight(self) -> bool:
        """A response isn't answered yet."""
        return bool(self._in_flight)

    @property
    def clean(self) -> bool:
        """Everything that was sent is ACKed."""
        return not (self._in_flight or self._rejected)

    @property
    def any_rejected(self) -> bool:
        return bool(self._rejected)

    @property
    def rejected(self) -> Iterable[str]:
        """The names of what the client rejects now."""
        return self._rejected

    def has_rejected(self, name: str, version: str | None) -> bool:
        """The client rejected a response that held this very version; None: that said it is removed."""
        return name in self._rejected and self._rejected[name].versions[name] == version

    def sent(self, nonce: str, versions: Versions, digest: str, most: int) -> None:
        """A response goes out. Of clients that never answer only the newest responses are remembered: those that
        bring ``most`` names together."""
        for name, version in versions.items():
            self._rejected.pop(name, None)
            if name not in self._good and (held := self.versions.get(name)):
                self._good[name] = held
            if version is None:
                self.versions.pop(name, None)
            else:
                self.versions[name] = version
        self._in_flight[nonce] = _Sent(versions, digest)
        self._weight += 1 + len(versions)
        while self._weight > most and len(self._in_flight) > 1:
            self._answered(next(iter(self._in_flight)))
        self.state.sent += 1
        self.state.version_sent = digest
        self._count()

    def carries(self, nonce: str, publish: int) -> None:
        """With this response in flight everything up to ``publish`` is sent."""
        self._in_flight[nonce].carries = publish

    def unanswered(self) -> Versions:
        """What the responses in flight bring, the newest of each name."""
        return {name: version for sent in self._in_flight.values() for name, version in sent.versions.items()}

    def recall(self) -> list[str]:
        """The client wants again what it had dropped: what is in flight to it, it will take after all. Those names."""
        names = [name for name, version in self.unanswered().items() if version and name not in self.versions]
        self.versions.update(dict.fromkeys(names, UNKNOWN))
        return names

    def brought(self, nonce: str) -> list[str]:
        """The resources that a response in flight brought anew."""
        return [name for name, version in self._in_flight[nonce].versions.items() if version is not None]

    def settle(self, nonce: str, error: str | None, wanted: Callable[[str], bool]) -> Settled | None:
        """Takes an ACK or a NACK; None when it answers nothing that is in flight. An ACK holds for older responses
        too, to which there is no answer then. Nothing is noted of a name that isn't ``wanted`` any more."""
        if nonce not in self._in_flight:
            return None
        older: Versions = {}
        carried = 0
        while (first := next(iter(self._in_flight))) != nonce:
            before = self._answered(first)
            older |= before.versions
            carried = max(carried, before.carries)
        sent = self._answered(nonce)
        if error is None:
            settled = Settled(self._kind, older | sent.versions if older else sent.versions, None)
            self.state.acked += 1
            self.state.version_acked = sent.digest
            self.reached = max(self.reached, carried, sent.carries)
            self._accept(settled)
        else:
            settled = Settled(self._kind, sent.versions, reason := readable(error))
            self.state.nacked += 1
            self.state.last_nack, self.state.version_nacked = reason, sent.digest
            self.state.rejected = tuple(islice(sent.versions, NAMES_SHOWN))
            self.rejected_at = max(self.rejected_at, sent.carries)
            self._reject(settled, wanted)
        if not self._in_flight:
            self.versions.share()
            if not self._good:
                self._good.clear()  # its memory, too
        self._count()
        return settled

    def retry(self, name: str) -> tuple[str, ...]:
        """``name`` changed: what was rejected together with it is to be tried again. Those names, each once."""
        rejection = self._rejected.get(name)
        if rejection is None:
            return ()
        together = tuple(other for other in rejection.versions if self._rejected.get(other) is rejection)
        for other in together:
            del self._rejected[other]
        return together

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Forgets what isn't ``wanted``: the client dropped it."""
        for name in [name for name in (*self.versions, *self._rejected) if not wanted(name)]:
            self.forget(name)

    def forget(self, name: str) -> None:
        self.versions.pop(name, None)
        self._rejected.pop(name, None)
        self._good.pop(name, None)
        self._count()

    def statuses(self, subscribed: set[str]) -> Iterator[ResourceStatus]:
        """What the client holds, was sent, rejected or misses."""
        in_flight = self.unanswered()
        for name in sorted({*self.versions, *self._rejected, *subscribed}):
            yield self._status(name, name in in_flight)

    def status(self, name: str) -> ResourceStatus | None:
        """Of one resource, as `statuses` says it; None when the client has nothing of that name."""
        found = self._status(name, self._flies(name))
        return found if found.version or found.in_flight or name in self._rejected else None

    def _status(self, name: str, in_flight: bool) -> ResourceStatus:
        rejection = self._rejected.get(name)
        version, error = (rejection.versions[name] or "", rejection.error or "") if rejection else ("", "")
        held = self.versions.get(name) or self._good.get(name, "")
        return ResourceStatus(name, held, in_flight, version, error)

    def _flies(self, name: str) -> bool:
        in_flight = self._in_flight
        return bool(in_flight) and any(name in sent.versions for sent in in_flight.values())

    def acked(self, name: str) -> str:
        """The version that the client ACKed last, as far as that is known; empty when it ACKed none."""
        if name in self._good:
            return self._good[name]
        if self._flies(name):
            return ""
        return self.versions.get(name) or ""

    def _accept(self, settled: Settled) -> None:
        for sent in self._in_flight.values():
            # A removal that it says once more is accepted already, whatever the answer to it.
            for name in [name for name, version in settled.versions.items() if version is None]:
                if sent.versions.get(name, UNKNOWN) is None:
                    del sent.versions[name]
                    self._weight -= 1
        later = self.unanswered()
        for name, version in settled.versions.items():
            if name in later and version is not None:
                self._good[name] = version
            else:
                self._good.pop(name, None)

    def _reject(self, settled: Settled, wanted: Callable[[str], bool]) -> None:
        later = self.unanswered()
        for name in settled.versions:
            if name not in later and wanted(name):
                self.versions[name] = UNKNOWN
                self._rejected[name] = settled

    def _answered(self, nonce: str) -> _Sent:
        sent = self._in_flight.pop(nonce)
        self._weight -= 1 + len(sent.versions)
        return sent

    def _count(self) -> None:
        state = self.state
        state.in_flight, state.resources = len(self._in_flight), len(self.versions)
        state.rejecting = len(self._rejected)


def digest(versions: Mapping[str, str | None]) -> str:
    """A name for content that is the same on every replica."""
    few = len(versions) <= _FEW and sum(map(len, versions)) <= _FEW_SHORT
    return _digest_of_few(tuple(versions.items())) if few else _digest(versions)


@lru_cache(64)
def _digest_of_few(versions: tuple[tuple[str, str | None], ...]) -> str:
    """A publish goes to every stream."""
    return _digest(dict(versions))


def _digest(versions: Mapping[str, str | None]) -> str:
    made = hashlib.blake2b(digest_size=8)
    for name in sorted(versions):
        made.update(f"{name} {versions[name] or '-'}\n".encode())
    return made.hexdigest()
