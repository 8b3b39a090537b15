"""How what GDS says differs from what the edge has, while something is held: kept with its counts, record by record."""

from __future__ import annotations

from xds.delta import Delta, Moves
from xds.gds.model import Pod
from xds.guard import Counts, ends_lost, pod_counts
from xds.slices import Work, cut


class Difference:
    """From the edge to GDS, as name -> (at the edge, at GDS); None stands for absent."""

    def __init__(self) -> None:
        self.domains: Moves[str] = {}
        self.pods: Moves[Pod] = {}
        self._moved = self._removed = self._added = 0

    @staticmethod
    def of(delta: Delta) -> Work[Difference]:
        """In slices."""
        made = Difference()
        yield from made.following(delta)
        return made

    def following(self, step: Delta) -> Work[None]:
        """GDS went on by ``step``; in slices."""
        for some in cut(step.domains.items()):
            for name, (old, new) in some:
                self.put(name, self.domains[name][0] if name in self.domains else old, new)
            yield
        for name, (before, now) in step.pods.items():
            self.put_pod(name, self.pods[name][0] if name in self.pods else before, now)

    def put(self, domain: str, edge: str | None, gds: str | None) -> None:
        """What each says of a domain now."""
        if domain in self.domains:
            self._count(self.domains.pop(domain), -1)
        if edge != gds:
            self.domains[domain] = edge, gds
            self._count((edge, gds), 1)

    def put_pod(self, name: str, edge: Pod | None, gds: Pod | None) -> None:
        self.pods.pop(name, None)
        if edge != gds:
            self.pods[name] = edge, gds

    @property
    def emptied(self) -> list[str]:
        """The pods that have no endpoint any more."""
        return [name for name, (old, new) in self.pods.items() if ends_lost(old, new) == "emptied"]

    @property
    def counts(self) -> Counts:
        return Counts(self._moved, self._removed, self._added, *pod_counts(self.pods))

    def _count(self, move: tuple[str | None, str | None], by: int) -> None:
        if move[1] is None:
            self._removed += by
        elif move[0] is None:
            self._added += by
        else:
            self._moved += by
