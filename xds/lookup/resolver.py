"""One question to GDS for all who wait for a host: within the budget, in bounded time, and not while GDS has a pause.
Clients whose hosts wait take turns.

What is asked again in the background has a budget of its own (`xds.lookup.rounds`), and comes through here for the
rest: so no host is asked twice at a time, and GDS's failures are seen whoever asked.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

import structlog

from xds.errors import GdsError
from xds.lookup.answers import Answers
from xds.lookup.asking import Asker, NotAnswered
from xds.lookup.breaker import Breaker
from xds.lookup.budget import Budget
from xds.lookup.fair import FairQueue

log = structlog.get_logger()

ONLY_NO = 50
"""Answers since the start without a single pod, after which it may well be that GDS isn't the right one."""

CROWD = 256
"""Hosts that wait, from which on who has many of them makes room for who has few. It is half of what an Envoy has open
at a time (`envoy/envoy.yaml`): if more waited, it would be full of them, and refuse whoever comes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """As the settings ``lookup`` of the same names."""

    rate: float = 200.0
    burst: int = 200
    concurrency: int = 64
    timeout: float = 5.0
    patience: float = 6.0
    waiting: int = 1_000
    failures: int = 10
    pause: float = 1.0
    unknown_for: float = 10.0
    remember: int = 100_000


@dataclass(slots=True)
class Counted:
    """Since the start. ``asked``: questions to GDS, by who wanted it; ``outcome``: what came of them; ``turned_away``:
    hosts of requests that couldn't be asked, by why; ``remembered``: requests that a remembered answer was for.
    ``seconds``: that GDS took, in all."""

    asked: Counter[str] = field(default_factory=lambda: Counter(request=0, refresh=0, order=0))
    outcome: Counter[str] = field(default_factory=lambda: Counter(pod=0, nobody=0, failed=0))
    turned_away: Counter[str] = field(default_factory=lambda: Counter(busy=0, away=0, failed=0, slow=0, pod=0))
    remembered: int = 0
    seconds: float = 0.0

    @property
    def only_no(self) -> bool:
        """GDS was asked often, and has known nobody: at a wrong base path it may say 404 to everything."""
        return not self.outcome["pod"] and self.outcome["nobody"] >= ONLY_NO


@dataclass(slots=True)
class _Waiting:
    """A host whose turn is to come: then ``turn`` is done. ``until``: as long somebody waits for it."""

    turn: asyncio.Future[None]
    until: float


class Resolver:
    """``said(host, pod)`` is told of each answer of GDS, None for nobody, before who waits for it is."""

    def __init__(
        self,
        asker: Asker,
        limits: Limits,
        said: Callable[[str, str | None], None],
        failed: Callable[[GdsError], None] = lambda error: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counted = Counted()
        self.breaker = Breaker(limits.failures, limits.pause)
        self.answers = Answers(limits.unknown_for, limits.remember)
        self.budget = Budget(limits.rate, limits.burst)
        self._asker = asker
        self._limits = limits
        self._said = said
        self._failed = failed
        self._clock = clock
        self._flights: dict[str, asyncio.Task[str | None]] = {}
        self._queue = FairQueue()
        self._waiting: dict[str, _Waiting] = {}
        """What is in the queue."""
        self._slots = limits.concurrency
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Hosts that GDS is asked for, or will be."""
        return len(self._flights)

    async def where(self, host: str, client: str = "") -> str | None:
        """The pod of a host for which a request of ``client`` waits; None when GDS hasn't got it. Raises
        NotAnswered."""
        now = self._clock()
        held = self.answers.get(host, now)
        if held is not None:
            self.counted.remembered += 1
            return held[0]
        try:
            return await self._landed(host, self._joined(host, client, now) or self._admitted(host, client, now))
        except NotAnswered as error:
            self.counted.turned_away[error.why] += 1
            raise

    async def again(self, host: str, reason: str) -> str | None:
        """The pod of a host that is asked now, whatever is remembered; ``reason``: "refresh" or "order". An order isn't
        answered by a question that was asked before it: the domain may have moved since. Raises NotAnswered."""
        if reason == "order" and (before := self._flights.get(host)):
            await asyncio.wait([before], timeout=self._limits.patience)
            if self._flights.get(host) is before:
                raise NotAnswered(f"{host}: the question before isn't answered yet (setting lookup.patience)", "slow")
        return await self._landed(host, self._flights.get(host) or self._begun(host, self._question(host, reason)))

    async def close(self) -> None:
        """Nobody waits any more."""
        if self._timer:
            self._timer.cancel()
        self._queue.clear()
        flights = [*self._flights.values()]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _joined(self, host: str, client: str, now: float) -> asyncio.Task[str | None] | None:
        """The question that is under way, or waits for its turn: this client's, too, from now on."""
        if waiting := self._waiting.get(host):
            waiting.until = now + self._limits.patience
            self._queue.put(host, client)
        return self._flights.get(host)

    def _admitted(self, host: str, client: str, now: float) -> asyncio.Task[str | None]:
        self._check(host, now)
        wait = self.budget.wait(now) + self._queue.ahead(client) / self._limits.rate
        if wait > self._limits.patience:
            raise NotAnswered(f"{host}: GDS is asked as often as it may be (setting lookup.rate)", "busy")
        if len(self._queue) >= CROWD or len(self._flights) >= self._limits.waiting:
            self._make_room(host, client)
        waiting = _Waiting(asyncio.get_running_loop().create_future(), now + self._limits.patience)
        self._queue.put(host, client)
        self._waiting[host] = waiting
        flight = self._begun(host, self._in_turn(host, waiting.turn))
        self._serve()
        return flight

    def _make_room(self, host: str, client: str) -> None:
        """Raises NotAnswered when none is to be had."""
        if (other := self._queue.crowded_out(client)) is not None:
            self._turned_away(other, NotAnswered(f"{other}: its client waits for more hosts than others do", "busy"))
        elif self._queue.named(client) or len(self._flights) >= self._limits.waiting:
            raise NotAnswered(f"{host}: too many hosts wait for GDS (setting lookup.waiting)", "busy")

    def _turned_away(self, host: str, why: NotAnswered) -> None:
        turn = self._waiting.pop(host).turn
        if not turn.done():
            turn.set_exception(why)

    def _serve(self) -> None:
        """Whose turn it is by now has it."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._queue and self._slots:
            now = self._clock()
            if wait := self.budget.wait(now):
                self._timer = asyncio.get_running_loop().call_later(wait, self._serve)
                return
            host = self._queue.take()
            if self._waiting[host].until < now:
                self._turned_away(host, NotAnswered(f"{host}: nobody waits for it any more", "slow"))
                continue
            self.budget.reserve(now, 0.0)
            self._slots -= 1
            self._waiting.pop(host).turn.set_result(None)

    def _check(self, host: str, now: float) -> None:
        if rest := self.breaker.rest(now):
            raise NotAnswered(f"{host}: GDS failed, and isn't asked for another {rest:.1f} s", "away")

    def _begun(self, host: str, question: Coroutine[None, None, str | None]) -> asyncio.Task[str | None]:
        flight = self._flights[host] = asyncio.create_task(question)
        flight.add_done_callback(lambda done: self._ended(host, done))
        return flight

    def _ended(self, host: str, flight: asyncio.Task[str | None]) -> None:
        del self._flights[host]
        if not flight.cancelled():
            flight.exception()  # told here, as perhaps nobody waits any more

    async def _landed(self, host: str, flight: asyncio.Task[str | None]) -> str | None:
        try:
            return await asyncio.wait_for(asyncio.shield(flight), self._limits.patience)
        except TimeoutError:
            raise NotAnswered(f"{host}: no answer in time (setting lookup.patience)", "slow") from None

    async def _in_turn(self, host: str, turn: asyncio.Future[None]) -> str | None:
        await turn
        try:
            return await self._question(host, "request")
        finally:
            self._slots += 1
            self._serve()

    async def _question(self, host: str, reason: str) -> str | None:
        begun = self._clock()
        self._check(host, begun)
        if not self.breaker.allows(begun):
            raise NotAnswered(f"{host}: GDS failed, and is tried with another host", "away")
        self.counted.asked[reason] += 1
        pod, error = None, None
        try:
            async with asyncio.timeout(self._limits.timeout):
                pod = await self._asker.ask(host)
        except TimeoutError:
            error = GdsError(f"GDS at {self._asker.shown} didn't answer for {host} in {self._limits.timeout:g} s")
        except GdsError as failure:
            error = failure
        except BaseException:
            self.breaker.failed(self._clock())  # a try that is never told of would be waited for
            raise
        now = self._clock()
        self.counted.seconds += now - begun
        if error is not None:
            self._fail(error, now)
            raise NotAnswered(str(error), "failed") from None
        self.breaker.succeeded()
        self._count(pod)
        self.answers.put(host, pod, now)
        self._said(host, pod)
        return pod

    def _count(self, pod: str | None) -> None:
        before = self.counted.only_no
        self.counted.outcome["nobody" if pod is None else "pod"] += 1
        if self.counted.only_no and not before:
            advice = "is it the right one, at the right base path? `pointsman check --host` tells"
            log.warning("gds.knows_nobody", gds=self._asker.shown, answers=ONLY_NO, advice=advice)
        elif before and pod is not None:
            log.info("gds.knows_somebody", gds=self._asker.shown)

    def _fail(self, error: GdsError, now: float) -> None:
        self.counted.outcome["failed"] += 1
        before = self.breaker.opened
        self.breaker.failed(now)
        if self.breaker.opened > before:
            log.warning("gds.lost", reason=str(error), pause=round(self.breaker.rest(now), 1))
        self._failed(error)
