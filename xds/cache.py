"""The resources as they should be at every Envoy, by type and name, and who is told when they change.

One cache, many streams: each resource is encoded once and its bytes are shared by all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from xds.errors import PublishError
from xds.resources.types import SECRET, TYPES, Resource, ResourceType, Update
from xds.slices import Work, cut, drained

Changed = Mapping[ResourceType, Collection[str]]
Watcher = Callable[[Changed], None]
Owners = Mapping[ResourceType, dict[bytes, str]]
"""Of the types in which something must be unique: by that, the resource that has it."""

_CHECKED = 500  # resources of one slice: a few milliseconds


@dataclass(frozen=True, slots=True)
class Made:
    """When what is held of a resource was published, by the cache's clock. ``first``: it was there when the service
    began, so that it may be older than this process, and nobody knows by how much."""

    at: float
    first: bool


class Cache:
    """Single-threaded: publish and read from one event loop. ``clock``: seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        # Not of secrets: there may be one for each customer, and a certificate says itself since when it is.
        self._made: dict[ResourceType, dict[str, float]] = {kind: {} for kind in TYPES if kind is not SECRET}
        self._began: float | None = None
        self._resources: dict[ResourceType, dict[str, Resource]] = {kind: {} for kind in TYPES}
        self._views = {kind: MappingProxyType(held) for kind, held in self._resources.items()}
        self._owners: dict[ResourceType, dict[bytes, str]] = {kind: {} for kind in TYPES if kind.unique}
        self._watchers: dict[Watcher, None] = {}
        self._watchers_of: dict[ResourceType, dict[Watcher, None]] = {kind: {} for kind in TYPES}
        self.publishes = 0
        """Publishes that changed something; it has grown before the watchers are told."""

    def view(self, kind: ResourceType) -> Mapping[str, Resource]:
        """The resources of a type by name: live, read-only."""
        return self._views[kind]

    def made(self, kind: ResourceType, name: str) -> Made | None:
        """Since when this version of a resource is published; None: it isn't, or is a secret."""
        at = self._made.get(kind, {}).get(name)
        return None if at is None else Made(at, self.was_first(at))

    def was_first(self, at: float) -> bool:
        """Whether what was made then was there when the service began."""
        return self._began is None or at <= self._began

    def begin(self) -> None:
        """All that is served at first has been published."""
        self._began = self._clock()

    def checking(self, update: Update) -> Work[Owners]:
        """The part of `publish` that takes long, before it and in slices. Nothing else may be published meanwhile of a
        type in which something must be unique. Raises PublishError."""
        owners: dict[ResourceType, dict[bytes, str]] = {}
        for kind, resources in update.items():
            owners[kind] = yield from self._checking(kind, resources)
        return owners

    def publish(self, update: Update, owners: Owners | None = None) -> Changed:
        """Takes what differs from what is held and tells every watcher once; returns the names that changed. ``owners``
        is what `checking` found of some of its types, if that was done.

        Raises PublishError, and then nothing was taken.
        """
        changed: dict[ResourceType, list[str]] = {}
        unchecked = {kind: resources for kind, resources in update.items() if not owners or kind not in owners}
        owners = {**(owners or {}), **drained(self.checking(unchecked))}
        now = self._clock()
        for kind, resources in update.items():
            held = self._resources[kind]
            names = [name for name, new in resources.items() if _differs(held.get(name), new)]
            if kind.unique:
                self._owners[kind] = owners[kind]
            made = self._made.get(kind, {})
            for name in names:
                new = resources[name]
                if new is None:
                    del held[name]
                    made.pop(name, None)
                else:
                    held[name] = new
                    made[name] = now
            if names:
                changed[kind] = names
        if changed:
            self.publishes += 1
            for watcher in [*self._watchers, *(one for kind in changed for one in self._watchers_of[kind])]:
                watcher(changed)
        return changed

    def replace(self, update: Update) -> None:
        """Other bytes at the version that is held: for who asks from now on. Nobody is told; what is at another version
        stays."""
        for kind, resources in update.items():
            held = self._resources[kind]
            for name, new in resources.items():
                if new is not None and name in held and held[name].version == new.version:
                    held[name] = new

    def _checking(self, kind: ResourceType, resources: Mapping[str, Resource | None]) -> Work[dict[bytes, str]]:
        """Who owns what in a type where that must be unique, once ``resources`` are taken."""
        for some in cut(resources.items(), _CHECKED):
            for name, new in some:
                if new is not None and (new.name != name or not new.is_a(kind)):
                    raise PublishError(
                        f"{kind.name} {name!r}: what is to be published as it is {new.name!r}, {new.any[:80]!r}"
                    )
            if len(some) == _CHECKED:
                yield
        if kind.unique is None or not resources:
            return self._owners.get(kind, {})
        owners = {key: name for key, name in self._owners[kind].items() if name not in resources}
        for some in cut(resources.items(), _CHECKED):
            for name, new in some:
                if new is not None:
                    key = kind.unique(new.body)
                    if owners.setdefault(key, name) != name:
                        raise PublishError(f"{kind.name} {name!r} has the same key, {key!r}, as {owners[key]!r}")
            if len(some) == _CHECKED:
                yield
        return owners

    def watch(self, watcher: Watcher, only: ResourceType | None = None) -> None:
        """``watcher`` is called with the changed names after each publish, until `unwatch`; with ``only``, after those
        that change something of that type."""
        self._watching(only)[watcher] = None

    def unwatch(self, watcher: Watcher, only: ResourceType | None = None) -> None:
        """As it was watched."""
        del self._watching(only)[watcher]

    def _watching(self, only: ResourceType | None) -> dict[Watcher, None]:
        return self._watchers if only is None else self._watchers_of[only]


def _differs(old: Resource | None, new: Resource | None) -> bool:
    return (old and old.version) != (new and new.version)
