"""A record that Envoy rejects is found among all that were published with it, and harms only itself."""

from __future__ import annotations

import heapq
import itertools
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.cache import Cache
from xds.delta import Content, Key
from xds.gds.model import Change, DeleteDomain, Endpoint, Pod, PutDomain, PutPod, Snapshot, Transaction
from xds.isolation import Isolation
from xds.isolator import PATIENCE, REST
from xds.pipeline import Pace, Pipeline
from xds.protocol.messages import DeltaRequest, DeltaResponse, Node, Response, SotwRequest
from xds.protocol.stream import Stream
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.resources.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPE, ResourceType

TABLES = 4


@given(st.sets(st.integers(0, 199), max_size=6), st.integers(1, 200))
def test_bisection_finds_every_bad_record_and_no_other(bad: set[int], count: int) -> None:
    def key(number: int) -> Key:
        return "domain", f"d{number}"

    suspects: dict[Key, Content] = {key(number): "before" for number in range(count)}
    wrong = {key(number) for number in bad if number < count}
    if not wrong:
        return  # then nothing was NACKed
    used = set(suspects)
    search = Isolation(suspects)
    trial = search.begin()
    while trial is not None:
        used = used - set(trial.withhold) | set(trial.restore)
        trial = None if search.over else search.after(accepted=not used & wrong)
    assert set(search.bad) == wrong
    assert used == set(suspects) - wrong
    assert search.trials <= 3 + 2 * len(wrong) * (count.bit_length() + 1)


def test_a_witness_that_rejects_what_was_proven_ends_the_search() -> None:
    search = Isolation({("domain", "a"): None, ("domain", "b"): None})
    assert set(search.begin().withhold) == {("domain", "a"), ("domain", "b")}
    last = search.after(accepted=False)
    assert last is not None
    assert set(last.restore) == {("domain", "a"), ("domain", "b")}
    assert (search.contrary, search.bad, search.over) == (True, [], True)


@dataclass
class Time:
    """The event loop's clock and timers, moved by hand."""

    now: float = 0.0
    timers: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    turn: itertools.count[int] = field(default_factory=itertools.count)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self.timers, (self.now + seconds, next(self.turn), call))

    def clock(self) -> float:
        return self.now

    def pass_by(self, seconds: float, meanwhile: Callable[[], None]) -> None:
        end = self.now + seconds
        meanwhile()
        while self.timers and self.timers[0][0] <= end:
            self.now, _, call = heapq.heappop(self.timers)
            call()
            meanwhile()
        self.now = end


