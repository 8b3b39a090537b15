"""The resources as they should be at every Envoy, by type and name, and who is told when they change.

One cache, many streams: each resource is encoded once and its bytes are shared by all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from xds.resources.types import TYPES, Resource, ResourceType, Update

Changed = Mapping[ResourceType, Collection[str]]
Watcher = Callable[[Changed], None]


class Cache:
    """Single-threaded: publish and read from one event loop."""

    def __init__(self) -> None:
        self._resources: dict[ResourceType, dict[str, Resource]] = {kind: {} for kind in TYPES}
        self._views = {kind: MappingProxyType(held) for kind, held in self._resources.items()}
        self._watchers: dict[Watcher, None] = {}

    def view(self, kind: ResourceType) -> Mapping[str, Resource]:
        """The resources of a type by name: live, read-only."""
        return self._views[kind]

    def publish(self, update: Update) -> Changed:
        """Takes what differs from what is held and tells every watcher once; returns the names that changed."""
        changed: dict[ResourceType, list[str]] = {}
        for kind, resources in update.items():
            held = self._resources[kind]
            names = [name for name, new in resources.items() if _differs(held.get(name), new)]
            for name in names:
                new = resources[name]
                if new is None:
                    del held[name]
                else:
                    held[name] = new
            if names:
                changed[kind] = names
        if changed:
            for watcher in list(self._watchers):
                watcher(changed)
        return changed

    def watch(self, watcher: Watcher) -> None:
        """``watcher`` is called with the changed names after each publish, until `unwatch`."""
        self._watchers[watcher] = None

    def unwatch(self, watcher: Watcher) -> None:
        del self._watchers[watcher]


def _differs(old: Resource | None, new: Resource | None) -> bool:
    return (old and old.version) != (new and new.version)
