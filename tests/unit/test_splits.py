"""Crowded pairs: whatever the names are, and at every step of a pair that is split or joined, a host finds its pod."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

import pytest
from envoy_data_plane.envoy.config.route.v3 import ScopedRouteConfiguration, VirtualHost
from hypothesis import given, settings
from hypothesis import strategies as st

from xds.delta import Delta
from xds.resources.edge import Causes, EdgeResources
from xds.resources.listeners import Edge
from xds.resources.rescope import RESCOPE, hashed_key
from xds.resources.routes import hashed_table_of, table_name
from xds.resources.scopes import every_scope
from xds.resources.types import LISTENER, ROUTE, SCOPE, Update
from xds.resources.wire import fields
from xds.slices import drained

TABLES = 5
CROWDED = 8

pods = st.sampled_from(["pod1", "pod2", "pod3"])
names = st.builds(
    lambda pair, number: f"{pair}{number}.test",
    st.sampled_from(["aa", "aa", "ab", "b-", "7z"]),
    st.integers(0, 40),
) | st.sampled_from(["*.test", "*.aa1.test", "a.test", "*.x.test"])
publishes = st.lists(st.dictionaries(names, st.none() | pods, min_size=1, max_size=40), max_size=6)


@cache
def scope_of(body: bytes) -> tuple[str, str]:
    scope = ScopedRouteConfiguration.parse(body)
    assert scope.key is not None
    return scope.key.fragments[0].string_key or "", scope.route_configuration_name


@cache
def host_of(body: bytes) -> list[tuple[str, str]]:
    host = VirtualHost.parse(body)
    return [(domain, host.name) for domain in host.domains]


def table_of(body: bytes) -> dict[str, str]:
    pairs = [pair for number, host in fields(body) if number == 2 for pair in host_of(host)]
    assert len(pairs) == len(dict(pairs)), "a domain stands twice in a table, which Envoy rejects"
    return dict(pairs)


class Envoy:
    """What it was sent, and how it finds a host's route in it."""

    def __init__(self) -> None:
        self.scopes: dict[str, str] = {}
        self.tables: dict[str, dict[str, str]] = {}

    def take(self, update: Update) -> None:
        for made in update.get(SCOPE, {}).values():
            assert made is not None
            key, table = scope_of(made.body)
            self.scopes[key] = table
        for name, made in update.get(ROUTE, {}).items():
            assert made is not None
            self.tables[name] = table_of(made.body)

    def finds(self, host: str) -> str | None:
        table = self.scopes.get(host[:2])
        if table == RESCOPE:
            table = self.scopes[hashed_key(hashed_table_of(host.lower(), TABLES))]
        held, name = self.tables[table] if table else {}, host.lower()
        if name in held:
            return held[name]
        while "." in name:
            name = name.partition(".")[2]
            if f"*.{name}" in held:
                return held[f"*.{name}"]
        return None


class Plane:
    """A control plane and its Envoy, who takes each step before the next."""

    def __init__(self, directory: dict[str, str] | None = None) -> None:
        self.edge = EdgeResources(TABLES, timedelta(seconds=1), CROWDED)
        self.envoy = Envoy()
        self.held: dict[str, str] = {}
        self.put(directory or {})
        self.envoy.scopes = dict(every_scope(self.edge.tables))
        self.envoy.take(self.edge.every_table())

    def put(self, changes: dict[str, str] | dict[str, str | None]) -> Causes:
        moves = {name: (self.held.get(name), pod) for name, pod in changes.items() if self.held.get(name) != pod}
        self.held = {name: pod for name, pod in {**self.held, **changes}.items() if pod is not None}
        causes: Causes = {}
        drained(self.edge.laying(Delta(moves, {}), causes))
        self.envoy.take(self.edge.encoded(causes))
        return causes

    def step(self) -> bool:
        update = self.edge.step()
        if update is not None:
            assert not (update[SCOPE] and update[ROUTE]), "what leads and what is led to may not come in any order"
            self.envoy.take(update)
        return update is not None

    def settle(self) -> None:
        while self.step():
            pass

    def crowd(self, pair: str, count: int) -> None:
        """``count`` domains begin with the pair from now on."""
        there = {name for name in self.held if name.startswith(pair)}
        wanted = {f"{pair}{number}.test" for number in range(count)}
        self.put({**dict.fromkeys(there - wanted, None), **{name: f"pod{len(name) % 3}" for name in wanted - there}})


