"""Joins directory, resources and cache: what GDS says comes in, what the Envoys should have is published.

A change that comes alone is published at once; those that come within ``coalesce`` seconds of a publish wait for
that time to pass and go together. While a record that Envoy rejected is searched for, they go with the search's trials
(`xds.isolator`). Pairs of first characters that became crowded are split in steps (`xds.rollout`), between which the
changes go on. A removed pod's cluster stays for ``removal_grace`` seconds after the routes to it
are gone: requests under way must end somewhere.

What takes long is done in slices, and whoever runs them lets others have their turn between. First the directory and
the tables take a large change: until they have, nothing of it is seen, nothing is published, and a search or a split
waits. Then its tables are published in portions, each as it should be; what changes meanwhile goes before the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from xds.cache import Cache
from xds.delta import Content, Delta, Key
from xds.directory import Directory
from xds.gds.model import Snapshot, Transaction
from xds.isolator import Isolator
from xds.measures import Measures
from xds.protocol.state import Client, Settled
from xds.resources.edge import Causes, EdgeResources
from xds.resources.listeners import Edge
from xds.resources.secrets import CertificatePair
from xds.resources.types import CLUSTER, ENDPOINT, ROUTE, Resource, ResourceId, ResourceType, Update
from xds.rollout import Rollout
from xds.slices import Work, drained, emptied

log = structlog.get_logger()

SEARCHING = 0.005
"""Seconds until it is looked again whether a search, or the work on a large change, has ended."""
MANY = 1_000
"""Changes that the tables take at once; more are taken in slices."""
TOGETHER = 32
"""Tables of one portion, at most."""
PORTION = 0.008
"""Seconds after which no further table is encoded for a portion."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds."""

    coalesce: float = 0.005
    removal_grace: float = 2.0


