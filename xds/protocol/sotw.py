"""One type on one state-of-the-world stream: the names asked for, and the next response.

Sources: the xDS protocol, "Basic protocol overview", "Resource updates" and "ACK and resource type instance
version". Types of which a client may ask for all (`ResourceType.wildcard`) are always sent whole, since Envoy deletes
what a response doesn't hold; of the others only what changed or was newly asked for is sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from xds.protocol.messages import SotwRequest, SotwResponse
from xds.protocol.state import NAMES_SHOWN, ResourceStatus, Settled, TypeState
from xds.resources.types import Resource, ResourceType

ALL = "*"


class SotwType:
    """``resources`` is the cache's live view of the type."""

    def __init__(self, kind: ResourceType, resources: Mapping[str, Resource]) -> None:
        self.kind = kind
        self.state = TypeState(kind.name)
        self._resources = resources
        self._named = False
        self._began = False
        self._names: frozenset[str] = frozenset()
        self._wildcard = False
        self._held: dict[str, str] = {}
        self._pushes: dict[str, None] = {}
        self._answers: dict[str, None] = {}
        self._must_answer = False
        self._nonce = ""
        self._waiting = False
        self._before: dict[str, str] = {}
        self._sent: dict[str, str | None] = {}
        self._rejected: dict[str, tuple[str, str]] = {}

    @property
    def unsettled(self) -> bool:
        """Something is to be sent, or was sent and isn't ACKed."""
        return bool(self._waiting or self._pushes or self._answers or self._must_answer)

    def receive(self, request: SotwRequest) -> Settled | None:
        """What the request ACKed or NACKed, if anything."""
        settled = self._settle(request.error) if self._waiting and request.nonce == self._nonce else None
        self._take_names(request.names)
        self._began = True
        self.state.wildcard, self.state.subscribed = self._wildcard, len(self._names)
        return settled

    def changed(self, names: Iterable[str]) -> None:
        """These differ now in the cache."""
        for name in names:
            if self._wanted(name):
                self._pushes[name] = None

    def again(self, names: Iterable[str]) -> None:
        """Sends these once more, at whatever version the client holds."""
        self._answers.update(dict.fromkeys(name for name in names if name in self._names))

    def statuses(self) -> Iterator[ResourceStatus]:
        """What the client holds, was sent, rejected or misses."""
        in_flight = self._sent if self._waiting else {}
        for name in sorted({*self._held, *self._rejected, *self._names}):
            version, error = self._rejected.get(name, ("", ""))
            yield ResourceStatus(name, self._held.get(name, ""), name in in_flight, version, error)

    def next_response(self, nonce: str, *, pushes: bool) -> SotwResponse | None:
        """The next response, or None when there is nothing to say. ``pushes``: not only answers may be sent."""
        pushes = pushes and not self._waiting
        if not (self._answers or self._must_answer or (pushes and self._pushes)):
            return None
        due = dict(self._answers)
        self._answers.clear()
        if pushes or self.kind.wildcard:
            due.update(self._pushes)
            self._pushes.clear()
        must, self._must_answer = self._must_answer, False
        if self.kind.wildcard:
            chosen = [held for name, held in self._resources.items() if self._wanted(name)]
            # Even when nothing is left: the client deletes what a response doesn't hold.
        else:
            chosen = [self._resources[name] for name in due if name in self._names and name in self._resources]
            for name in due:
                if name not in self._resources:
                    self._held.pop(name, None)
            if not chosen and not must:
                return None
        self._before = dict(self._held)
        if self.kind.wildcard:
            self._held.clear()
        self._sent = {resource.name: resource.version for resource in chosen}
        self._held.update((resource.name, resource.version) for resource in chosen)
        for made in chosen:
            self._rejected.pop(made.name, None)
        self._nonce, self._waiting = nonce, True
        version = _digest(self._held)
        self.state.sent += 1
        self.state.version_sent, self.state.in_flight, self.state.resources = version, 1, len(self._held)
        return SotwResponse(self.kind.url, nonce, version, tuple(chosen))

    def _take_names(self, names: tuple[str, ...]) -> None:
        wanted = frozenset(names) - {ALL}
        # No names means all only until names were given once (xDS, "How the client specifies what resources to return",
        # and its wildcard rule).
        every = self.kind.wildcard and (ALL in names or (not names and not self._named))
        self._named = self._named or bool(names)
        new = [name for name in dict.fromkeys(names) if name in wanted and name not in self._names]
        if every and not self._wildcard:
            self._must_answer = True
        if self.kind.wildcard and self._began and not every and (self._wildcard or wanted != self._names):
            self._must_answer = bool(wanted)
        for gone in self._names - wanted:
            self._held.pop(gone, None)
            self._answers.pop(gone, None)
            self._pushes.pop(gone, None)
            self._rejected.pop(gone, None)
        self._names, self._wildcard = wanted, every
        self._answers.update(dict.fromkeys(name for name in new if not every or name not in self._held))

    def _wanted(self, name: str) -> bool:
        return self._wildcard or name in self._names

    def _settle(self, error: str | None) -> Settled:
        self._waiting = False
        settled = Settled(self.kind, self._sent, error)
        self.state.in_flight = 0
        if error is None:
            self.state.acked += 1
            self.state.version_acked = self.state.version_sent
            return settled
        self.state.nacked += 1
        self.state.last_nack, self.state.version_nacked = error, self.state.version_sent
        self.state.rejected = tuple(islice(self._sent, NAMES_SHOWN))
        self._held = self._before
        for name, version in self._sent.items():
            self._rejected[name] = version or "", error
        return settled


def _digest(held: Mapping[str, str]) -> str:
    made = hashlib.blake2b(digest_size=8)
    for name in sorted(held):
        made.update(f"{name} {held[name]}\n".encode())
    return made.hexdigest()
