"""What those who were asked for one host said, and what of it differs: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MAP, GDS, CONTROL_PLANE, EDGE = "map", "gds", "control_plane", "edge"
SOURCES = (MAP, GDS, CONTROL_PLANE, EDGE)
"""In the order in which they are shown."""

Verdict = Literal["equal", "different", "unanswered"]


@dataclass(frozen=True, slots=True)
class Said:
    """``pod`` is None when the host is unknown. With an ``error`` it is no answer; ``silent``: nothing could be said
    yet, and that is in order."""

    pod: str | None = None
    error: str = ""
    silent: bool = False

    def __str__(self) -> str:
        return f"! {self.error}" if self.error else "not asked for yet" if self.silent else self.pod or "unknown"

    def as_json(self) -> dict[str, object]:
        return {"error": self.error} if self.error else {"silent": True} if self.silent else {"pod": self.pod}


@dataclass(frozen=True, slots=True)
class Row:
    """One host. ``said``: by source."""

    host: str
    said: Mapping[str, Said]

    @property
    def verdict(self) -> Verdict:
        """A difference counts even when somebody didn't answer."""
        answers = {said.pod for said in self.said.values() if not said.error and not said.silent}
        if len(answers) > 1:
            return "different"
        return "unanswered" if any(said.error for said in self.said.values()) else "equal"

    def as_json(self) -> dict[str, object]:
        said = {name: self.said[name].as_json() for name in SOURCES if name in self.said}
        return {"host": self.host, "verdict": self.verdict, **said}


@dataclass(slots=True)
class Tally:
    """What a comparison came to. ``silent``: hosts that the control plane hasn't been asked for yet, in lookup mode;
    ``settled``: hosts that differed at first and didn't a moment later."""

    hosts: int = 0
    equal: int = 0
    silent: int = 0
    settled: int = 0
    different: list[Row] = field(default_factory=list)
    unanswered: list[Row] = field(default_factory=list)

    def count(self, row: Row) -> None:
        self.hosts += 1
        self.silent += any(said.silent for said in row.said.values())
        match row.verdict:
            case "equal":
                self.equal += 1
            case "different":
                self.different.append(row)
            case _:
                self.unanswered.append(row)

    def count_again(self, row: Row) -> None:
        """The newer answer for a host that differed; it was counted already, and taken out of ``different``."""
        self.settled += row.verdict == "equal"
        self.hosts -= 1
        self.silent -= any(said.silent for said in row.said.values())
        self.count(row)