class Envoy:
    """Asks for everything, keeps what it accepts, and rejects what holds one of ``poisons``."""

    def __init__(
        self,
        world: World,
        name: str,
        *poisons: bytes,
        sotw: bool = False,
        silent: bool = False,
        late: float = 0.0,
        initial: Mapping[ResourceType, dict[str, str]] | None = None,
    ) -> None:
        self.world = world
        self.late = late
        self.pending: list[tuple[float, Response]] = []
        self.name = name
        self.poisons = poisons
        self.silent = silent
        self.held: dict[str, bytes] = {}
        self.taken = 0
        self.stream = Stream(world.cache.view)
        world.cache.watch(self.stream.changed)
        node = Node(name)
        tables = tuple(f"table-{number}" for number in range(TABLES))
        for kind, names in ((CLUSTER, ()), (LISTENER, ()), (SCOPE, ()), (ROUTE, tables)):
            versions = (initial or {}).get(kind, {})
            if versions:
                world.pipeline.isolator.returned(kind, versions)
            if sotw:
                self.stream.receive(SotwRequest(kind.url, names, node=node))
            else:
                self.stream.receive(DeltaRequest(kind.url, names, initial_versions=versions, node=node))

    def read(self) -> bool:
        """Takes what is due; True when there was something."""
        now = self.world.time.now
        self.pending += [(now + self.late, response) for response in self.stream.responses()]
        due = [response for at, response in self.pending if at <= now]
        self.pending = [(at, response) for at, response in self.pending if at > now]
        for response in due:
            self.taken += 1
            self.answer(response)
        return bool(due)

    def leave(self) -> None:
        self.world.envoys.remove(self)
        self.world.cache.unwatch(self.stream.changed)
        self.world.pipeline.isolator.gone(self.stream)

    def answer(self, response: Response) -> None:
        bad = [r.name for r in response.resources if any(poison in r.any for poison in self.poisons)]
        error = f"can't take {', '.join(bad)}{self.named(response)}" if bad else None
        if not bad:
            self.held.update({resource.name: resource.any for resource in response.resources})
        if self.silent and bad:
            return
        request: DeltaRequest | SotwRequest
        if isinstance(response, DeltaResponse):
            for name in response.removed:
                self.held.pop(name, None)
            request = DeltaRequest(response.type_url, nonce=response.nonce, error=error)
        else:
            names = tuple(f"table-{n}" for n in range(TABLES)) if response.type_url == ROUTE.url else ()
            request = SotwRequest(response.type_url, names, response.version, response.nonce, error)
        settled = self.stream.receive(request)
        if settled is not None:
            self.world.pipeline.isolator.settled(self.stream, self.name, settled)
        pods = [r.name for r in response.resources] if response.type_url == CLUSTER.url else []
        if pods and not bad and isinstance(response, DeltaResponse):
            self.stream.receive(DeltaRequest(ENDPOINT.url, tuple(pods)))

    def named(self, response: Response) -> str:
        """As Envoy does, the error says which of the domains it means; here those that begin with "named"."""
        found = {name for r in response.resources for name in re.findall(rb"named[a-z0-9.]*", r.any)}
        return "".join(f" ({name.decode()})" for name in sorted(found))

    def routes(self, domain: str) -> bool:
        return any(domain.encode() in body for body in self.held.values())


class World:
    """A pipeline and the Envoys that follow it, without sockets."""

    def __init__(self, *domains: str, pods: tuple[Pod, ...] = (Pod("pod1"), Pod("pod2"))) -> None:
        self.time = Time()
        self.cache = Cache()
        self.pipeline = Pipeline(
            EdgeResources(TABLES, timedelta(seconds=1)),
            self.cache,
            Edge(),
            Pace(),
            later=self.time.later,
            clock=self.time.clock,
            takers=lambda: [envoy.stream for envoy in self.envoys],
        )
        self.envoys: list[Envoy] = []
        self.pipeline.replace(Snapshot("e", 1, pods, [(domain, "pod1") for domain in domains]))

    def envoy(self, name: str, *poisons: bytes, **how: Any) -> Envoy:
        self.envoys.append(Envoy(self, name, *poisons, **how))
        self.settle()
        return self.envoys[-1]

    def change(self, *changes: Change) -> None:
        directory = self.pipeline.directory
        self.pipeline.apply(Transaction(directory.epoch, directory.revision + 1, changes))

    def settle(self, seconds: float = 20.0) -> None:
        def everybody() -> None:
            while any([envoy.read() for envoy in self.envoys]):
                pass

        self.time.pass_by(seconds, everybody)

    @property
    def aside(self) -> dict[tuple[str, str], str]:
        return {key: record.reason for key, record in self.pipeline.directory.set_aside.items()}


def domains(count: int) -> list[str]:
    return [f"{chr(97 + n % 26)}{n}.example.com" for n in range(count)]


@pytest.mark.parametrize("sotw", [False, True], ids=["delta", "sotw"])
def test_a_poisoned_domain_is_set_aside_and_the_rest_of_its_transaction_goes_through(sotw: bool) -> None:
    world = World(*domains(50))
    envoy = world.envoy("e1", b"poison", sotw=sotw)
    new = [f"n{n}.example.com" for n in range(100)]
    world.change(*(PutDomain(name, "pod2") for name in [*new[:70], "poison.example.com", *new[70:]]))
    world.settle()
    assert all(envoy.routes(name) for name in [*new, *domains(50)])
    assert not envoy.routes("poison.example.com")
    assert list(world.aside) == [("domain", "poison.example.com")]
    assert world.aside["domain", "poison.example.com"].startswith("Envoy e1 rejects it: can't take table-")


