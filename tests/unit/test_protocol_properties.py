"""Random histories of one stream against a small client that applies what it is sent as Envoy does.

``POINTSMAN_HISTORIES=100000 pytest tests/unit/test_protocol_properties.py`` runs that many of each variant.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from protocol_peer import NODE, made

from xds.cache import Cache
from xds.protocol.messages import DeltaRequest, DeltaResponse, Request, Response, SotwRequest
from xds.protocol.stream import Stream
from xds.resources.types import BY_URL, CLUSTER, ENDPOINT, TYPES, Resource, ResourceType

HISTORIES = int(os.environ.get("POINTSMAN_HISTORIES", "2000"))
NAMES = ("a", "b", "c")
CONTENTS = ("1", "2", None)
ALL = "*"
EXAMPLES = settings(max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), database=None)


class Side:
    """One type at the client: what it asks for, what it holds, what it rejected, and why something may come again."""

    def __init__(self, kind: ResourceType) -> None:
        self.kind = kind
        self.names: dict[str, None] = {}
        self.wildcard = False
        self.named = False
        self.began = False
        self.nonce = ""
        self.held: dict[str, str] = {}
        self.rejected: dict[str, tuple[str | None, int]] = {}
        self.sent: dict[str, str | None] = {}
        self.causes: set[str] = set()
        self.state_cause = True

    def wanted(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def drop(self) -> None:
        for mine in (self.held, self.rejected):
            for name in [name for name in mine if not self.wanted(name)]:
                del mine[name]


class Client:
    """``choices`` decide everything. Checks each response as it is sent."""

    def __init__(self, choices: Iterator[int]) -> None:
        self.choices = choices
        self.cache = Cache()
        self.inbox: list[Response] = []
        self.sides: dict[ResourceType, Side] = {}
        self.events = self.responses = self.nacks = 0
        self.released = True
        self.asked: set[tuple[ResourceType, str]] = set()
        self.connect()

    def connect(self) -> None:
        self.stream = Stream(self.cache.view, response_bytes=200)
        self.inbox.clear()
        self.released = True
        for side in self.sides.values():
            side.began, side.nonce, side.named = False, "", False
            side.rejected.clear()
            side.causes.update(NAMES)
            side.state_cause = True
            side.sent = {}

    def pick(self, count: int) -> int:
        return next(self.choices, 0) % count

    # What happens.

    def event(self) -> None:
        self.events += 1
        (self.publish, self.subscribe, self.unsubscribe, self.answer, self.answer, self.answer, self.rarely)[
            self.pick(7)
        ]()
        self.flush(whole=self.pick(4) > 0)

    def rarely(self) -> None:
        match self.pick(4):
            case 0:
                self.stream.release()
                self.released = True
            case 1:
                self.reconnect()
            case 2:
                side = self.sides.get(TYPES[self.pick(len(TYPES))])
                if side is not None and side.began:
                    self.send(side, nonce="none such", error="stale")
            case _:
                for _ in range(3):
                    self.publish()

    def publish(self) -> None:
        update: dict[ResourceType, dict[str, Resource | None]] = {}
        for _ in range(1 + self.pick(3)):
            kind, name, content = TYPES[self.pick(6)], NAMES[self.pick(3)], CONTENTS[self.pick(3)]
            update.setdefault(kind, {})[name] = None if content is None else made(kind, name, content)
        changed = self.cache.publish(update)
        self.stream.changed(changed)
        for kind, names in changed.items():
            self.released = self.released and not kind.held
            if (side := self.sides.get(kind)) is not None:
                for name in names:
                    if name not in self.cache.view(kind) and isinstance(self, SotwClient):
                        side.causes.add(name)  # its absence can't be told, so it comes again when it is back
                    if name in side.rejected and side.wanted(name):
                        number = side.rejected[name][1]
                        together = [other for other, (_, mark) in side.rejected.items() if mark == number]
                        side.causes.update(together)
                        side.state_cause = True
                        if not (kind.wildcard and isinstance(self, SotwClient)):  # the state that comes clears it
                            for other in together:
                                del side.rejected[other]

    def subscribe(self) -> None:
        kind = TYPES[self.pick(6)]
        side = self.sides.setdefault(kind, Side(kind))
        choice = self.pick(5)
        names = (ALL,) if choice == 3 else () if choice == 4 else (NAMES[choice],)
        self.change(side, subscribe=names)

    def unsubscribe(self) -> None:
        side = self.sides.get(TYPES[self.pick(6)])
        if side is not None and side.began:
            self.change(side, unsubscribe=((*NAMES, ALL)[self.pick(4)],))

    def change(self, side: Side, subscribe: tuple[str, ...] = (), unsubscribe: tuple[str, ...] = ()) -> None:
        raise NotImplementedError

    def send(self, side: Side, *, nonce: str = "", error: str | None = None) -> None:
        raise NotImplementedError

    def reconnect(self) -> None:
        self.connect()
        for side in list(self.sides.values()):
            self.begin(side)

    def begin(self, side: Side) -> None:
        raise NotImplementedError

    def take(self, request: Request) -> None:
        self.stream.receive(request)
        self.sides[BY_URL[request.type_url]].began = True

    def answer(self, ack: bool | None = None) -> None:
        """The oldest response is applied, or rejected: then the client may have applied some of it."""
        if not self.inbox:
            return
        response = self.inbox.pop(0)
        side = self.sides[BY_URL[response.type_url]]
        ack = self.pick(4) > 0 if ack is None else ack
        removed = self.gone(side, response)
        self.nacks += not ack
        later = {one.name for more in self.inbox if more.type_url == response.type_url for one in more.resources}
        for more in self.inbox:
            later.update(self.gone(side, more) if more.type_url == response.type_url else ())
        for one in response.resources:
            if side.wanted(one.name):
                if side.kind is CLUSTER and ENDPOINT in self.sides and side.held.get(one.name) != one.version:
                    self.sides[ENDPOINT].held.pop(one.name, None)  # it warms until its endpoints come again
                if ack or self.pick(2):
                    side.held[one.name] = one.version
                if not ack and one.name not in later:
                    side.rejected[one.name] = one.version, self.nacks
        for name in removed:
            if ack or self.pick(2):
                side.held.pop(name, None)
            if not ack and side.wanted(name) and name not in later:
                side.rejected[name] = None, self.nacks
        side.nonce = response.nonce
        self.send(side, nonce=response.nonce, error=None if ack else "rejected")

    def gone(self, side: Side, response: Response) -> list[str]:
        raise NotImplementedError

    # What is sent.

    def flush(self, *, whole: bool = True) -> None:
        for response in self.stream.responses() if whole else islice(self.stream.responses(), 1):
            self.responses += 1
            assert self.responses <= 40 * (self.events + 1), "a loop"
            self.check(self.sides[BY_URL[response.type_url]], response)
            self.inbox.append(response)

    def check(self, side: Side, response: Response) -> None:
        removed = response.removed if isinstance(response, DeltaResponse) else ()
        names = [one.name for one in response.resources] + list(removed)
        assert max(Counter(names).values(), default=1) == 1, "a name twice"
        assert all(side.wanted(name) for name in names), "not asked for"
        for one in response.resources:
            assert one == self.current(side, one.name) or self.kept(side, one)
        before = set(side.sent) if side.kind.wildcard else set()
        self.check_causes(side, response, {one.name: one.version for one in response.resources})
        gone = set(removed) if isinstance(response, DeltaResponse) else before.difference(names)
        gone = {name for name in gone if side.wanted(name)}
        gone = {name for name in gone if (side.kind, name) not in self.asked and name not in side.rejected}
        if gone and side.kind.lasting and not self.released:
            assert not any(BY_URL[other.type_url].held for other in self.inbox), "removed before its routes are ACKed"
        for name in NAMES if side.kind.wildcard and not isinstance(response, DeltaResponse) else names:
            self.asked.discard((side.kind, name))
        for name in names:
            side.rejected.pop(name, None)
        if side.kind is CLUSTER and ENDPOINT in self.sides:
            self.sides[ENDPOINT].causes.update(one.name for one in response.resources)

    def check_causes(self, side: Side, response: Response, versions: dict[str, str]) -> None:
        removed = response.removed if isinstance(response, DeltaResponse) else ()
        for name, version in [*versions.items(), *((name, None) for name in removed)]:
            assert name in side.causes or side.sent.get(name) != version, f"{name} comes again without a cause"
            side.sent[name] = version
            side.causes.discard(name)

    def kept(self, side: Side, one: Resource) -> bool:
        return False

    def current(self, side: Side, name: str) -> Resource | None:
        found = self.cache.view(side.kind).get(name)
        if found is None and side.kind.absent is not None and name in side.names:
            return side.kind.absent(name)
        return found

    # The end.

    def settle(self) -> None:
        for _ in range(400):
            self.flush()
            if self.inbox:
                self.answer(ack=True)
            elif self.stream.holding:
                self.stream.release()
                self.released = True
            else:
                break
        assert not self.inbox
        assert list(self.stream.responses()) == []

    def verify(self) -> None:
        pinned = any(side.rejected for side in self.sides.values() if side.kind.held)
        for side in self.sides.values():
            for name in NAMES:
                current = self.current(side, name) if side.wanted(name) else None
                version = current.version if current else None
                if name in side.rejected and side.rejected[name][0] == version:
                    continue
                if side.held.get(name) == version or self.may_hold(side, name, current):
                    continue
                leaves = pinned and side.kind.lasting and name not in self.cache.view(side.kind)
                assert leaves, f"{side.kind.name} {name}: {side.held.get(name)} is not {version}"

    def may_hold(self, side: Side, name: str, current: Resource | None) -> bool:
        return False


class DeltaClient(Client):
    def change(self, side: Side, subscribe: tuple[str, ...] = (), unsubscribe: tuple[str, ...] = ()) -> None:
        if not side.began and not subscribe and not unsubscribe:
            side.wildcard = side.kind.wildcard
            side.causes.update(NAMES)
        for name in subscribe:
            if name != ALL:
                side.names[name] = None
                side.held.pop(name, None)  # it may have forgotten it
                side.causes.add(name)
                self.asked.add((side.kind, name))
            elif side.kind.wildcard:
                side.wildcard = True
                side.causes.update(NAMES)
        for name in unsubscribe:
            side.causes.add(name)
            if name in side.names and side.wildcard:
                self.asked.add((side.kind, name))
                side.held.pop(name, None)
            side.names.pop(name, None)
            if name == ALL:
                side.wildcard = False
        side.drop()
        self.take(DeltaRequest(side.kind.url, subscribe, unsubscribe, node=NODE))

    def send(self, side: Side, *, nonce: str = "", error: str | None = None) -> None:
        also: tuple[str, ...] = ()
        if self.pick(6) == 1:
            also = (NAMES[self.pick(3)],)
            side.names[also[0]] = None
            side.causes.add(also[0])
            self.asked.add((side.kind, also[0]))
        self.take(DeltaRequest(side.kind.url, also, nonce=nonce, error=error, node=NODE))

    def begin(self, side: Side) -> None:
        wildcard = (ALL,) if side.wildcard else ()
        if not wildcard and not side.names:
            del self.sides[side.kind]
            return
        self.asked.update((side.kind, name) for name in NAMES)  # there was no route on this stream to wait for
        self.take(DeltaRequest(side.kind.url, (*wildcard, *side.names), (), dict(side.held), node=NODE))

    def gone(self, side: Side, response: Response) -> list[str]:
        assert isinstance(response, DeltaResponse)
        return list(response.removed)


class SotwClient(Client):
    def change(self, side: Side, subscribe: tuple[str, ...] = (), unsubscribe: tuple[str, ...] = ()) -> None:
        before = dict(side.names), side.wildcard
        star = side.wildcard
        for name in subscribe:
            if name == ALL:
                star = True
            else:
                side.names[name] = None
        for name in unsubscribe:
            side.names.pop(name, None)
            star = star and name != ALL
        explicit = star and (side.named or bool(side.names) or bool(subscribe))
        listed = (*((ALL,) if explicit else ()), *side.names)
        side.wildcard = side.kind.wildcard and (ALL in listed or (not listed and not side.named))
        side.named = side.named or bool(listed)
        side.causes.update(name for name in NAMES if name in side.names and name not in before[0])
        side.causes.update(unsubscribe)
        if (dict(side.names), side.wildcard) != before:
            side.state_cause = True
            self.asked.update((side.kind, name) for name in NAMES)
        side.drop()
        self.take(SotwRequest(side.kind.url, listed, "", side.nonce, None, NODE))

    def listed(self, side: Side) -> tuple[str, ...]:
        return (*((ALL,) if side.wildcard and side.named else ()), *side.names)

    def send(self, side: Side, *, nonce: str = "", error: str | None = None) -> None:
        self.take(SotwRequest(side.kind.url, self.listed(side), "", nonce, error, NODE))

    def begin(self, side: Side) -> None:
        side.named = bool(side.names)
        side.wildcard = side.kind.wildcard and (side.wildcard or not side.names)
        self.asked.update((side.kind, name) for name in NAMES)
        version = "1" if self.pick(2) else ""
        self.take(SotwRequest(side.kind.url, self.listed(side), version, "", None, NODE))

    def gone(self, side: Side, response: Response) -> list[str]:
        if not side.kind.wildcard:
            return []
        names = {one.name for one in response.resources}
        return [name for name in side.held if name not in names]

    def check_causes(self, side: Side, response: Response, versions: dict[str, str]) -> None:
        if not side.kind.wildcard:
            super().check_causes(side, response, versions)
            return
        exist = {name for name in self.cache.view(side.kind) if side.wanted(name)}
        assert exist <= set(versions), "a state that isn't whole"
        assert side.state_cause or versions != side.sent, "the same state again without a cause"
        side.state_cause = False
        side.sent = dict(versions)

    def kept(self, side: Side, one: Resource) -> bool:
        gone = one.name not in self.cache.view(side.kind)
        return side.kind.wildcard and side.kind.lasting and gone and side.sent.get(one.name) == one.version

    def may_hold(self, side: Side, name: str, current: Resource | None) -> bool:
        # That one of these is gone can't be told: the client holds it until nothing names it.
        return not side.kind.wildcard and current is None


def run(client: Client) -> None:
    for kind in TYPES:
        if client.pick(4):
            side = client.sides.setdefault(kind, Side(kind))
            client.change(side, subscribe=() if kind.wildcard and client.pick(4) else NAMES[: client.pick(4)])
    for _ in range(2 + client.pick(40)):
        client.event()
    client.settle()
    client.verify()


@pytest.mark.parametrize("variant", [DeltaClient, SotwClient], ids=["delta", "sotw"])
@EXAMPLES
@given(choices=st.binary(min_size=600, max_size=600))
@example(choices=b"")
def test_whatever_happens_a_client_that_answers_ends_with_what_it_asked_for(
    variant: type[Client], choices: bytes
) -> None:
    run(variant(iter(choices)))
