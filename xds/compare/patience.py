"""When a comparison asks somebody no more: after failures in a row. Pure."""

from __future__ import annotations

from xds.errors import CompareError


class Patience:
    """With one who is asked: after so many ``failures`` in a row it is rather down than unlucky."""

    def __init__(self, name: str, failures: int) -> None:
        self._name = name
        self._failures = failures
        self._row = 0

    def answered(self) -> None:
        self._row = 0

    def failed(self, error: str) -> None:
        """Raises CompareError when it was the last of too many."""
        self._row += 1
        if self._row >= self._failures:
            raise CompareError(f"{self._name} failed {self._row} times in a row and isn't asked any more: {error}")
