"""When memory is given back, and that it is."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

import psutil
import pytest

from xds.directory import Directory
from xds.gds.model import Snapshot, Transaction
from xds.gds.snapshot import SnapshotReader
from xds.gds.watch import Assembler, Event
from xds.memory import MANY, giving_back, trim

needs_glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library than glibc: it has no malloc_trim"
)


@pytest.mark.parametrize(
    ("states", "times"),
    [
        ([(MANY + 1, True), (MANY + 2, True)], 1),
        ([(MANY, True), (2 * MANY, True)], 0),
        ([(MANY + 1, False), (MANY + 1, True)], 1),
        ([(2 * MANY, True), (4 * MANY, True)], 2),
    ],
    ids=["a large change", "many small ones", "when it is no more under way", "two large ones"],
)
async def test_memory_is_given_back_once_after_a_large_change(states: list[tuple[int, bool]], times: int) -> None:
    now, given = states[0], []
    task = asyncio.create_task(giving_back(lambda: now[0], lambda: now[1], lambda: given.append(now), look=0.001))
    for now in states:  # noqa: B007
        await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(given) == times


@needs_glibc
def test_what_was_freed_between_what_is_held_goes_back_to_the_system() -> None:
    chance = random.Random(1)
    held = [bytes(chance.randrange(1_000, 16_000)) for _ in range(20_000)]
    chance.shuffle(held)
    del held[len(held) // 2 :]
    before = psutil.Process().memory_info().rss
    trim()
    assert psutil.Process().memory_info().rss < before - 20_000_000


EVERY, EACH, PODS = 300_000, 1_000, 50


def _parts(record: str) -> Iterator[list[str]]:
    for first in range(0, EVERY, EACH):
        yield [record % (number, number % PODS) for number in range(first, first + EACH)]


def _read(domains: int, parts: Iterable[list[str]]) -> Snapshot:
    reader = SnapshotReader()
    pods = ",".join(f'{{"name":"pod{number}"}}' for number in range(PODS))
    reader.feed(f'{{"epoch":"e","revision":1,"domains":{domains},"pods":[{pods}]}}\n'.encode())
    for part in parts:
        reader.feed("".join(f"{line}\n" for line in part).encode())
    return reader.finish()


def _snapshot(directory: Directory) -> None:
    directory.replace(_read(EVERY, _parts('{"domain":"customer%06d.example.com","pod":"pod%d"}')))


def _transaction(directory: Directory) -> None:
    assembler, made = Assembler("e"), None
    for number, part in enumerate(
        _parts('{"op":"put","kind":"domain","domain":"customer%06d.example.com","pod":"pod%d"}')
    ):
        more = "true" if (number + 1) * EACH < EVERY else "false"
        made = assembler.take(Event("change", f'{{"revision":2,"more":{more},"changes":[{",".join(part)}]}}'.encode()))
    assert isinstance(made, Transaction)
    directory.apply(made)


def bytes_of_each(work: Callable[[Directory], None]) -> float:
    """Resident memory that ``work`` on an empty directory leaves, for each domain."""
    directory = Directory()
    directory.replace(_read(0, ()))
    before = psutil.Process().memory_info().rss
    work(directory)
    trim()
    assert len(directory.domains) == EVERY
    return (psutil.Process().memory_info().rss - before) / EVERY


@needs_glibc
@pytest.mark.parametrize("work", [_snapshot, _transaction])
def test_what_came_with_the_names_leaves_no_holes_between_them(work: Callable[[Directory], None]) -> None:
    """A name takes 80 bytes, and its place in the directory's dict up to 50 more."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
        assert fresh.submit(bytes_of_each, work).result(120) < 190