def expected(directory: dict[str, str], host: str) -> str | None:
    labels = host.lower().split(".")
    names = [host.lower(), *(f"*.{'.'.join(labels[at:])}" for at in range(1, len(labels)))]
    return next((directory[name] for name in names if name in directory), None)


def check(plane: Plane, envoy: Envoy | None = None) -> None:
    """Every host, in other letter cases too, and some unknown ones."""
    found = envoy or plane.envoy
    hosts = [name.replace("*", "any") for name in plane.held]
    for host in [*hosts, "aa99.test", "ab.nobody.org", "zz.test", "b-.test.org"]:
        for cased in (host, host.upper(), host.title()):
            assert (host, found.finds(cased)) == (host, expected(plane.held, host))


@settings(max_examples=60, deadline=None)
@given(publishes)
def test_every_host_is_found_after_any_changes(changes: list[dict[str, str | None]]) -> None:
    plane = Plane()
    for one in changes:
        plane.put(one)
        plane.settle()
        check(plane)
        assert all(
            plane.envoy.tables[table_name(plane.edge.tables.number_of(name))][name] == pod
            for name, pod in plane.held.items()
            if not name.startswith("*")
        )


@settings(max_examples=60, deadline=None)
@given(publishes, st.data())
def test_no_host_is_lost_between_the_steps(changes: list[dict[str, str | None]], data: st.DataObject) -> None:
    """Changes come between any two steps. Only domains that are new and came with many others may wait for steps."""
    plane = Plane()
    waiting: set[str] = set()
    for one in changes:
        waiting |= one.keys() - plane.held.keys()
        plane.put(one)
        for _ in range(data.draw(st.integers(0, 12), "steps")):
            if not plane.step():
                waiting.clear()
                check(plane)
                break
            for name, pod in plane.held.items():
                if name not in waiting and not name.startswith("*"):
                    assert plane.envoy.finds(name) == pod


@settings(max_examples=60, deadline=None)
@given(publishes)
def test_the_tables_of_one_replica_serve_under_the_scopes_of_another(changes: list[dict[str, str | None]]) -> None:
    """One has been there all along, the other was started just now: an Envoy that goes from one to the other loses
    nothing while it has the scopes of one and the tables of the other."""
    old = Plane()
    for one in changes:
        old.put(one)
        old.settle()
    new = Plane(old.held)
    assert new.edge.step() is None
    mixed = Envoy()
    mixed.scopes, mixed.tables = new.envoy.scopes, old.envoy.tables
    check(new, mixed)
    mixed.scopes, mixed.tables = old.envoy.scopes, new.envoy.tables
    check(new, mixed)


@settings(max_examples=40, deadline=None)
@given(publishes)
def test_causes_and_records_name_the_tables_that_hold_a_domain(changes: list[dict[str, str | None]]) -> None:
    plane = Plane()
    for one in changes:
        before, causes = dict(plane.held), plane.put(one)
        delta = Delta({name: (before.get(name), pod) for name, pod in one.items() if before.get(name) != pod}, {})
        for name, (old, _) in delta.domains.items():
            for table, held in plane.envoy.tables.items():
                if name in held:
                    assert causes[ROUTE, table][name] == old
        plane.settle()
        for table, held in plane.envoy.tables.items():
            records = sorted(name for _, name in plane.edge.records((ROUTE, table)))
            assert records == ([] if table == RESCOPE else sorted(held))


