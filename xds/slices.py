"""Long work cut in slices: generators that yield between bounded pieces, so that whoever runs them may do other things
meanwhile. Pure; the rim decides when the next slice has its turn."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, MutableSequence
from itertools import islice
from typing import Any, TypeVar

SLICE = 1_000
"""Names of one slice: a millisecond or two of the costlier kinds of work."""

T = TypeVar("T")
R = TypeVar("R")

Work = Generator[None, None, R]
"""What is returned is there when all slices are done."""


def drained(work: Work[R]) -> R:
    """Does all of it at once."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: R = done.value
            return result


def cut(values: Iterable[T], size: int = SLICE) -> Iterator[list[T]]:
    """The values in lists of at most ``size``."""
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some


def emptied(*held: dict[Any, Any] | MutableSequence[Any]) -> Work[None]:
    """Frees what nobody holds any more: a million names at once take a tenth of a second."""
    for one in held:
        while one:
            if isinstance(one, dict):
                for _ in range(min(len(one), 5 * SLICE)):
                    one.popitem()
            else:
                del one[-5 * SLICE :]
            yield
