"""What several control planes tell of the same change of GDS, made one event: told once, with those that have it.

They share nothing, so each tells of a change by itself, a moment before or after the others. Pure; times are handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

TOGETHER = 1.5
"""Seconds that an event waits for the others to tell of it: within them each says in its `status` how far it is."""
_REMEMBERED = 1_000
"""Events that were told, by which a late word of the same is known."""
_IN_ORDER = "received", "published", "complete"
"""One that has told this of a revision has it of those before, too."""
_SHARED = *_IN_ORDER, "held", "released", "first_ack"
"""What all of them come to tell; the rest is about an Envoy, which is at one of them."""

_Key = tuple[str, str, int]
"""An event, an epoch, a revision."""


@dataclass(slots=True, eq=False)
class _Waiting:
    event: str
    key: _Key | None
    at: float
    by: dict[str, dict[str, Any]]
    """Who told it, and how."""
    back: bool = False
    """Who told it first went back to it: that others are further doesn't say that they have it."""
    late: bool = False


@dataclass(slots=True)
class _Far:
    """How far one of them is."""

    last: dict[str, tuple[str, int]] = field(default_factory=dict)
    """The epoch and revision of which it told last, by event."""
    held: set[tuple[str, int]] = field(default_factory=set)
    here: bool = False


class Together:
    """``urls``: of the control planes."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._far = {url: _Far() for url in urls}
        self._waiting: deque[_Waiting] = deque()
        self._told: dict[_Key, set[str]] = {}
        """Those that have what was told, the latest last."""

    @property
    def here(self) -> Collection[str]:
        """Those that can be heard."""
        return [url for url, far in self._far.items() if far.here]

    def lost(self, url: str) -> None:
        """It isn't waited for until it is heard again."""
        self._far[url].here = False

    def heard(self, url: str, event: str, told: dict[str, Any], at: float) -> None:
        """It says so."""
        far = self._far[url]
        far.here = True
        if event == "status":
            self._note_status(far, told)
        if event not in _SHARED or told.get("revision") is None:
            self._waiting.append(_Waiting(event, None, at, {url: told}))
            return
        epoch, revision = told.get("epoch", ""), told["revision"]
        key = event, epoch, revision
        before = far.last.get(event)
        far.last[event] = epoch, revision
        if event == "held":
            far.held.add((epoch, revision))
        elif event == "released":
            far.held.discard((epoch, revision))
        waiting = next((one for one in self._waiting if one.key == key and not one.late), None)
        if waiting is not None and url not in waiting.by:
            waiting.by[url] = told
            if event == "complete":  # one without Envoys says so at once, and it is so when the last one does
                self._waiting.remove(waiting)
                self._waiting.append(waiting)
            return
        known = self._told.get(key)
        late = waiting is None and known is not None and url not in known
        if late and known is not None:
            known.add(url)
            if event == "first_ack":
                return
        back = before is not None and before[0] == epoch and revision <= before[1]
        self._waiting.append(_Waiting(event, key, at, {url: told}, back, late))

    def due(self, at: float) -> list[tuple[str, dict[str, Any]]]:
        """What is to be told now, in the order in which it happened."""
        found = []
        while self._waiting and self._is_ready(self._waiting[0], at):
            found.append(self._made(self._waiting.popleft()))
        return found

    def wakes(self, at: float) -> float | None:
        """Seconds until something is due that nobody says more about; None while nothing waits."""
        return max(0.0, self._waiting[0].at + TOGETHER - at) if self._waiting else None

    @staticmethod
    def _note_status(far: _Far, told: dict[str, Any]) -> None:
        epoch = told.get("epoch", "")
        far.last["received"] = epoch, told.get("revision", -1)
        far.last["published"] = epoch, told.get("published", -1)
        if told.get("hold", {}).get("state") == "none":
            far.held.clear()

    def _is_ready(self, one: _Waiting, at: float) -> bool:
        if one.key is None or one.late or one.event == "first_ack" or at >= one.at + TOGETHER:
            return True
        return all(self._has(url, one) for url in self.here)

    def _has(self, url: str, one: _Waiting) -> bool:
        if url in one.by or one.key is None:
            return url in one.by
        event, epoch, revision = one.key
        far = self._far[url]
        last = far.last.get(event)
        if last is None or one.back or event not in _IN_ORDER or (epoch, revision) in far.held:
            return False
        return last[0] == epoch and last[1] >= revision

    def _made(self, one: _Waiting) -> tuple[str, dict[str, Any]]:
        words = [*one.by.values()]
        made = dict(words[0])
        having = [url for url in self._far if (url in one.by if one.late else self._has(url, one))]
        if one.event in _IN_ORDER:
            for what, of_all in (("envoys", sum), ("pending", sum), ("skipped", sum), ("seconds", max)):
                if found := [told[what] for told in words if told.get(what) is not None]:
                    made[what] = of_all(found)
        made["control_planes"] = having
        if one.key is not None and one.event != "first_ack":
            known = self._remembered(one.key, having, anew=not one.late)
            made["lacking"] = [url for url in self._far if url not in known]
        elif one.key is not None:
            self._remembered(one.key, having, anew=True)
        if one.late:
            made["late"] = True
        return one.event, made

    def _remembered(self, key: _Key, having: Collection[str], *, anew: bool) -> Collection[str]:
        """All that have it by now."""
        known = self._told.pop(key, set())
        self._told[key] = known = set(having) if anew else known | set(having)
        while len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]
        return known
