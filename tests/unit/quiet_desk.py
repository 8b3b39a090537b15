"""Stands for the operator's desk where no order is made."""

from __future__ import annotations


class Desk:
    """Nothing is held."""

    def hold(self) -> dict[str, object]:
        return {"state": "none"}

    def held(self) -> list[str]:
        return []

    def waits(self, domain: str) -> None:
        return None
