"""One open stream at the rim: it carries requests in and responses out, and holds its peer to the limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

import grpc
import structlog

from xds.cache import Changed
from xds.errors import Overdue, ProtocolError
from xds.measures import Measures
from xds.protocol.messages import DeltaRequest, Node, Request
from xds.protocol.state import TypeState
from xds.protocol.stream import Settled, Stream, View
from xds.resources.types import BY_URL, SECRET, Resource, ResourceType
from xds.server.access import Grant
from xds.server.deadline import in_time
from xds.server.grants import GrantedSecrets
from xds.server.identity import Identity
from xds.server.limits import Limits, TokenBucket, exceeded
from xds.server.on_demand import Handed, OnDemand
from xds.server.turns import Turns
from xds.server.writer import Writer

log = structlog.get_logger()

Parse = Callable[[bytes], Request]
Context = grpc.aio.ServicerContext[bytes, bytes]

LARGE = 8 * 1024
"""Bytes of a request that names hundreds of resources: it is read when it is its turn."""
HUGE = 1024 * 1024
"""Bytes of one that would take longer than a turn may: it is read beside the event loop."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. ``identity`` is None on plaintext; ``address`` has its port."""

    address: str
    identity: Identity | None

    @property
    def name(self) -> str:
        """Its certificate's, empty on plaintext."""
        return str(self.identity) if self.identity else ""

    @property
    def key(self) -> str:
        """What its streams are counted by."""
        return self.name or self.address.rpartition(":")[0]


@dataclass(frozen=True, slots=True)
class NodeState:
    """One stream of a connected Envoy, as `/api/v1/nodes` shows it."""

    node: str
    cluster: str
    user_agent: str
    peer: str
    identity: str
    variant: str
    connected_seconds: float
    types: list[TypeState]
    number: int = 0
    """Grows with every stream of this server."""
    reached: int = 0
    """The cache's publish up to which it ACKed everything that comes from the directory."""
    certificate_ends: float = 0.0
    """When its client certificate does: seconds since 1970; 0 on plaintext."""


@dataclass(frozen=True, slots=True)
class Rim:
    """What the server gives each of its streams. ``clock`` is monotonic seconds."""

    limits: Limits
    clock: Callable[[], float]
    view: View
    admit: Callable[[OpenStream, Node], Grant]
    """Called when the stream says who it is, before anything of it is taken. Raises AccessError."""
    settled: Callable[[OpenStream, Settled], None]
    returned: Callable[[ResourceType, Mapping[str, str | None]], None]
    """Called with what a client says that it holds when it comes back; None where it doesn't say which version."""
    requests: Turns = field(default_factory=Turns)
    """For large requests: a fleet comes back at once."""
    responses: Turns = field(default_factory=Turns)
    """For making responses: a publish wakes every stream at once. Beside the others, so that neither waits for them."""
    on_demand: OnDemand | None = None
    """For streams of secrets alone."""
    measures: Measures = field(default_factory=Measures)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    newest: Callable[[], int] | None = None
    """The number of the cache's last publish, where one cares."""
    defers: Callable[[], bool] = lambda: False
    """See `xds.protocol.stream`."""
    spared: Callable[[OpenStream, str], None] = lambda stream, kind: None
    """Called when a client that came back keeps something of that type."""