class Pipeline:
    """The mirror's follower. ``later(seconds, call)`` and ``clock()`` are the event loop's, or a test's; ``takers``
    are the streams of the connected Envoys. ``taken`` is given what the directory changes by, but for the first
    directory, and may keep and empty it. ``on_published`` is told of the newest revision of which everything is
    published each time that something is, be it the one before."""

    def __init__(
        self,
        resources: EdgeResources,
        cache: Cache,
        edge: Edge,
        pace: Pace,
        *,
        later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
        on_complete: Callable[[], None] = lambda: None,
        takers: Callable[[], Iterable[Client]] = tuple,
        taken: Callable[[Delta], None] | None = None,
        measures: Measures | None = None,
        on_published: Callable[[str, int], None] = lambda epoch, revision: None,
    ) -> None:
        self.directory = Directory()
        self.published = 0
        """The newest revision of which everything is published; the directory may hold a newer one."""
        self.publishes = 0
        self.changes = 0
        self.isolator = Isolator(
            self,
            later=lambda seconds, call: later(seconds, lambda: self._when_quiet(call)),
            clock=clock,
            streams=takers,
        )
        self.rollout = Rollout(
            resources.step,
            self._publish_step,
            self.version,
            takers,
            lambda: self.isolator.busy or not self.quiet,
            later=later,
            clock=clock,
        )
        self._resources = resources
        self._cache = cache
        self._edge = edge
        self._pace = pace
        self._later = later
        self._clock = clock
        self._on_complete = on_complete
        self._taken = taken
        self._measures = measures or Measures()
        self._pending_since: float | None = None
        self._on_published = on_published
        self._pending = Delta({}, {})
        self._scheduled = False
        self._published_at = float("-inf")
        self._leaving: dict[str, object] = {}
        self._working = self._laying = False
        """What is cut off now leaves tables that hold half of a change: nothing is published any more."""
        self._backlog: Causes = {}
        """The tables that a large change changed and that aren't published yet."""
        self._parting: dict[str, None] = {}
        """The removed pods whose last routes are in the backlog."""
        self._waiting: list[Callable[[], None]] = []
        """What a search would have done meanwhile."""

    @property
    def quiet(self) -> bool:
        """No large change is being taken or published."""
        return not self._working and not self._backlog

    @property
    def position(self) -> tuple[str, int] | None:
        """The epoch and revision held; None before the first snapshot."""
        return (self.directory.epoch, self.directory.revision) if self.directory.complete else None

    def replace(self, snapshot: Snapshot) -> None:
        """`replacing` at once."""
        drained(self.replacing(snapshot))

    def replacing(self, snapshot: Snapshot) -> Work[None]:
        """Takes a whole snapshot in slices; nothing else may be taken meanwhile."""
        yield from self.taking(lambda directory: directory.loading(snapshot))

    def taking(self, making: Callable[[Directory], Work[tuple[Directory, Delta] | None]]) -> Work[None]:
        """Takes what ``making`` makes of the directory, with what differs, in slices; None leaves it as it is. Nothing
        else may be taken meanwhile."""
        with self._work():
            yield from self._finishing()
            made = yield from making(self.directory)
            if made is None:
                return
            fresh, delta = made
            if self.directory.complete:
                self.directory.become(fresh)
                self._said_aside()
                yield from self._taking(delta)
            else:
                yield from self._beginning(fresh, delta)

    def _beginning(self, fresh: Directory, delta: Delta) -> Work[None]:
        """The directory is complete when everything is published, and not before."""
        update = dict((yield from self._resources.laying(delta, None)))
        update |= yield from self._resources.encoding_all()
        update[CLUSTER] = {**update[CLUSTER], **self._resources.own_clusters()}
        yield from emptied(delta.domains)
        update |= yield from self._resources.scoping()
        checked = yield from self._cache.checking(update)
        edge = None
        while edge is not self._edge:  # others had their turn, and may have said another
            edge = self._edge
            made = yield from self._resources.listening(edge)
            yield
        update |= made
        self.directory.become(fresh)
        self._said_aside()
        self._cache.publish(update, checked)
        self._published_at = self._clock()
        self.publishes += 1
        self._measures.triggered("snapshot")
        self._on_complete()

    def apply(self, transaction: Transaction) -> None:
        """`applying` at once. Raises HistoryGone when the transaction doesn't follow what is held."""
        drained(self.applying(transaction))

    def applying(self, transaction: Transaction) -> Work[None]:
        """Takes a transaction in slices; nothing else may be taken meanwhile. Raises HistoryGone as `apply`."""
        with self._work():
            if len(transaction.changes) > MANY:
                yield from self._finishing()
            before = self.directory.set_aside_total
            delta = yield from self.directory.applying(transaction)
            if self.directory.set_aside_total > before:
                self._said_aside()
            yield from self._taking(delta)

    def changing(self, change: Callable[[Directory], Delta]) -> Work[None]:
        """Takes what ``change`` does to the directory in place; nothing else may be taken meanwhile."""
        with self._work():
            yield from self._taking(change(self.directory))

    def settled(self, witness: Client, node: str, settled: Settled) -> None:
        """An Envoy ACKed or NACKed something."""
        if self.isolator.busy:
            self._when_quiet(lambda: self.isolator.settled(witness, node, settled))
        else:
            self.isolator.settled(witness, node, settled)
        self.rollout.settled(witness, settled)

    def gone(self, witness: Client) -> None:
        """A stream ended."""
        self._when_quiet(lambda: self.isolator.gone(witness))

    def listen(self, edge: Edge) -> None:
        """The listeners are to be so from now on."""
        self._edge = edge
        if self.directory.complete:
            made = self._resources.listeners(edge)
            self._cache.replace(made)
            if self._cache.publish(made):
                self._measures.triggered("listener")

    def certificates(self, pairs: Iterable[CertificatePair]) -> None:
        """Publishes these; a certificate that isn't among them any more stays as it was."""
        self._cache.publish(self._resources.secrets(pairs))

    def pending(self) -> Mapping[Key, Content]:
        """The records that changed and aren't published yet, with what they said before."""
        found: dict[Key, Content] = {("domain", name): old for name, (old, _) in self._pending.domains.items()}
        found.update({("pod", name): old for name, (old, _) in self._pending.pods.items()})
        return found

    def version(self, resource: ResourceId) -> str | None:
        """What is published of a resource; None when there is none."""
        kind, name = resource
        held = self._cache.view(kind).get(name)
        return held.version if held else None

    def records(self, resource: ResourceId) -> Iterable[Key]:
        """Everything that a resource holds."""
        return self._resources.records(resource)

    @contextmanager
    def _work(self) -> Iterator[None]:
        self._working = True
        try:
            yield
        finally:
            self._working = self._laying
            if self._pending or self._backlog:
                self._publish_soon()
            if self.quiet:  # what a search waits for may be pending: it must go on first
                self._calm()

    def _finishing(self) -> Work[None]:
        """Publishes what is left of the large change before: no two are under way at once."""
        while self._backlog:
            self._publish_portion({}, {})
            yield

    def finishing(self) -> Work[None]:
        """Publishes all that was taken, in slices; while a search runs, what is pending goes with its trials."""
        yield from self._finishing()
        if self._pending and not self.isolator.busy:
            self._publish_some()

    def _taking(self, delta: Delta) -> Work[None]:
        self.changes += len(delta)
        if delta and not self._pending:
            self._pending_since = self._clock()
        if len(delta) > MANY:
            self.isolator.interrupt()
        else:
            self._pending = self._pending.merged(delta)
            if self._taken and delta:
                self._taken(delta)
            return
        pending, self._pending = self._pending, Delta({}, {})
        self._measure(pending, delta)
        self._laying = True
        pods: dict[ResourceType, dict[str, Resource | None]] = {CLUSTER: {}, ENDPOINT: {}}
        for part in (pending, delta):
            made = yield from self._resources.laying(part, self._backlog)
            for kind, resources in made.items():
                pods[kind].update(resources)
        self._laying = False
        self._publish_portion(pods, {one: self._backlog.pop(one) for one in _pods_of(self._backlog)})
        if self._taken:
            self._taken(delta)
        else:
            yield from emptied(delta.domains)

    def _publish_soon(self) -> None:
        if self._scheduled:
            return
        wait = self._published_at + self._pace.coalesce - self._clock()
        if wait <= 0 and not self.isolator.busy and not self._backlog:
            self._publish_some()
        else:
            self._scheduled = True
            self._later(0.0 if self._backlog else max(wait, 0.0) or SEARCHING, self._due)

    def _due(self) -> None:
        if self.isolator.busy or self._working:
            self._later(SEARCHING, self._due)
        else:
            self._scheduled = False
            if self._pending or self._backlog:
                self._publish_some()

    def _publish_some(self) -> None:
        """What is pending, and the backlog's next portion."""
        self._publish_portion(*self._lay_pending())
        log.debug("published", revision=self.directory.revision, tables_left=len(self._backlog))
        if self._backlog:
            self._publish_soon()

    def _lay_pending(self) -> tuple[Update, Causes]:
        """Takes what is pending; returns the clusters and endpoints, and what changed: first what the backlog knew."""
        delta, self._pending = self._pending, Delta({}, {})
        self._measure(delta)
        causes: Causes = {}
        pods = drained(self._resources.laying(delta, causes))
        again = {one: causes.pop(one) | self._backlog.pop(one) for one in [*self._backlog] if one in causes}
        return pods, again | causes

    def publish_now(self, delta: Delta) -> Collection[ResourceId]:
        """Publishes all that is pending, and then ``delta``, whose pods leave without a grace; returns what changed."""
        self._pending = self._pending.merged(delta)
        self._measures.triggered("trial")
        if self._taken and delta:
            self._taken(Delta(dict(delta.domains), dict(delta.pods)))
        pods, causes = self._lay_pending()
        causes |= self._backlog
        self._backlog = {}
        self._publish(pods, causes, at_once=delta.pods)
        return causes.keys()

    def _publish_portion(self, pods: Update, due: Causes) -> None:
        """The pods, and tables that are ``due`` and then of the backlog, at least one each; the rest is the backlog."""
        causes = {one: due.pop(one) for one in _pods_of(due)}
        tables: dict[str, Resource | None] = {}
        until = self._clock() + PORTION
        for source in (due, self._backlog):
            every = len(source)
            while source and (len(source) == every or (len(tables) < TOGETHER and self._clock() < until)):
                one = next(iter(source))
                causes[one] = source.pop(one)
                tables.update(self._resources.encoded((one,))[ROUTE])
        self._backlog = due | self._backlog
        self._publish(pods, causes, tables)

    def _publish(
        self,
        pods: Update,
        causes: Causes,
        tables: Mapping[str, Resource | None] | None = None,
        at_once: Collection[str] = (),
    ) -> None:
        """Publishes what ``causes`` says that changed; ``tables`` when they are encoded already."""
        routes = self._resources.encoded(causes) if tables is None else {ROUTE: tables}
        changed = self._cache.publish(self._without_leaving({**pods, **routes}, at_once))
        versions = {resource: version for resource in causes if (version := self.version(resource)) is not None}
        self.isolator.ledger.published(causes, versions)
        self._published_at = self._clock()
        self.publishes += 1
        self.rollout.published(changed)
        if not self._backlog:
            self._calm()

    def _calm(self) -> None:
        """Nothing is left to be published: what waited for that comes now."""
        parting, self._parting = self._parting, {}
        for name in parting:
            self._leave(name)
        if not self._working:
            if not self._pending and self.directory.complete:
                self.published = self.directory.revision
                self._on_published(self.directory.epoch, self.published)
            waiting, self._waiting = self._waiting, []
            for call in waiting:
                self._when_quiet(call)
            self.rollout.begin()

    def _when_quiet(self, call: Callable[[], None]) -> None:
        if self.quiet:
            call()
        else:
            self._waiting.append(call)

    def _publish_step(self, update: Update) -> None:
        """It moves records to other resources, and changes none: nothing of it can be at fault."""
        self._measures.triggered("split")
        self._cache.publish(update)
        moved = [(kind, name) for kind, resources in update.items() for name in resources]
        versions = {resource: version for resource in moved if (version := self.version(resource)) is not None}
        self.isolator.ledger.published({key: {} for key in moved}, versions)
        self._published_at = self._clock()

    def _without_leaving(self, update: Update, at_once: Collection[str]) -> Update:
        """``update`` less the removals of clusters and endpoints, each of which is published when its grace is over;
        those ``at_once`` have none."""
        for name, cluster in update.get(CLUSTER, {}).items():
            self._parting.pop(name, None)
            if cluster is not None or name in at_once:
                self._leaving.pop(name, None)
            elif self._backlog:
                self._parting[name] = None
            else:
                self._leave(name)
        kept: dict[ResourceType, dict[str, Resource | None]] = {}
        for kind, resources in update.items():
            drops = kind in (CLUSTER, ENDPOINT)
            kept[kind] = {
                name: new for name, new in resources.items() if new is not None or not drops or name in at_once
            }
        return kept

    def _leave(self, name: str) -> None:
        self._leaving[name] = token = object()
        self._later(self._pace.removal_grace, partial(self._remove, name, token))

    def _remove(self, name: str, token: object) -> None:
        if self._leaving.get(name) is token:  # else it came back meanwhile, perhaps to leave again later
            del self._leaving[name]
            self._measures.triggered("removal")
            self._cache.publish({CLUSTER: {name: None}, ENDPOINT: {name: None}})

    def _measure(self, *deltas: Delta) -> None:
        """These are published now."""
        since, self._pending_since = self._pending_since, None
        if since is not None:
            self._measures.debounce.observe(self._clock() - since)
        if any(delta.domains for delta in deltas):
            self._measures.triggered("domain")
        if any(delta.pods for delta in deltas):
            self._measures.triggered("pod")

    def _said_aside(self) -> None:
        total = self.directory.set_aside_total
        if total:
            first = next(iter(self.directory.set_aside.values()))
            log.warning("gds.set_aside", total=total, kind=first.kind, name=first.name, reason=first.reason)


def _pods_of(causes: Causes) -> list[ResourceId]:
    return [one for one in causes if one[0] is not ROUTE]