def test_nothing_loops_after_a_record_was_refused() -> None:
    world = World(*domains(10))
    envoy = world.envoy("e1", b"poison")
    world.change(PutDomain("poison.example.com", "pod1"))
    world.settle()
    taken = envoy.taken
    world.settle(300)
    assert envoy.taken == taken


def test_a_refused_record_is_tried_again_only_with_other_content() -> None:
    world = World(*domains(10))
    envoy = world.envoy("e1", b"poison")
    world.change(PutDomain("poison.example.com", "pod1"))
    world.settle()
    searches = world.pipeline.isolator.searches
    world.change(PutDomain("poison.example.com", "pod1"))
    world.settle()
    assert world.pipeline.isolator.searches == searches
    envoy.poisons = ()
    world.change(PutDomain("poison.example.com", "pod2"))
    world.settle()
    assert envoy.routes("poison.example.com")
    assert world.aside == {}


def test_a_deleted_record_is_forgotten() -> None:
    world = World(*domains(10))
    world.envoy("e1", b"poison")
    world.change(PutDomain("poison.example.com", "pod1"))
    world.settle()
    world.change(DeleteDomain("poison.example.com"))
    assert world.aside == {}


def test_a_new_snapshot_keeps_what_was_refused() -> None:
    world = World(*domains(10))
    envoy = world.envoy("e1", b"poison")
    world.change(PutDomain("poison.example.com", "pod1"))
    world.settle()
    nacked = sum(state.nacked for state in envoy.stream.states())
    pairs = [(name, "pod1") for name in [*domains(11), "poison.example.com"]]
    world.pipeline.replace(Snapshot("other", 1, (Pod("pod1"), Pod("pod2")), pairs))
    world.settle()
    assert envoy.routes(domains(11)[-1])
    assert sum(state.nacked for state in envoy.stream.states()) == nacked
    assert list(world.aside) == [("domain", "poison.example.com")]


def test_several_poisoned_domains_are_all_found() -> None:
    world = World(*domains(10))
    envoy = world.envoy("e1", b"poison")
    names = [f"{'poison' if n % 17 == 0 else 'fine'}{n}.example.com" for n in range(60)]
    world.change(*(PutDomain(name, "pod1") for name in names))
    world.settle()
    assert {name for _, name in world.aside} == {name for name in names if name.startswith("poison")}
    assert all(envoy.routes(name) for name in names if name.startswith("fine"))


def test_a_poisoned_domain_that_was_there_before_the_first_envoy_is_found() -> None:
    world = World(*domains(40), "poison.example.com")
    envoy = world.envoy("e1", b"poison")
    assert list(world.aside) == [("domain", "poison.example.com")]
    assert all(envoy.routes(name) for name in domains(40))


def test_a_poisoned_pod_keeps_its_old_endpoints_and_others_change() -> None:
    world = World(*domains(10), pods=(pod("pod1", "10.0.0.1"), pod("pod2", "10.0.0.2")))
    envoy = world.envoy("e1", b"10.6.6.6")
    world.change(PutPod(pod("pod1", "10.6.6.6")), PutPod(pod("pod2", "10.0.0.9")), PutPod(pod("pod3", "10.0.0.3")))
    world.settle()
    assert list(world.aside) == [("pod", "pod1")]
    assert envoy.routes("10.0.0.1")
    assert envoy.routes("10.0.0.9")
    assert envoy.routes("10.0.0.3")


def test_what_one_envoy_rejects_and_another_accepts_is_not_set_aside() -> None:
    world = World(*domains(10))
    odd, other = world.envoy("odd", b"new.example.com"), world.envoy("other")
    world.change(PutDomain("new.example.com", "pod1"))
    world.settle()
    assert other.routes("new.example.com")
    assert world.aside == {}
    assert sum(state.nacked for state in odd.stream.states()) == 1


def test_an_envoy_that_rejects_everything_sets_nothing_aside() -> None:
    world = World(*domains(10))
    world.envoy("broken", b"")
    assert world.aside == {}
    sound = world.envoy("sound")
    world.change(PutDomain("new.example.com", "pod1"))
    world.settle()
    assert sound.routes("new.example.com")
    assert world.aside == {}


