"""What is fuzzed: one stream, from the bytes of its requests to the bytes of its responses.

An input is a byte of flags and then frames: a byte that says what happens, two of length, and as many bytes. Whatever
they are, only a PointsmanError may come out, and it ends the stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from xds.cache import Cache
from xds.errors import PointsmanError
from xds.protocol.decode import parse_delta, parse_sotw
from xds.protocol.messages import DeltaResponse, Request
from xds.protocol.stream import Stream
from xds.resources.types import TYPES, Resource, ResourceType, resource
from xds.resources.wire import field

SECONDS = 5.0
"""For one input: far more than any needs."""
NAMES = ("a", "b", "*x")
REQUEST, PUBLISH, RELEASE, PULL_ONE = range(4)


class Wrong(Exception):
    """The stream did what it must not do."""


def run(data: bytes) -> bool:
    """True when the stream was still open at the end of the input."""
    began = time.perf_counter()
    try:
        return _run(data)
    finally:
        if time.perf_counter() - began > SECONDS:
            raise Wrong("it took too long")


def frame(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(2, "big") + body


def _run(data: bytes) -> bool:
    flags = data[0] if data else 0
    cache = Cache()
    cache.publish({kind: {"a": _made(kind, "a", b"1")} for kind in TYPES})
    only = TYPES[(flags >> 2) % len(TYPES)] if flags & 2 else None
    parse: Callable[[bytes], Request] = parse_sotw if flags & 1 else parse_delta
    stream = Stream(cache.view, only, response_bytes=400, max_names=50)
    cache.watch(stream.changed)
    for kind, body in _frames(data[1:]):
        try:
            match kind % 4:
                case 0:
                    stream.receive(parse(body))
                case 1:
                    _publish(cache, body)
                case 2:
                    stream.release()
            _pull(stream, 1 if kind % 4 == PULL_ONE else 1_000)
        except PointsmanError:
            return False
    for kind_ in TYPES:
        list(stream.resources(kind_))
    stream.states()
    return True


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 3 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        yield data[at], data[at + 3 : at + 3 + size]
        at += 3 + size


def _publish(cache: Cache, body: bytes) -> None:
    update: dict[ResourceType, dict[str, Resource | None]] = {}
    for byte in body[:20]:
        kind, name = TYPES[byte % 6], NAMES[byte // 6 % 3]
        update.setdefault(kind, {})[name] = None if byte & 0x80 else _made(kind, name, bytes((byte & 0x40,)))
    cache.publish(update)


def _made(kind: ResourceType, name: str, content: bytes) -> Resource:
    return resource(kind, name, field(1, content) + field(3, name.encode()))


def _pull(stream: Stream, most: int) -> None:
    for number, response in enumerate(stream.responses(), 1):
        names = [one.name for one in response.resources]
        if isinstance(response, DeltaResponse):
            names += response.removed
        if len(set(names)) < len(names):
            raise Wrong(f"a name twice: {names}")
        if number >= 1_000:
            raise Wrong("it sends on and on")
        response.encode()
        if number == most:
            return
