"""An xDS client as the protocol's state machines see one: it asks, keeps what it is sent, and ACKs or not."""

from __future__ import annotations

from dataclasses import dataclass, field

from xds.cache import Cache
from xds.protocol.messages import DeltaRequest, DeltaResponse, Node, Response, SotwRequest, SotwResponse
from xds.protocol.stream import Stream
from xds.resources.types import SCOPE, Resource, ResourceType, resource
from xds.resources.wire import field as wire

NODE = Node("envoy-1")


def made(kind: ResourceType, name: str, content: str) -> Resource:
    """A resource whose body is ``content``; a scope's has a key of its own beside it."""
    body = content.encode()
    return resource(kind, name, wire(1, body) + wire(3, name.encode()) if kind is SCOPE else body)


def publish(cache: Cache, kind: ResourceType, **contents: str | None) -> None:
    """``name="content"`` is put, ``name=None`` removed."""
    cache.publish(
        {kind: {name: None if content is None else made(kind, name, content) for name, content in contents.items()}}
    )


@dataclass
class Peer:
    """``auto``: ACKs every response as soon as it is taken. ``defers``: what the cache holds may be older than what the
    client brings."""

    cache: Cache
    auto: bool = True
    response_bytes: int = 3_500_000
    max_names: int = 100_000
    defers: bool = False
    stream: Stream = field(init=False)
    last: dict[str, str] = field(init=False, default_factory=dict)
    """The nonce of the newest response, by type URL."""

    def __post_init__(self) -> None:
        self.stream = Stream(
            self.cache.view,
            response_bytes=self.response_bytes,
            max_names=self.max_names,
            newest=lambda: self.cache.publishes,
            defers=lambda: self.defers,
        )
        self.cache.watch(self.stream.changed)

    def delta(
        self,
        kind: ResourceType,
        *subscribe: str,
        unsubscribe: tuple[str, ...] = (),
        initial: dict[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
    ) -> list[str]:
        request = DeltaRequest(kind.url, subscribe, unsubscribe, initial or {}, nonce, error, NODE)
        self.stream.receive(request)
        return self.said()

    def sotw(
        self, kind: ResourceType, *names: str, nonce: str | None = None, error: str | None = None, version: str = ""
    ) -> list[str]:
        """``nonce`` is the newest one unless given: so it is an ACK, or with ``error`` a NACK."""
        newest = self.last.get(kind.url, "") if nonce is None else nonce
        self.stream.receive(SotwRequest(kind.url, names, version, newest, error, NODE))
        return self.said()

    def take(self) -> list[Response]:
        """The responses that are due."""
        taken: list[Response] = []
        while responses := list(self.stream.responses()):
            taken += responses
            for response in responses:
                self.last[response.type_url] = response.nonce
                if self.auto and isinstance(response, DeltaResponse):
                    self.stream.receive(DeltaRequest(response.type_url, nonce=response.nonce))
        return taken

    def said(self) -> list[str]:
        """The responses that are due, in short: ``kind: +put -removed``."""
        return [said(response) for response in self.take()]


def said(response: Response) -> str:
    kind = response.type_url.rpartition(".")[2]
    names = ["+" + one.name for one in response.resources]
    if isinstance(response, DeltaResponse):
        names += ["-" + name for name in response.removed]
    else:
        assert isinstance(response, SotwResponse)
    return " ".join([f"{kind}:", *names])