def test_a_witness_that_falls_silent_holds_nobody_up() -> None:
    world = World(*domains(10))
    witness = world.envoy("e1", b"poison")
    world.change(PutDomain("poison.example.com", "pod1"), PutDomain("fine.example.com", "pod1"))
    world.time.pass_by(0.01, lambda: witness.read())
    witness.silent = True
    world.settle()
    other = world.envoy("e2")
    world.change(PutDomain("later.example.com", "pod1"))
    world.settle()
    assert other.routes("fine.example.com")
    assert other.routes("later.example.com")


def test_what_a_search_without_an_answer_did_not_find_is_searched_for_again_after_a_rest() -> None:
    world = World(*domains(10))
    witness = world.envoy("e1", b"poison")
    world.change(PutDomain("poison.example.com", "pod1"), PutDomain("fine.example.com", "pod1"))
    world.time.pass_by(0.01, lambda: witness.read())
    witness.late = PATIENCE + 1
    world.settle(PATIENCE + 0.5)
    witness.late = 0.0
    for _ in range(int(REST) - 5):  # it answers, and rejects what is there again
        world.settle(1.0)
    assert world.aside == {}
    world.settle(REST)
    assert list(world.aside) == [("domain", "poison.example.com")]
    assert witness.routes("fine.example.com")


def test_an_envoy_that_rejects_everything_starts_ever_fewer_searches() -> None:
    world = World(*domains(10))
    world.envoy("sound")
    world.envoy("broken", b"")
    world.settle(10 * REST)
    early = world.pipeline.isolator.searches
    world.settle(100 * REST)
    assert world.pipeline.isolator.searches - early <= early + 4
    assert world.aside == {}


def test_changes_that_come_during_a_search_go_through_and_the_bad_ones_among_them_are_found() -> None:
    world = World(*domains(30))
    envoy = world.envoy("e1", b"poison")
    world.change(*(PutDomain(f"n{n}.example.com", "pod1") for n in range(30)), PutDomain("poison.example.com", "pod1"))
    turn = itertools.count()

    def meanwhile() -> None:
        envoy.read()
        number = next(turn)
        if number < 30:
            name = "poison2" if number == 7 else f"late{number}"
            world.change(PutDomain(f"{name}.example.com", "pod2"))

    world.time.pass_by(5, meanwhile)
    world.settle()
    assert {name for _, name in world.aside} == {"poison.example.com", "poison2.example.com"}
    late = [f"late{n}.example.com" for n in range(30) if n != 7]
    assert all(envoy.routes(name) for name in [*late, *(f"n{n}.example.com" for n in range(30))])


def test_a_large_change_that_comes_during_a_search_goes_out_in_slices_and_the_search_begins_anew() -> None:
    world = World(*domains(30))
    envoy = world.envoy("e1", b"poison")
    world.change(*(PutDomain(f"n{n}.example.com", "pod1") for n in range(30)), PutDomain("poison.example.com", "pod1"))
    while not world.pipeline.isolator.busy:
        world.time.pass_by(0.01, envoy.read)
    many = [f"many{n}.example.com" for n in range(4_000)]
    revision = world.pipeline.directory.revision + 1
    change = Transaction("e", revision, [PutDomain(name, "pod2") for name in many])
    assert sum(1 for _ in world.pipeline.applying(change)) >= 4
    assert not world.pipeline.isolator.busy, "what is laid out in slices would go with a trial, at once"
    world.settle()
    assert {name for _, name in world.aside} == {"poison.example.com"}
    assert all(envoy.routes(name) for name in [*many, *(f"n{n}.example.com" for n in range(30))])


def test_what_another_envoy_accepts_later_is_not_set_aside() -> None:
    world = World(*domains(10))
    world.envoy("odd", b"new.example.com")
    sound = [world.envoy(f"sound{n}", late=2.0) for n in range(5)]
    for tick in range(30):
        world.time.later(tick * 0.5, lambda: None)
    world.change(PutDomain("new.example.com", "pod1"))
    world.settle()
    assert all(envoy.routes("new.example.com") for envoy in sound)
    assert world.aside == {}


