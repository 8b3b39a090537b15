"""Publishes the steps of pairs that are split or joined, each once every connected Envoy has taken the one before.

What else changes is published meanwhile, as ever. An Envoy that doesn't take a step holds it up for `PATIENCE`
seconds: then the others go on, and requests to the domains of the pair may fail there until it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from xds.cache import Changed
from xds.protocol.state import Client, Settled
from xds.resources.types import ResourceId, Update

log = structlog.get_logger()

LOOK = 0.25
"""Seconds between two looks at what the Envoys hold, beside what they say: one may have gone or come."""
PATIENCE = 15.0
"""Seconds that an Envoy has to take a step."""


class Rollout:
    """``step`` takes the next step, or says None; ``publish`` publishes it; ``version`` tells what is published;
    ``takers`` are the open streams; nothing is begun while ``busy``."""

    def __init__(
        self,
        step: Callable[[], Update | None],
        publish: Callable[[Update], None],
        version: Callable[[ResourceId], str | None],
        takers: Callable[[], Iterable[Client]],
        busy: Callable[[], bool],
        *,
        later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
    ) -> None:
        self.steps = 0
        self.untaken = 0
        """Of them, those that some Envoy didn't take in time."""
        self._step = step
        self._publish = publish
        self._version = version
        self._takers = takers
        self._busy = busy
        self._later = later
        self._clock = clock
        self._active = False
        self._awaited: dict[ResourceId, set[str]] = {}
        """What the step changed, in the versions that it has had since."""
        self._missing: dict[Client, set[ResourceId]] = {}
        self._until = 0.0

    @property
    def active(self) -> bool:
        return self._active

    @property
    def lacking(self) -> int:
        """Envoys that the step which is under way waits for."""
        return sum(map(bool, self._missing.values()))

    def begin(self) -> None:
        """Goes on until there is no step left; to be called after each publish."""
        if not self._active:
            self._active = True
            self._next()

    def published(self, changed: Changed) -> None:
        """Something was published, by whomever: what a step brought is in its newer versions, too."""
        for kind, names in changed.items():
            for name in names:
                if (kind, name) in self._awaited and (version := self._version((kind, name))) is not None:
                    self._awaited[kind, name].add(version)

    def settled(self, taker: Client, settled: Settled) -> None:
        """An Envoy ACKed or NACKed something."""
        missing = self._missing.get(taker)
        if not missing or settled.error is not None:
            return
        for name, version in settled.versions.items():
            resource = settled.kind, name
            if resource in missing and version in self._awaited[resource]:
                missing.discard(resource)
        if not missing and not self._lacking():
            self._next()

    def _next(self) -> None:
        self._awaited, self._missing = {}, {}
        if self._busy():
            self._later(LOOK, self._next)
            return
        while (update := self._step()) is not None:
            self._take(update)
            if self._lacking():
                self._watch_later()
                return
        self._active = False

    def _take(self, update: Update) -> None:
        self.steps += 1
        self._until = self._clock() + PATIENCE
        self._publish(update)
        self._missing = {}
        self._awaited = {
            (kind, name): {version}
            for kind, resources in update.items()
            for name in resources
            if (version := self._version((kind, name))) is not None
        }

    def _lacking(self) -> bool:
        """Some Envoy hasn't taken the step. Those that came since it was published are asked too."""
        known, self._missing = self._missing, {}
        for taker in self._takers():
            missing = known[taker] if taker in known else self._missing_at(taker)
            if missing or taker in known:  # else it may just not have asked yet
                self._missing[taker] = missing
        return any(self._missing.values())

    def _missing_at(self, taker: Client) -> set[ResourceId]:
        """All of it, so far as is known at once: whoever has any of a kind is sent every one."""
        kinds = {kind for kind, _ in self._awaited}
        taken = {kind for kind in kinds if next(iter(taker.resources(kind)), None) is not None}
        return {resource for resource in self._awaited if resource[0] in taken}

    def _lacks(self, taker: Client, missing: set[ResourceId]) -> set[ResourceId]:
        """Those of ``missing`` that it asked for and doesn't hold."""
        return {
            (kind, status.name)
            for kind in {kind for kind, _ in missing}
            for status in taker.resources(kind)
            if (kind, status.name) in missing
            and (status.in_flight or status.version not in self._awaited[kind, status.name])
        }

    def _watch_later(self) -> None:
        step = self.steps
        self._later(LOOK, lambda: self._watch(step))

    def _watch(self, step: int) -> None:
        if step != self.steps or not self._awaited:
            return
        for taker, missing in self._missing.items():
            if missing:
                missing &= self._lacks(taker, missing)
        if not self._lacking():
            self._next()
        elif self._clock() >= self._until:
            self.untaken += 1
            log.warning("rollout.not_taken", step=step, streams=self.lacking, seconds=PATIENCE)
            self._next()
        else:
            self._watch_later()
