"""Versions by name, as one client holds them. Most clients of a fleet hold the same, so what is equal is kept once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from weakref import WeakValueDictionary

_FEW = 64
"""Names that a client may hold otherwise before it is looked whether another one holds the same."""


class _Whole(dict[str, str]):
    """Never changed once it is shared."""

    __slots__ = ("__weakref__",)


_wholes: WeakValueDictionary[int, _Whole] = WeakValueDictionary()
_NOTHING = _Whole()


def _one(versions: Mapping[str, str]) -> _Whole:
    """What is kept of all that are equal to these."""
    key = sum(map(hash, versions.values()))
    found = _wholes.get(key)
    if found is None or found != versions:
        found = _wholes[key] = _Whole(versions)
    return found


class Held(MutableMapping[str, str]):
    """What is shared, and over it what is this client's own; None there stands for absent."""

    __slots__ = ("_own", "_shared", "_size")

    def __init__(self) -> None:
        self._shared = _NOTHING
        self._own: dict[str, str | None] = {}
        self._size = 0

    def begin(self, versions: Mapping[str, str]) -> None:
        """What the client says that it holds, before anything else is known of it."""
        self._size = len(versions)
        if self._size > _FEW:
            self._shared = _one(versions)
        else:
            self._own = dict(versions)

    def share(self) -> None:
        """Looks whether the same is held elsewhere, once much is its own."""
        if len(self._own) > _FEW:
            self._shared, self._own = _one(dict(self)), {}

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        own = self._own
        if name in own:
            version = own[name]
            return default if version is None else version
        return self._shared.get(name, default)

    def __getitem__(self, name: str) -> str:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return self._own[name] is not None if name in self._own else name in self._shared

    def __setitem__(self, name: str, version: str) -> None:
        own = self._own
        if (own[name] is None) if name in own else (name not in self._shared):
            self._size += 1
        own[name] = version

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._size -= 1
        if name in self._shared:
            self._own[name] = None
        else:
            del self._own[name]

    def __iter__(self) -> Iterator[str]:
        own = self._own
        yield from (name for name in self._shared if name not in own)
        yield from (name for name, version in own.items() if version is not None)

    def __len__(self) -> int:
        return self._size
