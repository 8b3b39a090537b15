"""Which pod each domain is on, as GDS said it: a list of pairs that keeps no pairs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableSequence, Sequence
from typing import overload

Pair = tuple[str, str]


class Homes(MutableSequence[Pair]):
    """(domain, pod) pairs in the order in which they came, the same domain perhaps twice.

    The names stay when the rest is gone. A million pairs that were made between them would leave a hole beside each,
    in memory that the system doesn't get back; two lists leave none.
    """

    __slots__ = ("_names", "_pods")

    def __init__(self, homes: Mapping[str, str] | None = None) -> None:
        self._names: list[str] = [*homes] if homes else []
        self._pods: list[str] = [*homes.values()] if homes else []

    def join(self, names: Sequence[str], pods: Sequence[str]) -> None:
        """Adds these, each name with the pod at the same place."""
        self._names += names
        self._pods += pods

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Pair]:
        return zip(self._names, self._pods, strict=True)

    @overload
    def __getitem__(self, place: int) -> Pair: ...
    @overload
    def __getitem__(self, place: slice) -> list[Pair]: ...
    def __getitem__(self, place: int | slice) -> Pair | list[Pair]:
        if isinstance(place, slice):
            return [*zip(self._names[place], self._pods[place], strict=True)]
        return self._names[place], self._pods[place]

    def __setitem__(self, place: int | slice, value: object) -> None:
        raise TypeError("what GDS said isn't changed")

    def __delitem__(self, place: int | slice) -> None:
        del self._names[place]
        del self._pods[place]

    def insert(self, index: int, value: Pair) -> None:
        self._names.insert(index, value[0])
        self._pods.insert(index, value[1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and [*self] == [*other]

    def __repr__(self) -> str:
        return f"Homes({dict(self[:5])}, {len(self)} in all)"