class OpenStream:
    """``run`` carries it until its end; ``protocol`` is what it holds and says. ``only``: the one type it carries."""

    def __init__(self, peer: Peer, variant: str, only: ResourceType | None, rim: Rim) -> None:
        limits = rim.limits
        self.protocol = Stream(
            self._view,
            only,
            response_bytes=limits.response_bytes,
            max_names=limits.names,
            newest=rim.newest,
            defers=rim.defers,
        )
        self.only = only
        self.peer = peer
        self.number = next(rim.numbers)
        self.variant = variant
        self._grant: Grant | None = None
        self._ending: asyncio.Future[ProtocolError | None] = asyncio.get_running_loop().create_future()
        self._rim = rim
        self._handed: Handed | None = None
        if rim.on_demand is not None and only is SECRET:
            self._handed = rim.on_demand.opened(rim.view(SECRET), self.changed)
        self._came = self.on_demand  # a client waits for its handshake meanwhile
        """It has had what is published: what it lacks now is a change, and goes first."""
        self._since = rim.clock()
        self._bucket = TokenBucket(limits.requests_per_second, limits.request_burst, self._since)
        self._writer = Writer(
            self.protocol,
            rim.responses,
            rim.measures,
            rim.clock,
            first=lambda: self._came,
            hold=limits.hold,
            write_timeout=limits.write_timeout,
            overdue=self._overdue,
        )

    @property
    def on_demand(self) -> bool:
        """It is for names on demand: there are very many such streams, and each is of little interest."""
        return self._handed is not None

    def log(self, event: str, **fields: object) -> None:
        """That it begins or ends."""
        (log.debug if self.on_demand else log.info)(event, **fields)

    def changed(self, names: Changed) -> None:
        """The cache's watcher."""
        self.protocol.changed(names)
        self._writer.stir()

    def catch_up(self) -> None:
        """What is published is the newest again."""
        self.protocol.catch_up()
        self._writer.stir()

    def end_with(self, error: ProtocolError) -> None:
        """Ends the stream from outside."""
        if not self._ending.done():
            self._ending.set_result(error)

    def end(self) -> None:
        """As the server leaves: without complaint, and with what is being written."""
        if not self._ending.done():
            self._ending.set_result(None)

    def _overdue(self) -> None:
        self.end_with(exceeded("write_timeout", "the client doesn't read what it is sent"))

    def state(self) -> NodeState | None:
        """None as long as it hasn't said who it is."""
        node = self.protocol.node
        if node is None:
            return None
        return NodeState(
            node=node.id,
            cluster=node.cluster,
            user_agent=node.user_agent,
            peer=self.peer.address,
            identity=self.peer.name,
            variant=self.variant,
            connected_seconds=round(self._rim.clock() - self._since, 3),
            types=self.protocol.states(),
            number=self.number,
            reached=self.protocol.reached,
            certificate_ends=self.peer.identity.ends if self.peer.identity else 0.0,
        )

    async def run(self, requests: AsyncIterator[bytes], context: Context, parse: Parse) -> None:
        """Until the client ends the stream. Raises ProtocolError when it broke the protocol or a limit."""
        reading, writing = asyncio.create_task(self._read(requests, parse)), self._writer.start(context)
        tasks: list[asyncio.Future[None] | asyncio.Future[ProtocolError | None]] = [reading, writing, self._ending]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.result()
                if error is not None:
                    raise error
        finally:
            reading.cancel()
            self._ending.cancel()
            await self._writer.stop()
            await asyncio.gather(reading, self._ending, return_exceptions=True)
            if self._handed is not None:
                self._handed.close()

    async def _read(self, requests: AsyncIterator[bytes], parse: Parse) -> None:
        limits, clock = self._rim.limits, self._rim.clock
        # Not cancelled when it takes too long: then the stream is ended, and that ends it.
        coming = asyncio.ensure_future(anext(requests, None))
        try:
            if not await in_time(coming, limits.first_request_timeout):
                raise exceeded("first_request_timeout", "the stream said nothing", Overdue)
            first = coming.result()
        finally:
            coming.cancel()
        if first is None:
            return
        request = await self._parsed(first, parse)
        if request.node is not None:
            self._grant = self._rim.admit(self, request.node)
        await self._hand(request)
        await self._take(request, len(first))
        del coming, first, request  # as long as the stream lives
        async for raw in requests:
            if len(raw) <= LARGE and self._handed is None:  # nearly all of them: an ACK of each Envoy for each change
                answers = self._taken(self._small(raw, parse))
            else:
                request = await self._parsed(raw, parse)
                await self._hand(request)
                answers = await self._take(request, len(raw))
                del request
            if not answers and not self._bucket.take(clock()):
                raise exceeded("requests_per_second", "too many requests that answer nothing")

    async def _hand(self, request: Request) -> None:
        """What it asks for on demand is there when it is answered."""
        if self._handed is None or self._grant is None:
            return
        held = self._handed.names
        if isinstance(request, DeltaRequest):
            asked, left = request.subscribe, request.unsubscribe
        else:
            asked = request.names
            left = tuple(name for name in held if name not in asked)
        self._handed.drop(left)
        fresh = [name for name in asked if name not in held and self._grant.may_have_secret(name)]
        if fresh:
            node = self.protocol.node or request.node
            await self._handed.want(f"{self.peer.key} {node.id if node else ''}", fresh)

    def _view(self, kind: ResourceType) -> Mapping[str, Resource]:
        resources = self._rim.view(kind) if self._handed is None else self._handed
        if kind is not SECRET or self._grant is None:
            return resources
        return GrantedSecrets(resources, self._grant.may_have_secret, self._secret_refused)

    def _secret_refused(self, name: str) -> None:
        node = self.protocol.node
        log.warning(
            "xds.secret_refused",
            secret=name,
            node=node.id if node else "",
            identity=self.peer.name,
            peer=self.peer.address,
        )

    async def _parsed(self, raw: bytes, parse: Parse) -> Request:
        if len(raw) <= LARGE:
            return self._small(raw, parse)
        self._check_size(raw)
        if len(raw) > HUGE:
            return await asyncio.to_thread(parse, raw)
        return await self._rim.requests.take(lambda: parse(raw))

    def _small(self, raw: bytes, parse: Parse) -> Request:
        self._check_size(raw)
        return parse(raw)

    def _check_size(self, raw: bytes) -> None:
        if len(raw) > self._rim.limits.message_bytes:
            raise exceeded("message_bytes", f"a request of {len(raw)} bytes")

    async def _take(self, request: Request, size: int) -> bool:
        """True when the request ACKed or NACKed something. ``size``: its bytes."""
        if size > LARGE:
            return await self._rim.requests.take(lambda: self._taken(request))
        return self._taken(request)

    def _taken(self, request: Request) -> bool:
        returns = _returns(request)
        spared = self.protocol.spared if returns else 0
        settled = self.protocol.receive(request)
        self._came = self._came or self.protocol.settled
        if returns:
            if self.protocol.spared > spared:
                self._rim.spared(self, BY_URL[request.type_url].name if request.type_url else "")
            self._tell_returned(request)  # not of one that is refused, nor of a client that hasn't said who it is
        if settled is not None:
            if self._handed is not None:
                self._handed.settled(settled)
            self._rim.settled(self, settled)
        self._writer.stir()
        return settled is not None

    def _tell_returned(self, request: Request) -> None:
        kind = BY_URL.get(request.type_url)
        if kind is None:
            return
        if isinstance(request, DeltaRequest):
            self._rim.returned(kind, request.initial_versions)
        else:
            self._rim.returned(kind, dict.fromkeys(request.names or self._view(kind)))

    async def written(self) -> None:
        """See `xds.server.writer`."""
        await self._writer.written()


def _returns(request: Request) -> bool:
    """It says what its client holds: the first of its type on this stream, and not of the client's."""
    if isinstance(request, DeltaRequest):
        return bool(request.initial_versions)
    return bool(request.version) and not request.nonce
