"""One type on one delta stream: what the client holds, what it should hold, and the next response.

Sources: the xDS protocol, "Incremental xDS", "Resource version negotiation" and "ACK/NACK". Pushes wait until what
was sent before is ACKed, and then carry only the newest state; new subscriptions are answered at once, since a client
may withhold an ACK until they are (Envoy does while clusters warm).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from xds.protocol.messages import DeltaRequest, DeltaResponse
from xds.protocol.state import NAMES_SHOWN, ResourceStatus, Settled, TypeState
from xds.resources.types import Resource, ResourceType

ALL = "*"


@dataclass(frozen=True, slots=True)
class _Sent:
    """One response in flight: the versions in it, None for a removal, and those that the client held before."""

    versions: dict[str, str | None]
    before: dict[str, str | None]
    digest: str


class DeltaType:
    """``resources`` is the cache's live view of the type, ``response_bytes`` what the resources of one response may
    take together."""

    def __init__(self, kind: ResourceType, resources: Mapping[str, Resource], response_bytes: int) -> None:
        self.kind = kind
        self.state = TypeState(kind.name)
        self._resources = resources
        self._response_bytes = response_bytes
        self._began = False
        self._subscribed: set[str] = set()
        self._wildcard = False
        self._held: dict[str, str] = {}
        self._pushes: dict[str, None] = {}
        self._answers: dict[str, None] = {}
        self._must_answer = False
        self._in_flight: dict[str, _Sent] = {}
        self._rejected: dict[str, tuple[str, str]] = {}

    @property
    def unsettled(self) -> bool:
        """Something is to be sent, or was sent and isn't ACKed."""
        return bool(self._in_flight or self._pushes or self._answers or self._must_answer)

    def receive(self, request: DeltaRequest) -> Settled | None:
        """What the request ACKed or NACKed, if anything."""
        settled = self._settle(request.nonce, request.error)
        if not self._began:
            self._begin(request)
        else:
            for name in request.subscribe:
                self._subscribe(name)
        for name in request.unsubscribe:
            self._unsubscribe(name)
        self.state.wildcard, self.state.subscribed = self._wildcard, len(self._subscribed)
        return settled

    def changed(self, names: Iterable[str]) -> None:
        """These differ now in the cache. What was NACKed together with one of them is tried again with it."""
        touched = False
        for name in names:
            if self._wanted(name):
                self._pushes[name] = None
                touched = touched or name in self._rejected
        if touched:
            self._pushes.update(dict.fromkeys(self._rejected))
            self._rejected.clear()

    def again(self, names: Iterable[str]) -> None:
        """Sends these once more, at whatever version the client holds."""
        self._answers.update(dict.fromkeys(name for name in names if name in self._subscribed))

    def statuses(self) -> Iterator[ResourceStatus]:
        """What the client holds, was sent, rejected or misses."""
        in_flight = {name for sent in self._in_flight.values() for name in sent.versions}
        names = dict.fromkeys([*self._held, *self._rejected, *self._subscribed])
        for name in sorted(names):
            version, error = self._rejected.get(name, ("", ""))
            yield ResourceStatus(name, self._held.get(name, ""), name in in_flight, version, error)

    def next_response(self, nonce: str, *, pushes: bool) -> DeltaResponse | None:
        """The next response, or None when there is nothing to say. ``pushes``: not only answers may be sent."""
        resources: list[Resource] = []
        removed: list[str] = []
        size = self._collect(self._answers, resources, removed, 0, forced=True)
        if self._must_answer or (pushes and not self._in_flight):
            self._collect(self._pushes, resources, removed, size, forced=False)
        if not (resources or removed or (self._must_answer and not self._answers)):
            return None
        self._must_answer = False
        self._sent(nonce, resources, removed)
        return DeltaResponse(self.kind.url, nonce, tuple(resources), tuple(removed))

    def _begin(self, request: DeltaRequest) -> None:
        self._began = True
        self._held = dict(request.initial_versions)
        if not request.subscribe and self.kind.wildcard:
            self._subscribe(ALL)
            # A client that comes back and holds all of it already needs no answer; one that starts waits for one.
            self._must_answer = not self._held
        for name in request.subscribe:
            if name in self._held and not self.kind.resent:
                self._subscribed.add(name)
                self._pushes[name] = None
            else:
                self._subscribe(name)
        # What the client holds and we don't is removed at once: it may be routed to.
        self._pushes.update(dict.fromkeys(name for name in self._held if self._wanted(name)))

    def _subscribe(self, name: str) -> None:
        if name != ALL:
            self._subscribed.add(name)
            self._answers[name] = None
        elif self.kind.wildcard:
            self._wildcard = True
            self._must_answer = True
            self._pushes.update(dict.fromkeys(self._resources))

    def _unsubscribe(self, name: str) -> None:
        if name == ALL:
            self._wildcard = False
            dropped = [held for held in self._held if held not in self._subscribed]
        elif name not in self._subscribed:
            return
        else:
            self._subscribed.discard(name)
            dropped = [] if self._wildcard else [name]
            if self._wildcard:
                # It is still in the wildcard, and the client has forgotten it (xDS: it must be sent again or removed).
                self._answers[name] = None
        for gone in dropped:
            self._held.pop(gone, None)
            self._answers.pop(gone, None)
            self._pushes.pop(gone, None)
            self._rejected.pop(gone, None)

    def _wanted(self, name: str) -> bool:
        return self._wildcard or name in self._subscribed

    def _collect(
        self, due: dict[str, None], resources: list[Resource], removed: list[str], size: int, *, forced: bool
    ) -> int:
        """Moves what is due into the response, up to ``response_bytes``; the rest stays due."""
        taken = {resource.name for resource in resources}.union(removed)
        for name in list(due):
            resource = self._resources.get(name)
            if resource is not None and name not in taken and (forced or self._held.get(name) != resource.version):
                if resources and size + len(resource.any) > self._response_bytes:
                    break
                resources.append(resource)
                size += len(resource.any)
            elif resource is None and name not in taken and (forced or name in self._held):
                removed.append(name)
            del due[name]
        return size

    def _sent(self, nonce: str, resources: list[Resource], removed: list[str]) -> None:
        versions: dict[str, str | None] = {resource.name: resource.version for resource in resources}
        versions |= dict.fromkeys(removed)
        before: dict[str, str | None] = {}
        for resource in resources:
            before[resource.name] = self._held.get(resource.name)
            self._held[resource.name] = resource.version
            self._rejected.pop(resource.name, None)
        for name in removed:
            before[name] = self._held.pop(name, None)
            self._rejected.pop(name, None)
        version = _digest(resources, removed)
        self._in_flight[nonce] = _Sent(versions, before, version)
        self.state.sent += 1
        self.state.version_sent = version
        self.state.in_flight, self.state.resources = len(self._in_flight), len(self._held)

    def _settle(self, nonce: str, error: str | None) -> Settled | None:
        if nonce not in self._in_flight:
            return None
        for older in list(self._in_flight):
            if older == nonce:
                break
            del self._in_flight[older]
        sent = self._in_flight.pop(nonce)
        settled = Settled(self.kind, sent.versions, error)
        self.state.in_flight = len(self._in_flight)
        if error is None:
            self.state.acked += 1
            self.state.version_acked = sent.digest
            return settled
        self.state.nacked += 1
        self.state.last_nack, self.state.version_nacked = error, sent.digest
        self.state.rejected = tuple(islice(sent.versions, NAMES_SHOWN))
        for name, held in sent.before.items():
            if held is None:
                self._held.pop(name, None)
            else:
                self._held[name] = held
            if self._wanted(name):
                self._rejected[name] = sent.versions[name] or "", error
        return settled


def _digest(resources: list[Resource], removed: list[str]) -> str:
    made = hashlib.blake2b(digest_size=8)
    for resource in resources:
        made.update(f"{resource.name} {resource.version}\n".encode())
    for name in removed:
        made.update(f"{name} -\n".encode())
    return made.hexdigest()
