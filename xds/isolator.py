"""Runs the search for a record that Envoy rejects: a NACK starts it, and the answers of the same Envoy lead it.

While it runs, what else changes is published with its trials: late by the time of an ACK, and never lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from xds.delta import Content, Delta, Key
from xds.directory import Directory
from xds.isolation import Isolation, Ledger, Trial
from xds.protocol.state import Client, Settled
from xds.resources.types import ResourceId, ResourceType

log = structlog.get_logger()

OTHERS = 0.1
"""Seconds between two looks at whether the other Envoys have answered, too: what one of them ACKs isn't at fault."""
PATIENCE = 10.0
"""Seconds that the others have for that, and the witness for its answer to a trial."""
REST = 15.0
"""Seconds in which a witness that led to nothing starts no other search; then what it rejected last is searched for
again, and twice the time after each further search that leads to nothing."""
LONGEST_REST = 3600.0
"""Seconds."""


class Publisher(Protocol):
    """What a search needs of the pipeline."""

    directory: Directory

    def pending(self) -> Mapping[Key, Content]:
        """The records that changed and aren't published yet, with what they said before."""

    def publish_now(self, delta: Delta) -> Collection[ResourceId]:
        """Publishes what is pending, and then ``delta``; returns the resources that this changed."""

    def version(self, resource: ResourceId) -> str | None:
        """What is published of a resource; None when it was removed."""

    def records(self, resource: ResourceId) -> Iterable[Key]:
        """Everything that a resource holds."""


@dataclass(frozen=True, slots=True)
class _Nack:
    witness: Client
    node: str
    settled: Settled
    since: float


@dataclass(frozen=True, slots=True)
class _Rest:
    until: float
    seconds: float


@dataclass
class _Search:
    isolation: Isolation
    nack: _Nack
    resources: set[ResourceId]
    """Those that were rejected, and what was published with them since: a NACK is of all that a response holds."""
    rejected: dict[ResourceId, str]
    """What the witness NACKed last: when others ACKed all of it, the witness is the odd one."""
    awaited: dict[ResourceId, str]
    answers: dict[ResourceId, bool]
    """To this trial: the same content may have been rejected before, in a response that held something else too."""
    trial: int = 0


