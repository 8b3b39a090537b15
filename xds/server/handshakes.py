"""Who connects and never gets to a call: gRPC fails a TLS handshake without a word to Python.

It does ask for the certificate at the start of each; whoever is then connected to the port, and is gone or silent
without a call having come from there, was refused. What can't be told apart: no client certificate, a foreign one, an
expired one, plaintext, and one who connects only to see whether the port is open, as a TCP health check does.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Set

import grpc
import psutil
import structlog

from xds.server.calls import BeforeEachCall, Context
from xds.server.connections import Address, Connections, peer_address
from xds.server.refusals import Refusals

log = structlog.get_logger()

FAILED = (
    "the TLS handshake was not completed: no client certificate, a foreign or an expired one, or plaintext "
    "(a TCP health check looks the same)"
)
SILENT = "connected, but no call came within {patience:.0f} s: a handshake that hangs, or an unused connection"

_TICK = 0.2
_SHARE = 0.05
_SAVED = 0.25
"""Looking takes this share of one core at the most, and saves up so many seconds for when many connect at once."""


class Attempts:
    """Pure: which connections got to a call, and which never will. ``at`` and ``now`` are monotonic seconds."""

    def __init__(self, patience: float = 10.0, settle: float = 1.0) -> None:
        self._patience = patience
        self._settle = settle
        self._waiting: dict[Address, float] = {}
        self._gone: dict[Address, float] = {}
        self._known: dict[Address, float] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._gone) + len(self._known)

    @property
    def open(self) -> bool:
        """There are connections not judged yet."""
        return bool(self._waiting or self._gone)

    def seen(self, present: Set[Address], at: float) -> None:
        """Who is connected, looked up at or after ``at``; what is known since then is newer, and stays."""
        for address in [a for a, since in self._known.items() if since < at and a not in present]:
            del self._known[address]
        for address in [a for a, since in self._waiting.items() if since < at and a not in present]:
            del self._waiting[address]
            self._gone[address] = at
        for address in present - self._known.keys() - self._waiting.keys():
            self._waiting[address] = self._gone.pop(address, at)

    def accepted(self, address: Address, now: float) -> None:
        """A call has come from there."""
        self._waiting.pop(address, None)
        self._gone.pop(address, None)
        self._known[address] = now

    def refused(self, now: float) -> tuple[list[Address], list[Address]]:
        """Who is gone (for a while: its call may be in a queue), and who is silent. Each is told once."""
        gone = [address for address, since in self._gone.items() if now - since >= self._settle]
        silent = [address for address, since in self._waiting.items() if now - since >= self._patience]
        for address in gone:
            del self._gone[address]
        for address in silent:
            del self._waiting[address]
            self._known[address] = now
        return gone, silent


class Handshakes:
    """`begun` belongs into the credentials, `interceptor` into the server, `watching` around its serving.

    ``begun_total`` counts all handshakes. In a flood not each is looked at, so that fewer are counted as refused.
    """

    def __init__(
        self, refusals: Refusals, *, clock: Callable[[], float] = time.monotonic, patience: float = 10.0
    ) -> None:
        self._refusals = refusals
        self._clock = clock
        self._silent = SILENT.format(patience=patience)
        self._attempts = Attempts(patience)
        self._lock = threading.Lock()  # of the attempts and the count
        self._one = threading.Lock()  # who looks; and of the budget
        self._budget, self._paid_at = _SAVED, clock()
        self.begun_total = 0
        self._connections: Callable[[], Set[Address]] | None = None
        self._awake: Callable[[], None] = lambda: None

    @property
    def remembered(self) -> int:
        """How many addresses are kept in mind: at most those of the connections that there were at the last look."""
        with self._lock:
            return len(self._attempts)

    def begun(self) -> None:
        """A handshake begins. On gRPC's thread, where the connection can't end before this returns."""
        with self._lock:
            self.begun_total += 1
        self._look()
        self._awake()

    def accepted(self, peer: str) -> None:
        """A call has come from ``context.peer()``."""
        address = peer_address(peer)
        if address is None:
            return
        with self._lock:
            # Without handshakes (on plaintext) nobody looks, so that nobody would be forgotten.
            if self.begun_total and self._connections is not None:
                self._attempts.accepted(address, self._clock())

    def interceptor(self) -> grpc.aio.ServerInterceptor:
        """Notes every call of every service, health checks too."""

        async def noted(context: Context) -> None:
            self.accepted(context.peer())

        return BeforeEachCall(noted)

    @contextlib.asynccontextmanager
    async def watching(self, address: str, port: int) -> AsyncIterator[None]:
        """``address`` and ``port`` are what the server listens on."""
        loop = asyncio.get_running_loop()
        wake = asyncio.Event()

        def awake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: so is the port
                loop.call_soon_threadsafe(wake.set)

        self._connections, self._awake = Connections(address, port), awake
        task = asyncio.create_task(self._watch(wake), name="handshakes")
        try:
            yield
        finally:
            self._connections = None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self, wake: asyncio.Event) -> None:
        """Sleeps for as long as nobody connects."""
        while True:
            await wake.wait()
            wake.clear()
            again = True
            while again:
                await asyncio.sleep(_TICK)
                await asyncio.to_thread(self._look)
                with self._lock:
                    gone, silent = self._attempts.refused(self._clock())
                    again = self._attempts.open
                for address in gone:
                    self._refusals.note("handshake", str(address), FAILED)
                for address in silent:
                    self._refusals.note("handshake", str(address), self._silent)

    def _look(self) -> None:
        """On any thread. Must not raise: gRPC would then not look for a new certificate."""
        with self._one:
            connections, at = self._connections, self._clock()
            self._budget = min(_SAVED, self._budget + (at - self._paid_at) * _SHARE)
            self._paid_at = at
            if connections is None or self._budget <= 0:
                return
            begun = time.thread_time()  # not by the clock: on a busy machine that would be the others' time
            try:
                present = connections()
            except (OSError, psutil.Error, struct.error) as error:
                with self._lock:
                    self._connections, self._attempts = None, Attempts()
                log.error("xds.handshakes", reason=f"can't list connections, so failed ones won't be told: {error}")
                return
            with self._lock:
                self._attempts.seen(present, at)
            self._budget -= time.thread_time() - begun
