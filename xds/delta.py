"""What differs between two states of the directory: by name, what it was and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from xds.gds.model import Pod
from xds.slices import Work, cut

V = TypeVar("V")
Move = tuple[V | None, V | None]
Moves = dict[str, Move[V]]

Key = tuple[str, str]
"""A record: its kind, "domain" or "pod", and its name."""
Content = str | Pod | None
"""What a record says: a domain's pod, or the pod itself; None when there is no such record."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What differs between two states, as name -> (old, new); None stands for absent."""

    domains: Moves[str]
    pods: Moves[Pod]

    def __bool__(self) -> bool:
        return bool(self.domains or self.pods)

    def __len__(self) -> int:
        return len(self.domains) + len(self.pods)

    def merged(self, later: Delta) -> Delta:
        """This delta followed by ``later``; what came back to where it was is dropped."""
        both = Delta(dict(self.domains), dict(self.pods))
        extend(both.domains, later.domains)
        extend(both.pods, later.pods)
        return both


def extend(total: Moves[V], step: Moves[V]) -> None:
    """Makes ``total`` what it was followed by ``step``."""
    for name, move in step.items():
        if name in total:
            move = total[name][0], move[1]
        if move[0] == move[1]:
            total.pop(name, None)
        else:
            total[name] = move


def differences(old: Mapping[str, V], new: Mapping[str, V]) -> Work[Moves[V]]:
    """In slices; a value of which there are many is in one tuple with None."""
    changed: Moves[V] = {}
    alone: dict[V, Move[V]] = {}
    for some in cut(new.items()):
        for name, value in some:
            before = old.get(name)
            if before is None:
                changed[name] = alone.get(value) or alone.setdefault(value, (None, value))
            elif before != value:
                changed[name] = before, value
        yield
    for gone in cut(old.items()):
        changed.update((name, (value, None)) for name, value in gone if name not in new)
        yield
    return changed


def apply_moves(values: dict[str, V], moves: Moves[V]) -> Work[None]:
    """Brings ``values`` to where the moves lead, in slices."""
    for some in cut(moves.items()):
        for name, (_, new) in some:
            if new is None:
                values.pop(name, None)
            else:
                values[name] = new
        yield
