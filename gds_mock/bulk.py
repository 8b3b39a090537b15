"""A load of any size as one transaction: checked line by line, staged aside, then applied at once or not.

Staging takes no lock on the store, so a slow sender holds up nobody; memory stays small however long the load is.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self

import msgspec

from gds_mock.errors import BadLine, BadLines, NotAHost
from gds_mock.names import normalise
from gds_mock.values import Pod

_NAMED = 100  # bad lines named one by one; the others are counted

Row = tuple[int, str, str | None]
"""A line's number, its domain, and the pod it is put on; None where it goes."""


class Loaded(msgspec.Struct, frozen=True):
    """What a load came to: only puts and deletes that changed something count."""

    revision: int
    puts: int
    deletes: int


class Stage(ABC):
    """One load on its way in. Any thread may use it, and must close it in the end."""

    def __init__(self, known: set[str]) -> None:
        self._known = known
        self._using = threading.Lock()  # so that closing waits for a statement that still runs
        self._errors: list[BadLine] = []
        self.bad_lines = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drops whatever was staged. Safe to call twice."""
        with self._using:
            self._close()

    def promise(self, pods: Iterable[str]) -> None:
        """Lets lines name these pods, which ``apply`` will be given."""
        self._known.update(pods)

    def row(self, line: int, host: str, pod: str | None) -> Row | None:
        """A checked row for ``add``: the host goes to the pod, or goes away (None). Rejects the line if it can't."""
        try:
            domain = normalise(host)
        except NotAHost as error:
            self.reject(line, str(error))
            return None
        if pod is not None and pod not in self._known:
            self.reject(line, f"there is no pod {pod[:80]!r}")
            return None
        return line, domain, pod

    def reject(self, line: int, detail: str) -> None:
        """Notes a bad line: nothing will be applied, but the lines after it are still checked."""
        self.bad_lines += 1
        if len(self._errors) < _NAMED:
            self._errors.append(BadLine(line, detail))

    def add(self, rows: list[Row]) -> None:
        """Stages rows; after a bad line there is no use in keeping more."""
        if rows and self.bad_lines == 0:
            with self._using:
                self._keep(rows)

    def reject_contradictions(self) -> None:
        """Rejects every line that puts a domain elsewhere than the line that named it first."""
        with self._using:
            for line, domain, pod, first_pod, first_line in self._contradictions():
                self.reject(line, f"{domain} is on {pod} here, but on {first_pod} in line {first_line}")

    def check(self) -> None:
        """Raises BadLines if any line was rejected."""
        if self.bad_lines:
            raise BadLines(tuple(self._errors), self.bad_lines)

    def apply(self, pods: Iterable[Pod] = (), by: str | None = None) -> Loaded:
        """Writes these pods and everything staged as one revision, on disk when it returns: ``by`` whom. Raises
        BadLines."""
        self.check()
        with self._using:
            return self._write(pods, by)

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _keep(self, rows: list[Row]) -> None: ...

    @abstractmethod
    def _contradictions(self) -> Iterable[tuple[int, str, str, str, int]]:
        """Line, domain, pod, and the pod and line of the domain's first line, by line."""

    @abstractmethod
    def _write(self, pods: Iterable[Pod], by: str | None) -> Loaded: ...
