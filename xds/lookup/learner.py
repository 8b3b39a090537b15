"""Makes of GDS's answers what the gate follows, and asks again in the background: the mirror's place in lookup mode.

What it knows is GDS's side of the gate: no copy is kept here. An epoch begins with `EPOCH`; it and the revision come
from disk, where there are any, so they outlive a restart. Each control plane learns by itself and counts by itself;
what the Envoys get is versioned by content, so replicas that know the same agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import structlog

from xds.busy_hosts import BusyHosts
from xds.errors import GdsError, OrderError, SettingsError
from xds.gate import Gate
from xds.gds.homes import Homes
from xds.gds.mirror import Follower, MirrorStatus
from xds.gds.model import Change, DeleteDomain, DeletePod, Pod, PutDomain, PutPod, Snapshot, Transaction
from xds.in_slices import InSlices
from xds.lookup import pods_file
from xds.lookup.asking import Asker, NotAnswered
from xds.lookup.departures import Departures
from xds.lookup.imported import Imported
from xds.lookup.preload import Preloaded
from xds.lookup.resolver import Limits, Resolver
from xds.lookup.rounds import MARGIN, Rounds
from xds.server.files import Files
from xds.slices import Work, cut, emptied

log = structlog.get_logger()

EPOCH = "lookup-"
_TOGETHER = 50
"""Changes of one transaction: small enough for the guard to let it pass unseen."""
_BUSY, _LOOKS = 10.0, 30
"""Seconds after which it is looked who is busy; and how many looks until what was before is forgotten."""
_FAVOURED = 2_000
_AFTER = 0.002
"""Seconds by which the push comes after the answer to who waits for it; what else is learned meanwhile goes along."""
_TRYING = 0.05
_LOOK = 0.5
"""Seconds after which it is looked again what is due, or whether the pods file has changed, at the latest."""


@dataclass(frozen=True, slots=True)
class Options:
    """As the settings ``lookup`` of the same names; ``share`` and ``minimum`` are the guard's."""

    pods: Path
    limits: Limits = field(default_factory=Limits)
    refresh: float = 30.0
    refresh_rate: float = 200.0
    refreshing: int = 16
    """Questions in the background that are under way at a time."""
    grace: float = 60.0
    domains: int = 1_000_000
    share: float = 0.10
    minimum: int = 100
    few: int = 3
    """The setting ``lookup.minimum``."""


