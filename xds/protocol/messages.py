"""What passes over an xDS stream, as values; `encode` makes a response's bytes out of resources encoded already.

Field numbers are those of envoy.service.discovery.v3 (DiscoveryRequest, DiscoveryResponse, and their delta forms).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from xds.resources.types import Resource
from xds.resources.wire import field as wire


@dataclass(frozen=True, slots=True)
class Node:
    """Who is at the other end, as its first message says."""

    id: str
    cluster: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """``error`` is the reason of a NACK; None in every other request."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None
    node: Node | None = None


@dataclass(frozen=True, slots=True)
class SotwRequest:
    """``error`` is the reason of a NACK; None in every other request."""

    type_url: str
    names: tuple[str, ...] = ()
    version: str = ""
    nonce: str = ""
    error: str | None = None
    node: Node | None = None


Request = DeltaRequest | SotwRequest


@dataclass(frozen=True, slots=True)
class DeltaResponse:
    type_url: str
    nonce: str
    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()

    def encode(self) -> bytes:
        key = "delta", self.type_url, self.removed, self.resources
        return _once(key, self._body) + wire(5, self.nonce.encode())

    def _body(self) -> bytes:
        return b"".join(
            [
                *(wire(2, _delta_resource(resource)) for resource in self.resources),
                *(wire(6, name.encode()) for name in self.removed),
                wire(4, self.type_url.encode()),
            ]
        )


@dataclass(frozen=True, slots=True)
class SotwResponse:
    type_url: str
    nonce: str
    version: str
    resources: tuple[Resource, ...] = ()

    def encode(self) -> bytes:
        key = "sotw", self.type_url, self.version, self.resources
        return _once(key, self._body) + wire(5, self.nonce.encode())

    def _body(self) -> bytes:
        return b"".join(
            [
                wire(1, self.version.encode()),
                *(wire(2, resource.repeated or resource.any) for resource in self.resources),
                wire(4, self.type_url.encode()),
            ]
        )


Response = DeltaResponse | SotwResponse


def _delta_resource(resource: Resource) -> bytes:
    return wire(1, resource.version.encode()) + wire(2, resource.any) + wire(3, resource.name.encode())


_last: deque[tuple[object, bytes]] = deque(maxlen=2)
"""Bodies of responses, with what they are of. A publish goes to every stream, and each response differs only in its
nonce; so does what a fleet is sent that comes for the first time."""


def _once(key: object, make: Callable[[], bytes]) -> bytes:
    for held, body in _last:
        if held == key:
            return body
    body = make()
    _last.append((key, body))
    return body
