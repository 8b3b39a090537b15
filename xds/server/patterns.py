"""Patterns in the settings: ``*`` stands for any run of characters, the rest for itself, and all of a text must match.

No regular expression is made of them: nothing can be injected, and a match takes time in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from xds.errors import SettingsError

_PLACEHOLDER = re.compile(r"\{(san|[1-9][0-9]?)\}")


@dataclass(frozen=True, slots=True)
class Glob:
    """``parts`` are the texts between the stars; no star stands for a character of ``stops``."""

    parts: tuple[str, ...]
    stops: str = ""

    @property
    def stars(self) -> int:
        return len(self.parts) - 1

    def match(self, text: str) -> tuple[str, ...] | None:
        """What each star stands for, each as little as it can; None when the text doesn't match."""
        first, *rest = self.parts
        if not rest:
            return () if text == first else None
        *middle, last = rest
        at, end = len(first), len(text) - len(last)
        if at > end or not text.startswith(first) or not text.endswith(last):
            return None
        found: list[str] = []
        for part in middle:
            # The first occurrence is enough: a later one only makes this star longer and the next ones' room smaller.
            where = text.find(part, at, end)
            if where < 0:
                return None
            found.append(text[at:where])
            at = where + len(part)
        found.append(text[at:end])
        if any(character in self.stops for run in found for character in run):
            return None
        return tuple(found)


def glob(pattern: str, stops: str = "") -> Glob:
    """``*`` alone matches everything. Raises SettingsError."""
    _checked(pattern)
    return Glob(tuple(pattern.split("*")), "" if pattern == "*" else stops)


@dataclass(frozen=True, slots=True)
class Template:
    """A pattern with ``{san}`` and ``{1}``, ``{2}``…: texts known only when a SAN has matched; 0 is the SAN itself."""

    parts: tuple[tuple[str | int, ...], ...]

    def fill(self, san: str, found: Sequence[str]) -> Glob:
        """What is filled in stands for itself: a star in a SAN is no wildcard."""
        texts = (san, *found)
        return Glob(
            tuple("".join(piece if isinstance(piece, str) else texts[piece] for piece in p) for p in self.parts)
        )


def template(pattern: str, stars: int) -> Template:
    """``stars``: how many the SAN's pattern has. Raises SettingsError."""
    _checked(pattern)
    return Template(tuple(_pieces(pattern, part, stars) for part in pattern.split("*")))


def _pieces(pattern: str, part: str, stars: int) -> tuple[str | int, ...]:
    pieces: list[str | int] = []
    for index, piece in enumerate(_PLACEHOLDER.split(part)):
        if index % 2 == 0:
            if "{" in piece or "}" in piece:
                raise SettingsError(f"pattern {pattern!r}: only {{san}} and {{1}}, {{2}}… may stand in braces")
            pieces.append(piece)
        elif piece == "san":
            pieces.append(0)
        elif int(piece) <= stars:
            pieces.append(int(piece))
        else:
            raise SettingsError(f"pattern {pattern!r}: there is no {{{piece}}}, the san pattern has {stars} *")
    return tuple(pieces)


def _checked(pattern: str) -> None:
    if not pattern:
        raise SettingsError("an empty pattern matches nothing; * matches everything")
    if "**" in pattern:
        raise SettingsError(f"pattern {pattern!r}: ** means no more than *")