class Learner:
    """One task runs `run`; `where` and `refresh` may be called at any time after it began, by any number. ``gate`` is
    read; ``follower`` is told, and tells the gate."""

    def __init__(
        self,
        gate: Gate,
        follower: Follower,
        asker: Asker,
        options: Options,
        in_slices: InSlices,
        *,
        busy: BusyHosts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.status = MirrorStatus()
        self.full = 0
        """Answers that weren't kept, as too many domains are known."""
        self.pods_error = ""
        """Why the pods file can't be used as it is now."""
        self.rounds = Rounds(options.refresh, options.refresh_rate)
        self.departures = Departures(options.grace, options.share, options.minimum, options.few)
        self.imported = Imported(options.grace, options.few)
        self.resolver = Resolver(asker, options.limits, self._said, self._failed, clock=clock)
        self._gate = gate
        self._follower = follower
        self._options = options
        self._in_slices = in_slices
        self._clock = clock
        self._busy = busy or BusyHosts()
        self._coming: dict[str, Change] = {}
        """What was said and isn't followed yet, by domain."""
        self._first_words: set[str] = set()
        """Of these, what GDS says for the first time of hosts that are known from a map."""
        self._pods_said: Sequence[Pod] | None = None
        """The pods file, as long as it isn't followed."""
        self._gone: deque[dict[str, None]] = deque()
        """Domains that are withdrawn together; the first of them may be under way."""
        self._recovered = False
        """GDS has a domain again whose withdrawal is held."""
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        self._pods_file = Files(options.pods)

    @property
    def round_seconds(self) -> float:
        """How long it takes until all that is known has been asked again."""
        return self.rounds.seconds(self._clock())

    async def run(self) -> None:
        """Learns until it is cancelled; no fault of GDS ends it. Raises SettingsError when there is no pods file."""
        pods = await asyncio.to_thread(self._read_pods)
        await self._in_slices(self._gate.serving_kept())
        await self._in_slices(self._beginning(pods))
        self.status.state = "following"
        log.info("lookup.began", domains=len(self._gate.followed.domains), pods=len(pods))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._writing(), name="lookup-writing")
                tasks.create_task(self._refreshing(), name="lookup-refreshing")
                tasks.create_task(self._watching_pods(), name="lookup-pods")
                tasks.create_task(self._favouring(), name="lookup-busy")
        finally:
            await self.resolver.close()

    @property
    def missing(self) -> int:
        """Domains that GDS has no more, and that are still routed."""
        return len(self.departures) + self.imported.missing

    @property
    def doubtful(self) -> bool:
        """GDS says of too many known domains that it hasn't got them."""
        return self.departures.doubtful or self.imported.doubtful

    async def where(self, host: str, client: str = "") -> str | None:
        """The pod that a request for ``host`` is to go to, which the edge has; None when there is no such domain.
        ``host`` is a domain, ``client`` whose request it is. Raises NotAnswered."""
        known = self._gate.followed
        found = known.lookup(host)
        pod = found[1] if found else known.home(host) or await self.resolver.where(host, client)
        if pod is not None and pod not in self._gate.edge.pods:
            self.resolver.counted.turned_away["pod"] += 1
            why = "it isn't in the pods file (setting lookup.pods), or is held back (`pointsman hold show`)"
            raise NotAnswered(f"{host}: GDS says {pod}, which the edge hasn't got: {why}", "pod")
        return pod

    def home(self, host: str) -> str | None:
        """The pod of a known domain as GDS said last; None when it isn't known."""
        return self._gate.followed.home(host)

    async def refresh(self, host: str) -> str | None:
        """Asks for ``host`` now, whoever knows it; when this returns, what GDS says is followed. None: GDS hasn't got
        it, and it is withdrawn without grace. Raises NotAnswered, and OrderError for a wildcard."""
        if host.startswith("*"):
            raise OrderError(f"GDS can't be asked for the wildcard {host}: name a host")
        pod = await self.resolver.again(host, "order")
        if pod is None and self._knows(host):
            self.departures.forget(host)
            self._comes(host, DeleteDomain(host), first=self.imported.leaves(host))
        while host in self._coming:
            self._written.clear()
            await self._written.wait()
        return pod

    async def preload(self, hosts: Mapping[str, str]) -> Preloaded:
        """Hosts, each with its pod, that are known when this returns, unless they were before; GDS is asked for them
        in the background. Raises GdsError before `run` has begun."""
        found = Preloaded()
        await self._in_slices(self._preloading(hosts, found))
        return found

    def _beginning(self, pods: Sequence[Pod]) -> Work[None]:
        """What was on disk is known, but for wildcards: such a GDS can't be asked for one."""
        kept = self._gate.edge
        epoch, revision = self._before()
        domains = Homes()
        for some in cut(kept.domains.copy().items()):  # type: ignore[attr-defined]
            hosts = [pair for pair in some if not pair[0].startswith("*")]
            domains.join([host for host, _ in hosts], [pod for _, pod in hosts])
            yield
        yield from self._follower.replacing(Snapshot(epoch, revision + 1, tuple(pods), domains))
        for some in cut(domains):
            for domain, _ in some:
                self.rounds.add(domain)
            yield
        yield from emptied(domains)

    def _before(self) -> tuple[str, int]:
        """The epoch, and its newest revision that is known from before: the edge's, but after a rollback, or while
        something else is held, that from which on it was. Else two states on disk would have one number."""
        edge, hold = self._gate.edge, self._gate.hold
        known = [(hold.epoch, hold.revision)] if hold else []
        known += [(edge.epoch, edge.revision)] if edge.complete else []
        ours = [position for position in known if position[0].startswith(EPOCH)]
        if not ours:
            return EPOCH + secrets.token_hex(8), 0
        epoch = ours[0][0]
        return epoch, max(revision for of, revision in ours if of == epoch)

    def _preloading(self, hosts: Mapping[str, str], found: Preloaded) -> Work[None]:
        # What GDS said is known or coming by now, and goes before; what it says from now on comes after.
        if self._gate.position is None:
            raise GdsError("the lookup hasn't begun yet: try again in a moment")
        room = self._options.domains - len(self.rounds)
        for pairs in cut(hosts.items()):
            found.look(pairs, self._gate.followed.pods, self._knows, room)
            yield
        if found.changes:
            yield from self._following(found.changes)
        for some in cut(found.changes):
            self.imported.add(change.domain for change in some)
            for change in some:
                self.rounds.add(change.domain)
                found.held += self._gate.waits(change.domain) is not None
            yield

    def _knows(self, host: str) -> bool:
        return (
            host in self._gate.edge.domains
            or self._gate.followed.home(host) is not None
            or isinstance(self._coming.get(host), PutDomain)
        )

    def _said(self, host: str, pod: str | None) -> None:
        now = self._clock()
        self.status.state, self.status.last_error, self.status.heard_at = "following", "", now
        knows = self._knows(host)
        unheard = host in self.imported
        self.departures.known = len(self.rounds) - len(self.imported)
        if pod is None:
            if knows:
                if unheard:
                    self.imported.absent(host, now)
                elif (due := self.departures.missing(host, now)) is not None:
                    # Not before there was time to see that GDS misses many.
                    self.rounds.at(host, due, min(self._options.minimum, len(self.rounds)))
                self._withdraw()
            return
        leaves = False
        if knows and not unheard:
            self.departures.there(host)
            self.rounds.not_at(host)
            for gone in self._gone:
                if host in gone:
                    del gone[host]
                    leaves = True
            if self._is_withheld(host):
                self._recovered = True
                self._wake.set()
        coming = self._coming.get(host)
        home = coming.pod if isinstance(coming, PutDomain) else self._gate.followed.home(host)
        first = self.imported.there(host, agrees=home == pod)
        if home == pod and not isinstance(coming, DeleteDomain) and not leaves:
            return
        if not knows and len(self.rounds) >= self._options.domains:
            self.full += 1
            return
        self.rounds.add(host)
        self._comes(host, PutDomain(host, pod), first=first)

    def _failed(self, error: GdsError) -> None:
        self.status.last_error = str(error)
        if self.resolver.breaker.state != "closed" and self.status.state != "reconnecting":
            self.status.state = "reconnecting"
            self.status.reconnects += 1

    def _withdraw(self) -> None:
        if self._gate.hold is not None:
            return  # few at a time would pass beside what is held
        gone = self.departures.due()
        if len(gone) > 1:  # so that the guard judges them together
            log.warning("lookup.withdrawn_together", domains=len(gone))
            self._gone.append(dict.fromkeys(gone))
            self._wake.set()
        else:
            for host in gone:
                self._comes(host, DeleteDomain(host))
        if not self.departures.doubtful:
            self._withdraw_imported()

    def _withdraw_imported(self) -> None:
        doubted = self.imported.doubtful
        gone = self.imported.due()
        if doubted and gone:
            self._gone.append(dict.fromkeys(gone))
            self._wake.set()
        for host in () if doubted else gone:
            self._comes(host, DeleteDomain(host), first=True)

    def _comes(self, host: str, change: Change, *, first: bool = False) -> None:
        self._coming[host] = change
        if first:
            self._first_words.add(host)
        else:
            self._first_words.discard(host)
        self._wake.set()

    async def _writing(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_AFTER)
            self._wake.clear()
            while self._pods_said or self._gone or self._recovered or self._coming:
                if self._pods_said:
                    said, self._pods_said = self._pods_said, None
                    await self._followed(self._pods_changed(said))
                if self._gone:
                    await self._in_slices(self._leaving(self._gone[0]))
                    self._gone.popleft()
                if self._recovered:
                    self._recovered = False
                    await self._in_slices(self._returning())
                some = dict(islice(self._coming.items(), _TOGETHER))
                first = self._first_words.intersection(some)
                self._first_words -= first
                await self._followed([change for host, change in some.items() if host not in first])
                await self._followed([change for host, change in some.items() if host in first], first=True)
                for host, change in some.items():
                    if self._coming.get(host) is change:
                        del self._coming[host]
                self._written.set()

    async def _followed(self, changes: Sequence[Change], *, first: bool = False) -> None:
        if not changes:
            return
        await self._in_slices(self._following(changes, first=first))
        self._dropped(changes)

    def _leaving(self, gone: Mapping[str, None]) -> Work[None]:
        """GDS may say meanwhile that one of them is there: then it is taken from ``gone``, and stays; or, when it is
        too late for that, it comes again after this."""
        changes: list[DeleteDomain] = []
        for some in cut([*gone]):
            changes += [DeleteDomain(host) for host in some]
            yield
        changes = [one for one in changes if one.domain in gone]
        if not changes:
            return
        yield from self._following(changes)
        for these in cut(changes):
            self._dropped(these)
            yield
        yield from emptied(changes)

    def _returning(self) -> Work[None]:
        """What GDS said of all others before is worth no more: they are there until it has been asked anew. Else the
        hold would end by itself when few are left, and take those from the edge."""
        changes: list[PutDomain] = []
        for some in cut(self._gate.edge.domains.items()):
            changes += [PutDomain(host, pod) for host, pod in some if self._is_withheld(host)]
            yield
        if changes:
            log.warning("lookup.returned_together", domains=len(changes))
            yield from self._following(changes)
        yield from emptied(changes)

    def _is_withheld(self, host: str) -> bool:
        """The edge has it, GDS hasn't, and that is held; after a rollback the edge may have what GDS never had."""
        gate = self._gate
        held = gate.hold is not None and gate.hold.reason != "rollback"
        if not held or host.startswith("*"):
            return False
        return host in gate.edge.domains and gate.followed.home(host) is None

    def _dropped(self, changes: Sequence[Change]) -> None:
        for change in changes:
            # GDS may have said meanwhile that it is there: then it comes again, and keeps its turn.
            if isinstance(change, DeleteDomain) and not self._knows(change.domain):
                self.rounds.drop(change.domain)

    def _following(self, changes: Sequence[Change], *, first: bool = False) -> Work[None]:
        # Not before: what else is done in slices may have changed it.
        position = self._gate.position
        assert position
        epoch, revision = position
        yield from self._follower.applying(Transaction(epoch, revision + 1, changes, first))
        self.status.gds_revision = revision + 1

    async def _refreshing(self) -> None:
        places = asyncio.Semaphore(self._options.refreshing)
        async with asyncio.TaskGroup() as tasks:
            while True:
                now = self._clock()
                breaker = self.resolver.breaker
                # While another host's question tries GDS, none would be asked, and each would lose its turn.
                wait = breaker.rest(now) or (_TRYING if breaker.state == "trying" else 0.0)
                host = None if wait else self.rounds.next(now, self._knows)
                if host is None:
                    await asyncio.sleep(min(wait or self.rounds.wait(now), _LOOK))
                else:
                    await places.acquire()
                    tasks.create_task(self._again(host, places))

    async def _again(self, host: str, places: asyncio.Semaphore) -> None:
        try:
            with contextlib.suppress(NotAnswered):  # counted, and the host's turn comes again
                await self.resolver.again(host, "refresh")
        finally:
            places.release()

    async def _favouring(self) -> None:
        """At most half of the questions in the background are for busy hosts, each once within the refresh time."""
        most = int(self._options.refresh_rate * self._options.refresh * MARGIN / 2)
        while True:
            for _ in range(_LOOKS):
                await asyncio.sleep(_BUSY)
                self.rounds.favour(self._busy.top(min(most, _FAVOURED)))
            self._busy.turn()

    async def _watching_pods(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            try:
                if await asyncio.to_thread(self._pods_file.changed):
                    self._take_pods(await asyncio.to_thread(pods_file.read, self._options.pods))
            except SettingsError as error:
                if str(error) != self.pods_error:
                    log.error("lookup.pods_refused", reason=str(error))
                self.pods_error = str(error)

    def _take_pods(self, pods: Sequence[Pod]) -> None:
        self.pods_error = ""
        self._pods_said = pods
        self._wake.set()

    def _pods_changed(self, pods: Sequence[Pod]) -> list[Change]:
        """What makes of the pods that are followed by now those of the file; judged together."""
        held = self._gate.followed.pods
        names = {pod.name for pod in pods}
        changes: list[Change] = [PutPod(pod) for pod in pods if held.get(pod.name) != pod]
        changes += [DeletePod(name) for name in held if name not in names]
        if changes:
            log.info("lookup.pods", pods=len(pods), changes=len(changes))
        return changes

    def _read_pods(self) -> tuple[Pod, ...]:
        self._pods_file.changed()  # from now on
        return pods_file.read(self._options.pods)