class Isolator:
    """``later(seconds, call)`` and ``clock()`` are the event loop's, or a test's; ``streams`` are the open ones."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
        streams: Callable[[], Iterable[Client]] = tuple,
    ) -> None:
        self.ledger = Ledger()
        self.searches = 0
        self._streams = streams
        self._publisher = publisher
        self._later = later
        self._clock = clock
        self._nacks: list[_Nack] = []
        self._resting: dict[str, _Rest] = {}
        self._dormant: dict[tuple[Client, ResourceType], _Nack] = {}
        """The last NACKs of those that rest."""
        self._search: _Search | None = None

    @property
    def busy(self) -> bool:
        """A search runs: what changes goes with its trials."""
        return self._search is not None

    @property
    def searching(self) -> bool:
        """A search runs, or may begin soon."""
        return self._search is not None or bool(self._nacks)

    def settled(self, witness: Client, node: str, settled: Settled) -> None:
        """An Envoy ACKed or NACKed something."""
        if settled.error is None:
            self.ledger.accepted(settled.kind, settled.versions)
        else:
            self._nacks.append(_Nack(witness, node, settled, self._clock()))
            self._later(OTHERS, self._consider)
        search = self._search
        if search is None:
            return
        if search.nack.witness is witness:
            for name, version in settled.versions.items():
                resource = settled.kind, name
                if version is not None and search.awaited.get(resource) == version:
                    search.answers[resource] = settled.error is None
            self._judge(search)
        elif self._others_took(search):
            search.isolation.contrary = True
            self._give_up(search)

    def _others_took(self, search: _Search) -> bool:
        """All that the witness rejected last was ACKed by others."""
        return bool(search.rejected) and all(self.ledger.is_proven(*one) for one in search.rejected.items())

    def returned(self, kind: ResourceType, versions: Mapping[str, str | None]) -> None:
        """An Envoy came with what it holds."""
        news = self.ledger.news(kind, versions)
        current = {name: version for name in news if (version := self._publisher.version((kind, name))) is not None}
        self.ledger.returned(kind, news, current)

    def gone(self, witness: Client) -> None:
        """A stream ended."""
        self._nacks = [nack for nack in self._nacks if nack.witness is not witness]
        self._dormant = {key: nack for key, nack in self._dormant.items() if nack.witness is not witness}
        search = self._search
        if search is not None and search.nack.witness is witness:
            self._give_up(search)

    def interrupt(self) -> None:
        """Something large must go out, in slices, which a trial couldn't: the search is begun anew after that."""
        search = self._search
        if search is None:
            return
        self._publish(search, search.isolation.give_up())
        self._search = None
        self._nacks.append(search.nack)
        log.info("isolation.interrupted", node=search.nack.node, trials=search.isolation.trials)
        self._later(OTHERS, self._consider)

    def _consider(self) -> None:
        waiting: list[_Nack] = []
        while self._nacks and self._search is None:
            nack = self._nacks.pop(0)
            if self._rests(nack.node):
                self._dormant[nack.witness, nack.settled.kind] = nack
                continue
            resources = {
                (nack.settled.kind, status.name)
                for status in nack.witness.resources(nack.settled.kind)
                if status.error and not self._is_proven((nack.settled.kind, status.name))
            }
            if self._clock() < nack.since + PATIENCE and self._unanswered(nack.witness, resources):
                waiting.append(nack)
                continue
            suspects = self.ledger.suspects(resources, self._publisher.records, nack.settled.error or "")
            if suspects:
                self._begin(nack, resources, suspects)
            elif resources:
                log.error("isolation.impossible", node=nack.node, resources=len(resources), reason=nack.settled.error)
        self._nacks += waiting
        if waiting:
            self._later(OTHERS, self._consider)

    def _unanswered(self, witness: Client, resources: Collection[ResourceId]) -> bool:
        """Some other Envoy hasn't said yet how it takes what this one rejected."""
        return any(
            (kind, status.name) in resources
            and not status.error
            and (status.in_flight or status.version != self._publisher.version((kind, status.name)))
            for stream in self._streams()
            if stream is not witness
            for kind in {kind for kind, _ in resources}
            for status in stream.resources(kind)
        )

    def _is_proven(self, resource: ResourceId) -> bool:
        version = self._publisher.version(resource)
        return version is None or self.ledger.is_proven(resource, version)

    def _begin(self, nack: _Nack, resources: set[ResourceId], suspects: dict[Key, Content]) -> None:
        self.searches += 1
        # What is pending would be published with the first trial, which must hold nothing that isn't proven.
        suspects = {**self._publisher.pending(), **suspects}
        rejected = {one: version for one in resources if (version := self._publisher.version(one)) is not None}
        self._search = search = _Search(Isolation(suspects), nack, resources, rejected, {}, {})
        log.info("isolation.begins", node=nack.node, suspects=len(suspects), reason=nack.settled.error)
        self._publish(search, search.isolation.begin())
        self._judge(search)

    def _publish(self, search: _Search, trial: Trial) -> None:
        directory, node = self._publisher.directory, search.nack.node
        if search.trial:
            search.isolation.joined(self._publisher.pending())
        reason = f"is being tried: Envoy {node} rejects it or what came with it: {search.nack.settled.error}"
        delta = directory.withhold(trial.withhold, reason).merged(directory.restore(trial.restore))
        changed = self._publisher.publish_now(delta)
        search.resources.update(resource for resource in changed if resource[0] is search.nack.settled.kind)
        versions = {resource: self._publisher.version(resource) for resource in search.resources}
        search.awaited = {resource: version for resource, version in versions.items() if version is not None}
        search.answers.clear()
        search.trial += 1
        number = search.trial
        self._later(PATIENCE, lambda: self._waited(search, number))

    def _judge(self, search: _Search) -> None:
        """Goes on as far as the witness's answers lead."""
        while self._search is search and (accepted := self._verdict(search)) is not None:
            trial = search.isolation.after(accepted=accepted)
            if trial is not None:
                self._publish(search, trial)
            if trial is None or search.isolation.over:
                if search.isolation.bad and not _credible(search):
                    search.isolation.contrary = True
                    self._give_up(search)
                else:
                    self._end(search)

    def _verdict(self, search: _Search) -> bool | None:
        """None as long as the witness hasn't answered."""
        if False in search.answers.values():
            search.rejected = {one: search.awaited[one] for one, taken in search.answers.items() if not taken}
            return False
        open_ = {
            name: version for (kind, name), version in search.awaited.items() if (kind, name) not in search.answers
        }
        for status in search.nack.witness.resources(search.nack.settled.kind):
            if status.name in open_ and (status.version != open_[status.name] or status.in_flight):
                return None
        return True

    def _waited(self, search: _Search, number: int) -> None:
        if self._search is search and search.trial == number:
            log.warning("isolation.no_answer", node=search.nack.node, trials=search.isolation.trials)
            self._rest(search)
            self._give_up(search)

    def _give_up(self, search: _Search) -> None:
        self._publish(search, search.isolation.give_up())
        self._end(search)

    def _end(self, search: _Search) -> None:
        self._search = None
        isolation = search.isolation
        if isolation.contrary:
            log.warning("isolation.contrary", node=search.nack.node, reason="it rejects what is proven, or everything")
            self._rest(search)
        elif isolation.bad:
            self._resting.pop(search.nack.node, None)
        self._publisher.directory.blame(
            isolation.bad, f"Envoy {search.nack.node} rejects it: {search.nack.settled.error}"
        )
        for kind, name in isolation.bad:
            log.error("record.refused", kind=kind, name=name, node=search.nack.node, reason=search.nack.settled.error)
        log.info("isolation.ends", node=search.nack.node, refused=len(isolation.bad), trials=isolation.trials)
        self._consider()

    def _rest(self, search: _Search) -> None:
        now, node = self._clock(), search.nack.node
        self._resting = {name: rest for name, rest in self._resting.items() if rest.until + LONGEST_REST > now}
        before = self._resting.get(node)
        seconds = min(2 * before.seconds, LONGEST_REST) if before else REST
        self._resting[node] = _Rest(now + seconds, seconds)
        self._dormant[search.nack.witness, search.nack.settled.kind] = search.nack
        self._later(seconds, self._wake)

    def _rests(self, node: str) -> bool:
        rest = self._resting.get(node)
        return rest is not None and rest.until > self._clock()

    def _wake(self) -> None:
        """What was rejected during a rest that is over may still be at fault."""
        woken = [key for key, nack in self._dormant.items() if not self._rests(nack.node)]
        self._nacks += [replace(self._dormant.pop(key), since=self._clock()) for key in woken]
        self._consider()


def _credible(search: _Search) -> bool:
    """The witness accepts something of the kind; one that takes nothing at all proves nothing against a record."""
    statuses = search.nack.witness.resources(search.nack.settled.kind)
    return any(status.version and not status.in_flight for status in statuses)
