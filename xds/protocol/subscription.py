"""One type on one stream, whichever the variant: what is subscribed to, what the client has of it, what is due.

Due are, in the order in which they go: answers to names just asked for, at once and at whatever version, since a
client may withhold an ACK until it has them (Envoy does while clusters warm); repeats, as soon; pushes of what changed,
once that is allowed and what was sent before is answered, so that they carry only the newest state; removals of what
other types may lead to, last.

A client may come back with something else than there is here, while it isn't known which of both is newer. Then it is
*spared*: it keeps what it has under those names, until `catch_up`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from xds.errors import LimitError
from xds.protocol.holdings import Holdings, Versions
from xds.protocol.state import Bounds, ResourceStatus, TypeState
from xds.resources.types import Resource, ResourceType

ALL = "*"
_OVERHEAD = 40
"""Bytes that a resource takes in a response beside its Any and its name: version, tags and lengths."""


class Batch:
    """The resources and removals of one response, up to ``room`` bytes; a larger one goes alone."""

    def __init__(self, room: int) -> None:
        self.resources: list[Resource] = []
        self.removed: list[str] = []
        self.versions: Versions = {}
        self.full = False
        self._room = room

    def put(self, resource: Resource) -> bool:
        """False when there is no room left."""
        if not self._fits(len(resource.any) + len(resource.name.encode())):
            return False
        self.resources.append(resource)
        self.versions[resource.name] = resource.version
        return True

    def remove(self, name: str) -> bool:
        """False when there is no room left."""
        if not self._fits(len(name.encode())):
            return False
        self.removed.append(name)
        self.versions[name] = None
        return True

    def _fits(self, size: int) -> bool:
        self._room -= size + _OVERHEAD
        self.full = self._room < 0 and bool(self.versions)
        return not self.full


class Subscription:
    """``resources`` is the cache's live view of the type. Of the first request alone: ``spares``, see above, and
    ``published``, how often the cache had published then; None when nobody counts."""

    def __init__(
        self,
        kind: ResourceType,
        resources: Mapping[str, Resource],
        bounds: Bounds,
        *,
        spares: bool = False,
        published: int | None = None,
    ) -> None:
        self.kind = kind
        self.holdings = Holdings(kind)
        self._resources = resources
        self._bounds = bounds
        self._began = False
        self._names: set[str] = set()
        self._wildcard = False
        self._must_answer = False
        self._must_push = False
        """The client is to learn all that there is, be it nothing: at once, or when pushes may go."""
        self._answers: dict[str, None] = {}
        self._repeats: dict[str, None] = {}
        self._pushes: dict[str, None] = {}
        self._leaving: dict[str, None] = {}
        self._spares = spares
        self._published = published
        self._spared: dict[str, None] = {}
        self._unfinished = False
        """The last response had no room for all that was due: the rest follows without waiting for the ACK."""

    @property
    def unsettled(self) -> bool:
        """Something is to be sent, or was sent and isn't answered. Removals that are held back don't count."""
        return bool(self.holdings.in_flight or self._must_answer or self._answers or self._repeats or self.pushing)

    @property
    def current(self) -> bool:
        """The client has ACKed all that it is to have; removals that are held back don't count."""
        due = self._must_answer or self._must_push or self._answers or self._repeats or self._pushes
        return not due and not self._spared and self.holdings.clean

    @property
    def spared(self) -> int:
        """How many names the client has otherwise, or may have, and isn't sent."""
        return len(self._spared)

    @property
    def idle(self) -> bool:
        """Nothing is due, now or later."""
        return not (
            self._pushes or self._must_push or self._must_answer or self._answers or self._repeats or self._leaving
        )

    @property
    def pushing(self) -> bool:
        """Something changed and isn't sent yet."""
        return self._must_push or bool(self._pushes)

    @property
    def leaving(self) -> bool:
        """A removal is held back."""
        return bool(self._leaving)

    @property
    def state(self) -> TypeState:
        return self.holdings.state

    def wanted(self, name: str) -> bool:
        return self._wildcard or name in self._names

    def changed(self, names: Iterable[str]) -> None:
        """These differ now in the cache. What was NACKed together with one of them is tried again with it."""
        for name in names:
            if self.wanted(name):
                self._push(name)
                for other in self.holdings.retry(name):
                    self._push(other)

    def catch_up(self) -> None:
        """What there is here is the newest: nothing is spared any more."""
        spared, self._spared = self._spared, {}
        for name in spared:
            self._push(name)
        self._note()

    def again(self, names: Iterable[str]) -> None:
        """Sends these once more at the version that the client holds, unless it rejected that."""
        for name in names:
            current = self._current(name)
            if name in self._names and current and not self.holdings.has_rejected(name, current.version):
                self._repeats[name] = None

    def lacking(self) -> set[str]:
        """The names of which something is due, not answered, or rejected."""
        due = (self._answers, self._repeats, self._pushes, self._leaving, self._spared)
        return {*self.holdings.unanswered(), *self.holdings.rejected, *(name for names in due for name in names)}

    def statuses(self) -> Iterator[ResourceStatus]:
        """What the client holds, was sent, rejected or misses."""
        return self.holdings.statuses(self._names)

    def _push(self, name: str) -> None:
        if name in self._spared:
            return
        leaves = self.kind.lasting and name not in self._resources
        due, other = (self._leaving, self._pushes) if leaves else (self._pushes, self._leaving)
        other.pop(name, None)
        if not leaves or name in self.holdings.versions:
            due[name] = None

    def _drop(self, name: str) -> None:
        """The client forgets it."""
        self.holdings.forget(name)
        for due in (self._answers, self._repeats, self._pushes, self._leaving, self._spared):
            due.pop(name, None)

    def _drop_unwanted(self) -> None:
        """The wildcard is gone."""
        self.holdings.keep(self.wanted)
        for due in (self._answers, self._repeats, self._pushes, self._leaving, self._spared):
            for name in [name for name in due if not self.wanted(name)]:
                del due[name]

    def _current(self, name: str) -> Resource | None:
        """What there is by that name for this client."""
        found = self._resources.get(name)
        if found is None and self.kind.absent is not None and name in self._names:
            return self.kind.absent(name)
        return found

    def _collect(self, due: dict[str, None], batch: Batch, *, forced: bool = False) -> None:
        """Moves what is due into the response as far as there is room. ``forced``: asked for, so sent at the version
        that the client holds as well, or told to be missing."""
        done: list[str] = []
        for name in due:
            current = self._current(name)
            if name not in batch.versions and not self._collect_one(name, current, batch, forced):
                break
            done.append(name)
        if len(done) == len(due):
            due.clear()  # and its memory, which it would keep when its names are deleted one by one
        else:
            for name in done:
                del due[name]

    def _collect_one(self, name: str, current: Resource | None, batch: Batch, forced: bool) -> bool:
        """False when there is no room left."""
        if not forced and not self._differs(name, current):
            return True
        return batch.remove(name) if current is None else batch.put(current)

    def _differs(self, name: str, current: Resource | None) -> bool:
        """The client doesn't have it so, and hasn't rejected it either."""
        version = None if current is None else current.version
        return self.holdings.versions.get(name) != version and not self.holdings.has_rejected(name, version)

    def _leaves(self, name: str) -> bool:
        return name in self._leaving and self._differs(name, self._current(name))

    def _collect_due(self, batch: Batch, *, pushes: bool, removals: bool) -> None:
        self._collect(self._answers, batch, forced=True)
        # What left the cache meanwhile waits for its removal, or for its return.
        waiting = {name: None for name in self._repeats if self._leaves(name)}
        self._repeats = {name: None for name in self._repeats if name not in waiting}
        self._collect(self._repeats, batch, forced=True)
        self._repeats.update(waiting)
        if self._must_answer or (pushes and (self._unfinished or not self.holdings.in_flight)):
            self._collect(self._pushes, batch)
            if removals:
                self._collect(self._leaving, batch)
        self._unfinished = batch.full

    def _sent(self, nonce: str, versions: Versions, content: str) -> None:
        for name in versions:
            self._repeats.pop(name, None)
            self._spared.pop(name, None)
        self.holdings.sent(nonce, versions, content, self._bounds.max_names + len(self._resources))

    def _check_bound(self, count: int, what: str) -> None:
        if count > self._bounds.max_names:
            raise LimitError(
                f"{what} more than {self._bounds.max_names} names of type {self.kind.name} (limit xds.limits.names)"
            )

    def _note(self) -> None:
        state = self.holdings.state
        state.wildcard, state.subscribed = self._wildcard, len(self._names)
        state.resources, state.spared = len(self.holdings.versions), len(self._spared)
