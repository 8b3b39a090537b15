"""Joins directory, resources and cache: what GDS says comes in, what the Envoys should have is published.

A change that comes alone is published at once; those that come within ``coalesce`` seconds of a publish wait for
that time to pass and go together. While a record that Envoy rejected is searched for, they go with the search's trials
(`xds.isolator`). Pairs of first characters that became crowded are split in steps (`xds.rollout`), between which the
changes go on. A removed pod's cluster stays for ``removal_grace`` seconds after the routes to it
are gone: requests under way must end somewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import structlog

from xds.cache import Cache
from xds.directory import Content, Delta, Directory, Key
from xds.gds.model import Snapshot, Transaction
from xds.isolator import Isolator
from xds.protocol.state import Client, Settled
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.resources.secrets import CertificatePair
from xds.resources.types import CLUSTER, ENDPOINT, Resource, ResourceId, ResourceType, Update
from xds.rollout import Rollout

log = structlog.get_logger()

SEARCHING = 0.005
"""Seconds until it is looked again whether a search has ended."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds."""

    coalesce: float = 0.005
    removal_grace: float = 2.0


class Pipeline:
    """The mirror's follower. ``later(seconds, call)`` and ``clock()`` are the event loop's, or a test's; ``takers``
    are the streams of the connected Envoys."""

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
    ) -> None:
        self.directory = Directory()
        self.publishes = 0
        self.changes = 0
        self.isolator = Isolator(self, later=later, clock=clock, streams=takers)
        self.rollout = Rollout(
            resources.step,
            self._publish_step,
            self.version,
            takers,
            lambda: self.isolator.busy,
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
        self._pending = Delta({}, {})
        self._scheduled = False
        self._published_at = float("-inf")
        self._leaving: dict[str, object] = {}

    @property
    def position(self) -> tuple[str, int] | None:
        """The epoch and revision held; None before the first snapshot."""
        return (self.directory.epoch, self.directory.revision) if self.directory.complete else None

    def replace(self, snapshot: Snapshot) -> None:
        first = not self.directory.complete
        delta = self.directory.replace(snapshot)
        self._said_aside()
        if not first:
            self._take(delta)
            return
        update = dict(self._resources.update(delta))
        update[CLUSTER] = {**update[CLUSTER], **self._resources.own_clusters()}
        update |= self._resources.fixed(self._edge)
        update |= self._resources.every_table()
        self._cache.publish(update)
        self._published_at = self._clock()
        self.publishes += 1
        self._on_complete()

    def apply(self, transaction: Transaction) -> None:
        """Raises HistoryGone when the transaction doesn't follow what is held."""
        before = self.directory.set_aside_total
        self._take(self.directory.apply(transaction))
        if self.directory.set_aside_total > before:
            self._said_aside()

    def settled(self, witness: Client, node: str, settled: Settled) -> None:
        """An Envoy ACKed or NACKed something."""
        self.isolator.settled(witness, node, settled)
        self.rollout.settled(witness, settled)

    def listen(self, edge: Edge) -> None:
        """The listeners are to be so from now on."""
        self._edge = edge
        if self.directory.complete:
            self._cache.publish(self._resources.listeners(edge))

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

    def _take(self, delta: Delta) -> None:
        if not delta:
            return
        self.changes += len(delta.domains) + len(delta.pods)
        self._pending = self._pending.merged(delta)
        if self._scheduled:
            return
        wait = self._published_at + self._pace.coalesce - self._clock()
        if wait <= 0 and not self.isolator.busy:
            self.publish_now()
        else:
            self._scheduled = True
            self._later(max(wait, 0.0) or SEARCHING, self._due)

    def _due(self) -> None:
        if self.isolator.busy:
            self._later(SEARCHING, self._due)
        else:
            self._scheduled = False
            if self._pending:
                self.publish_now()

    def publish_now(self, delta: Delta | None = None) -> Collection[ResourceId]:
        """Publishes what is pending, and then ``delta``, whose pods leave without a grace; returns what changed."""
        at_once = delta.pods if delta else ()
        delta, self._pending = self._pending.merged(delta) if delta else self._pending, Delta({}, {})
        update = self._resources.update(delta)
        causes = self._resources.causes(delta)
        changed = self._cache.publish(self._without_leaving(update, at_once))
        versions = {resource: version for resource in causes if (version := self.version(resource)) is not None}
        self.isolator.ledger.published(causes, versions)
        self._published_at = self._clock()
        self.publishes += 1
        self.rollout.published(changed)
        self.rollout.begin()
        log.debug("published", revision=self.directory.revision, domains=len(delta.domains), pods=len(delta.pods))
        return causes.keys()

    def _publish_step(self, update: Update) -> None:
        """It moves records to other resources, and changes none: nothing of it can be at fault."""
        self._cache.publish(update)
        moved = [(kind, name) for kind, resources in update.items() for name in resources]
        versions = {resource: version for resource in moved if (version := self.version(resource)) is not None}
        self.isolator.ledger.published({key: {} for key in moved}, versions)
        self._published_at = self._clock()

    def _without_leaving(self, update: Update, at_once: Collection[str]) -> Update:
        """``update`` less the removals of clusters and endpoints, each of which is published when its grace is over;
        those ``at_once`` have none."""
        for name, cluster in update[CLUSTER].items():
            if cluster is not None or name in at_once:
                self._leaving.pop(name, None)
            else:
                self._leaving[name] = token = object()
                self._later(self._pace.removal_grace, _bound(self._remove, name, token))
        kept: dict[ResourceType, dict[str, Resource | None]] = {}
        for kind, resources in update.items():
            drops = kind in (CLUSTER, ENDPOINT)
            kept[kind] = {
                name: new for name, new in resources.items() if new is not None or not drops or name in at_once
            }
        return kept

    def _remove(self, name: str, token: object) -> None:
        if self._leaving.get(name) is token:  # else it came back meanwhile, perhaps to leave again later
            del self._leaving[name]
            self._cache.publish({CLUSTER: {name: None}, ENDPOINT: {name: None}})

    def _said_aside(self) -> None:
        total = self.directory.set_aside_total
        if total:
            first = next(iter(self.directory.set_aside.values()))
            log.warning("gds.set_aside", total=total, kind=first.kind, name=first.name, reason=first.reason)


def _bound(call: Callable[[str, object], None], name: str, token: object) -> Callable[[], None]:
    return lambda: call(name, token)
