"""Asks everybody for every host, a bounded number at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from xds.compare.patience import Patience
from xds.compare.verdict import GDS, MAP, Row, Said, Tally
from xds.lookup.budget import Budget


class Source(Protocol):
    """Somebody who is asked where a host is. ``name`` is one of `xds.compare.verdict.SOURCES`, ``words`` for people."""

    name: str
    words: str
    failures: int
    """In a row, after which it isn't asked any more."""

    async def said(self, host: str) -> Said:
        """Never raises for what concerns one host: that is the answer's ``error``."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """``rate``: questions to GDS a second; ``together``: hosts under way; ``settle``: seconds after which what differed
    is asked again, once, since a domain may just have moved; 0 doesn't."""

    rate: float = 100.0
    together: int = 16
    settle: float = 2.0


async def compare(
    listed: Iterable[tuple[str, str]],
    sources: Sequence[Source],
    bounds: Bounds,
    asked: Callable[[Row], None] = lambda row: None,
) -> Tally:
    """``listed``: hosts, each with the map's pod or "". ``asked`` is told of each host as it is done.

    Raises CompareError when one of the sources fails again and again; then nobody is asked any more.
    """
    tally = Tally()
    asking = _Asking(sources, Budget(bounds.rate))

    def done(row: Row) -> None:
        tally.count(row)
        asked(row)

    await asking.all(iter(listed), bounds.together, done)
    if tally.different and bounds.settle:
        await asyncio.sleep(bounds.settle)
        again, tally.different = tally.different, []
        pairs = ((row.host, (row.said[MAP].pod or "") if MAP in row.said else "") for row in again)
        await asking.all(pairs, bounds.together, tally.count_again)
    return tally


class _Asking:
    def __init__(self, sources: Sequence[Source], budget: Budget) -> None:
        self._sources = sources
        self._budget = budget
        self._patience: Mapping[str, Patience] = {
            source.name: Patience(source.words, source.failures) for source in sources
        }

    async def all(self, pairs: Iterator[tuple[str, str]], together: int, done: Callable[[Row], None]) -> None:
        async def work() -> None:
            for host, pod in pairs:
                said = await asyncio.gather(*(self._one(source, host) for source in self._sources))
                told = {MAP: Said(pod)} if pod else {}
                done(Row(host, {**told, **{s.name: answer for s, answer in zip(self._sources, said, strict=True)}}))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(together):
                    group.create_task(work())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _one(self, source: Source, host: str) -> Said:
        if source.name == GDS:
            await asyncio.sleep(self._budget.reserve(asyncio.get_running_loop().time(), math.inf) or 0.0)
        said = await source.said(host)
        if said.error:
            self._patience[source.name].failed(said.error)
        else:
            self._patience[source.name].answered()
        return said