def test_a_pair_is_split_above_the_marks_and_joined_below_others() -> None:
    plane = Plane()
    own = plane.edge.tables.number_of("aa")
    name = next(name for number in range(99) if hashed_table_of(name := f"aa{number}.test", TABLES) != own)
    seen = []
    for count in [*range(1, 11), *range(10, -1, -1)]:
        plane.crowd("aa", count)
        plane.settle()
        check(plane)
        seen.append((count, len(plane.edge.tables.numbers_of(name)), plane.edge.tables.is_split("aa")))
    one, both = [(n, 1, False) for n in range(11)], [(n, 2, False) for n in range(11)]
    split, split_both = [(n, 1, True) for n in range(11)], [(n, 2, True) for n in range(11)]
    assert seen[:10] == [*one[1:5], *both[5:7], *split_both[7:9], *split[9:11]]
    assert seen[10:] == [*split[10:7:-1], *split_both[7:5:-1], *both[5:3:-1], *one[3::-1]]


def test_flapping_at_a_mark_takes_no_step() -> None:
    for low, high in ((4, 5), (6, 7), (8, 9)):
        plane = Plane()
        plane.crowd("aa", high)
        plane.settle()
        for count in (low, high) * 3:
            plane.crowd("aa", count)
            assert plane.edge.step() is None


def test_a_start_with_a_crowded_pair_has_it_split_at_once() -> None:
    plane = Plane({f"aa{number}.test": "pod1" for number in range(100)})
    assert plane.edge.step() is None
    assert plane.edge.tables.is_split("aa")
    assert max(len(held) for held in plane.envoy.tables.values()) < 50
    check(plane)


def test_a_pair_that_becomes_crowded_in_one_transaction_never_fills_its_own_table() -> None:
    plane = Plane({"aa0.test": "pod1"})
    own = plane.edge.tables.number_of("aa0.test")
    sizes = []
    plane.crowd("aa", 200)
    assert plane.envoy.finds("aa0.test") is not None
    while plane.step():
        sizes.append(len(plane.envoy.tables[table_name(own)]))
    check(plane)
    assert max(sizes) < 200 * 2 / TABLES


def test_a_domain_of_a_split_pair_moves_in_one_table() -> None:
    plane = Plane({f"aa{number}.test": "pod1" for number in range(100)})
    before = {name: dict(held) for name, held in plane.envoy.tables.items()}
    plane.put({"aa7.test": "pod2"})
    changed = {name for name, held in plane.envoy.tables.items() if held != before[name]}
    assert changed == {table_name(hashed_table_of("aa7.test", TABLES))}


def test_pairs_that_are_not_crowded_stay_where_they_are() -> None:
    plane = Plane({f"ab{number}.test": "pod1" for number in range(3)})
    scopes = dict(plane.envoy.scopes)
    plane.crowd("aa", 100)
    plane.settle()
    assert {key for key, table in plane.envoy.scopes.items() if scopes[key] != table} == {"aa", "aA", "Aa", "AA"}
    check(plane)


def test_the_listeners_are_the_same_whether_pairs_are_split_or_not() -> None:
    one, other = (
        Plane({f"aa{number}.test": "pod1" for number in range(count)}).edge.fixed(Edge())[LISTENER]
        for count in (1, 100)
    )
    assert one == other


@pytest.mark.parametrize("number", [0, 7, 511, 4095])
def test_a_hashed_key_cannot_be_the_first_two_bytes_of_a_host(number: int) -> None:
    assert len(hashed_key(number).encode()) > 2


def test_with_a_single_table_there_is_nothing_to_split() -> None:
    edge = EdgeResources(1, timedelta(seconds=1), CROWDED)
    edge.update(Delta({f"aa{number}.test": (None, "pod1") for number in range(100)}, {}))
    assert edge.step() is None
    assert not edge.tables.is_split("aa")
