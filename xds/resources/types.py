"""The resource types that are served, as a table, and what one encoded resource is.

Everything after this module treats the types alike; what differs between them stands here and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from xds.resources.wire import field, fields

_ANY_TYPE_URL = 1
_ANY_VALUE = 2
_ASSIGNMENT_CLUSTER_NAME = 1
_SCOPE_KEY = 3


@dataclass(frozen=True, slots=True, eq=False)
class ResourceType:
    """There is one object of each, equal to itself alone. ``wildcard``: a client may ask for all of them, and in SotW a
    response then holds all (xDS, "ACK and resource type instance version"). ``held``: not sent while a cluster that it
    may lead to isn't ACKed yet. ``lasting``: its removal isn't sent while something of the ``held`` types, which may
    lead to it still, isn't ACKed. ``resent``: sent again to whoever subscribes, even at the version it says it has.
    ``absent`` makes what stands for one that doesn't exist but is asked for by name; without it, that is told as
    removed, or by silence in SotW. ``unique`` gives what no two resources of the type may share, out of an encoded
    one's body."""

    name: str
    url: str
    wildcard: bool = False
    held: bool = False
    lasting: bool = False
    resent: bool = False
    absent: Callable[[str], Resource] | None = None
    unique: Callable[[bytes], bytes] | None = None


def _no_endpoints(name: str) -> Resource:
    """A load assignment without endpoints: Envoy keeps those that it has when the assignment is removed, and waits for
    one that never came."""
    return resource(ENDPOINT, name, field(_ASSIGNMENT_CLUSTER_NAME, name.encode()))


def _scope_key(body: bytes) -> bytes:
    return next((value for number, value in fields(body) if number == _SCOPE_KEY), b"")


CLUSTER = ResourceType("cluster", "type.googleapis.com/envoy.config.cluster.v3.Cluster", wildcard=True, lasting=True)
ENDPOINT = ResourceType(
    "endpoint",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    lasting=True,
    resent=True,
    absent=_no_endpoints,
)
SECRET = ResourceType("secret", "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", lasting=True)
LISTENER = ResourceType("listener", "type.googleapis.com/envoy.config.listener.v3.Listener", wildcard=True, held=True)
SCOPE = ResourceType(
    "scope",
    "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
    wildcard=True,
    held=True,
    unique=_scope_key,
)
ROUTE = ResourceType("route", "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", held=True)

TYPES = (CLUSTER, ENDPOINT, SECRET, LISTENER, SCOPE, ROUTE)
"""In the order in which one publish is sent: what is led to before what leads to it (xDS, "Eventual consistency")."""

BY_URL: Mapping[str, ResourceType] = {kind.url: kind for kind in TYPES}


@dataclass(frozen=True, slots=True)
class Resource:
    """One encoded resource. ``any`` is a google.protobuf.Any; ``version`` is a hash of it, equal on every replica.

    ``repeated``: what is sent in its place where a response holds all that there is, and so again what the client has:
    without what changes but is only for who has nothing yet. Empty where that is the same."""

    name: str
    version: str
    any: bytes
    repeated: bytes = b""

    @property
    def body(self) -> bytes:
        """The encoded message itself."""
        return next(value for number, value in fields(self.any) if number == _ANY_VALUE)

    def is_a(self, kind: ResourceType) -> bool:
        return self.any.startswith(_head(kind.url))


def resource(kind: ResourceType, name: str, body: bytes) -> Resource:
    """Wraps an encoded message of type ``kind``."""
    version = hashlib.blake2b(body, digest_size=8).hexdigest()
    return Resource(name, version, _head(kind.url) + field(_ANY_VALUE, body))


@cache
def _head(url: str) -> bytes:
    """What the Any of each resource of a type begins with."""
    return field(_ANY_TYPE_URL, url.encode())


ResourceId = tuple[ResourceType, str]
"""A resource by type and name."""

Update = Mapping[ResourceType, Mapping[str, Resource | None]]
"""What changed, by type and name; None stands for removed."""
