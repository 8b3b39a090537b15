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
from xds.lookup.asking import Asker, NotAnswered, Refused, Unreachable
from xds.lookup.breaker import Breaker
from xds.lookup.budget import Budget
from xds.lookup.fair import FairQueue
from xds.lookup.turns import Usual

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
    ordering: int = 16
    """Orders' questions under way at a time."""
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


@dataclass(slots=True, eq=False)
class _Flight:
    """A question, and who waits for its answer. ``asking``: it is GDS's, or about to be. ``leave``: when the last of
    those who wait leaves. Where its turn is to come first, ``turn`` is done then; ``waited``: that wasn't at once."""

    task: asyncio.Task[str | None] = field(init=False)
    waiters: int = 0
    leave: float = 0.0
    asking: bool = False
    waited: bool = False
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


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
        self.answers: Answers[str | None] = Answers(limits.unknown_for, limits.remember)
        self.budget = Budget(limits.rate, limits.burst)
        self._asker = asker
        self._limits = limits
        self._said = said
        self._failed = failed
        self._clock = clock
        self._lately_failed: Answers[str] = Answers(limits.pause, limits.remember)
        self._usual = Usual()
        self._flights: dict[str, _Flight] = {}
        self._queue = FairQueue()
        self._slots = limits.concurrency
        self._timer: asyncio.TimerHandle | None = None
        self._ordering = 0
        """Orders that wait or are under way."""
        self._order_places = asyncio.Semaphore(limits.ordering)
        self._tried = asyncio.Event()
        """What came of the latest try is known."""

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
            return await self._landed(host, self._joined(host, client) or self._admitted(host, client, now))
        except NotAnswered as error:
            self.counted.turned_away[error.why] += 1
            raise

    async def again(self, host: str, reason: str) -> str | None:
        """The pod of a host that is asked now, whatever is remembered; ``reason``: "refresh" or "order". An order isn't
        answered by a question that was asked before it: the domain may have moved since. Nor does it wait for the end
        of GDS's pause: it is what GDS is tried with. Raises NotAnswered."""
        before = self._flights.get(host)
        if before and reason == "order":
            await asyncio.wait([before.task], timeout=self._limits.patience)
            if self._flights.get(host) is before:
                raise NotAnswered(f"{host}: the question before isn't answered yet (setting lookup.patience)", "slow")
        flight = self._flights.get(host)
        if flight is None:
            flight = self._ordered(host) if reason == "order" else self._refreshed(host)
        return await self._landed(host, flight)

    async def close(self) -> None:
        """Nobody waits any more."""
        if self._timer:
            self._timer.cancel()
        self._queue.clear()
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _joined(self, host: str, client: str) -> _Flight | None:
        """The question that is under way, or waits for its turn: this client's, too, from now on."""
        if host in self._queue:
            self._queue.put(host, client)
        return self._flights.get(host)

    def _admitted(self, host: str, client: str, now: float) -> _Flight:
        if failed := self._lately_failed.get(host, now):
            raise NotAnswered(failed[0], "failed")
        self._check(host, now)
        ahead = self._queue.ahead(client)
        wait = self.budget.wait(now) + ahead / self._limits.rate
        if wait and wait + self._usual.seconds > self._limits.patience:
            raise NotAnswered(f"{host}: GDS is asked as often as it may be (setting lookup.rate)", "busy")
        if not self._slots:
            self._check_turn(host, ahead, self._limits.concurrency)
        full = len(self._queue) + self._limits.concurrency - self._slots >= self._limits.waiting
        if len(self._queue) >= CROWD or full:
            self._make_room(host, client, full)
        flight = _Flight()
        self._queue.put(host, client)
        flight.leave = now + self._limits.patience
        self._begun(host, flight, self._in_turn(host, flight.turn))
        self._serve()
        flight.waited = not flight.asking
        return flight

    def _ordered(self, host: str) -> _Flight:
        if self._ordering >= self._limits.waiting:
            raise NotAnswered(f"{host}: too many orders wait for GDS (setting lookup.waiting)", "busy")
        if self._ordering >= self._limits.ordering:
            self._check_turn(host, self._ordering - self._limits.ordering, self._limits.ordering)
        flight = _Flight()
        self._ordering += 1
        self._begun(host, flight, self._in_order(host, flight))
        flight.task.add_done_callback(self._order_ended)
        return flight

    def _order_ended(self, _: asyncio.Task[str | None]) -> None:
        self._ordering -= 1

    def _refreshed(self, host: str) -> _Flight:
        return self._begun(host, _Flight(asking=True), self._question(host, "refresh"))

    def _make_room(self, host: str, client: str, full: bool) -> None:
        """Raises NotAnswered when none is to be had."""
        if (other := self._queue.crowded_out(client)) is not None:
            self._turned_away(other, f"{other}: its client waits for more hosts than others do")
        elif self._queue.named(client) or full:
            raise NotAnswered(f"{host}: too many hosts wait for GDS (setting lookup.waiting)", "busy")

    def _turned_away(self, host: str, why: str) -> None:
        turn = self._flights[host].turn
        if not turn.done():
            turn.set_exception(NotAnswered(why, "busy"))

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
            flight = self._flights[host]
            if flight.waited and now + self._usual.seconds > flight.leave:
                self._turned_away(
                    host, f"{host}: GDS is slow, its answer would come too late (setting lookup.patience)"
                )
                continue
            self.budget.reserve(now, 0.0)
            self._slots -= 1
            flight.asking = True
            flight.turn.set_result(None)

    def _check(self, host: str, now: float) -> None:
        if rest := self.breaker.rest(now):
            raise NotAnswered(f"{host}: GDS failed, and isn't asked for another {rest:.1f} s", "away")

    def _check_turn(self, host: str, ahead: int, places: int) -> None:
        if self._usual.too_late(ahead, places, self._limits.patience):
            raise NotAnswered(f"{host}: GDS is slow, its answer would come too late (setting lookup.patience)", "busy")

    def _begun(self, host: str, flight: _Flight, question: Coroutine[None, None, str | None]) -> _Flight:
        self._flights[host] = flight
        flight.task = asyncio.create_task(question)
        flight.task.add_done_callback(lambda done: self._ended(host, flight))
        return flight

    def _ended(self, host: str, flight: _Flight) -> None:
        if self._flights.get(host) is flight:
            del self._flights[host]
        if not flight.task.cancelled():
            flight.task.exception()  # told here, as perhaps nobody waits any more

    async def _landed(self, host: str, flight: _Flight) -> str | None:
        flight.waiters += 1
        flight.leave = self._clock() + self._limits.patience
        try:
            return await asyncio.wait_for(asyncio.shield(flight.task), self._limits.patience)
        except TimeoutError:
            raise NotAnswered(f"{host}: no answer in time (setting lookup.patience)", "slow") from None
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.asking and self._flights.get(host) is flight:
                # GDS needn't be asked what nobody waits for. Whoever comes now begins anew.
                del self._flights[host]
                self._queue.drop(host)
                flight.task.cancel()

    async def _in_turn(self, host: str, turn: asyncio.Future[None]) -> str | None:
        await turn
        try:
            return await self._question(host, "request")
        finally:
            self._slots += 1
            self._serve()

    async def _in_order(self, host: str, flight: _Flight) -> str | None:
        async with self._order_places:
            while self.breaker.state == "trying":
                await self._tried.wait()
                self._check(host, self._clock())  # it failed: not each of a crowd is to try it
            flight.asking = True
            return await self._question(host, "order")

    async def _question(self, host: str, reason: str) -> str | None:
        begun = self._clock()
        order = reason == "order"
        if not order:
            self._check(host, begun)
        if not self.breaker.allows(begun, early=order):
            raise NotAnswered(f"{host}: GDS failed, and is tried with another host", "away")
        if self.breaker.state != "trying":
            return await self._asked(host, reason, begun)
        self._tried.clear()
        try:
            return await self._asked(host, reason, begun)
        finally:
            self._tried.set()

    async def _asked(self, host: str, reason: str, begun: float) -> str | None:
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
            self.breaker.failed(self._clock(), None, begun)  # a try that is never told of would be waited for
            raise
        now = self._clock()
        self.counted.seconds += now - begun
        self._usual.took(now - begun)
        if error is not None:
            self._fail(host, error, now, begun)
            raise NotAnswered(str(error), "failed") from None
        self.breaker.succeeded()
        self._tried.set()
        self._count(pod)
        self._lately_failed.drop(host)
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

    def _fail(self, host: str, error: GdsError, now: float, begun: float) -> None:
        self.counted.outcome["failed"] += 1
        self._lately_failed.put(host, str(error), now)
        before = self.breaker.opened
        if isinstance(error, Refused):
            self.breaker.answered(begun)
        else:
            self.breaker.failed(now, None if isinstance(error, Unreachable) else host, begun)
        if self.breaker.opened > before:
            log.warning("gds.lost", reason=str(error), pause=round(self.breaker.rest(now), 1))
        self._failed(error)