def held(world: World, kind: ResourceType) -> dict[str, str]:
    return {name: resource.version for name, resource in world.cache.view(kind).items()}


def test_after_a_restart_only_the_domain_that_an_error_names_is_taken_away() -> None:
    """Envoy holds the state before; what it was made of, the new control plane can't know."""
    before = World(*domains(40))
    world = World(*domains(40), "named.example.com")
    initial = {kind: held(before, kind) for kind in (CLUSTER, ROUTE)}
    lowest = [40]

    def watch(changed: object) -> None:
        body = b"".join(resource.any for resource in world.cache.view(ROUTE).values())
        lowest[0] = min(lowest[0], sum(domain.encode() in body for domain in domains(40)))

    world.cache.watch(watch)
    world.envoy("e1", b"named", initial=initial)
    assert list(world.aside) == [("domain", "named.example.com")]
    assert lowest == [40]


def test_after_a_restart_nothing_is_taken_away_when_no_record_is_named() -> None:
    before = World(*domains(40))
    world = World(*domains(40), "poison.example.com")
    world.envoy("e1", b"poison", initial={kind: held(before, kind) for kind in (CLUSTER, ROUTE)})
    assert world.aside == {}
    assert len(world.pipeline.directory.domains) == 41
    world.change(PutDomain("other.example.com", "pod1"))
    world.settle()
    assert len(world.pipeline.directory.domains) == 42


def test_after_a_restart_a_rejected_pod_stays_as_the_envoy_has_it() -> None:
    before = World(*domains(10), pods=(pod("pod1", "10.0.0.1"), pod("pod2", "10.0.0.2")))
    world = World(*domains(10), pods=(pod("pod1", "10.6.6.6"), pod("pod2", "10.0.0.2")))
    kinds = (CLUSTER, ENDPOINT, ROUTE)
    world.envoy("e1", b"10.6.6.6", initial={kind: held(before, kind) for kind in kinds})
    assert "pod1" in world.cache.view(CLUSTER)
    assert len(world.pipeline.directory.domains) == 10


def test_what_a_client_says_that_it_holds_is_remembered_only_if_it_is_published() -> None:
    world = World(*domains(10))
    isolator = world.pipeline.isolator
    isolator.returned(ROUTE, held(world, ROUTE))
    before = len(pickle.dumps(vars(isolator.ledger)))
    isolator.returned(ROUTE, {f"made-up-{number}": "1" for number in range(10_000)})
    assert len(pickle.dumps(vars(isolator.ledger))) == before


def test_of_what_many_envoys_bring_back_only_the_first_tells_news() -> None:
    world = World(*domains(10))
    isolator = world.pipeline.isolator
    brought = held(world, ROUTE)
    assert isolator.ledger.news(ROUTE, brought) == brought
    isolator.returned(ROUTE, brought)
    assert isolator.ledger.news(ROUTE, brought) == {}
    assert isolator.ledger.news(ROUTE, dict.fromkeys(brought)) == {}
    world.change(PutDomain("moved.example.com", "pod1"))
    assert set(isolator.ledger.news(ROUTE, brought)) == {
        name for name, version in held(world, ROUTE).items() if brought.get(name) != version
    }


def test_a_witness_that_leaves_ends_its_search_at_once() -> None:
    world = World(*domains(10))
    witness = world.envoy("e1", b"poison", silent=True)
    witness.silent = False
    world.change(PutDomain("poison.example.com", "pod1"), PutDomain("fine.example.com", "pod1"))
    world.time.pass_by(0.01, lambda: witness.read())
    witness.silent = True
    world.settle(0.5)
    assert world.pipeline.isolator.busy
    witness.leave()
    assert not world.pipeline.isolator.busy
    other = world.envoy("e2")
    assert other.routes("fine.example.com")


def pod(name: str, address: str) -> Pod:
    return Pod(name, endpoints=(Endpoint(address, 80),))
