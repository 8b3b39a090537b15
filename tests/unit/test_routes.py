"""Route tables: spliced bytes against the dataclasses, and what a move touches."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from hypothesis import given, settings
from hypothesis import strategies as st

from xds.resources.routes import RouteTables, route_table
from xds.resources.wire import field, varint

names = st.from_regex(r"(\*\.)?[a-c0-2]{1,4}\.(example\.com|acme\.test)", fullmatch=True)
pods = st.sampled_from(["pod1", "pod2", "pod3"])


def filled(domains: dict[str, str], tables: int = 4, *, asking: bool = False) -> RouteTables:
    made = RouteTables(tables, asking=asking)
    for domain, pod in domains.items():
        made.move(domain, None, pod)
    return made


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(names, pods, max_size=20), st.booleans())
def test_a_spliced_table_equals_the_dataclass(domains: dict[str, str], asking: bool) -> None:
    tables = filled(domains, asking=asking)
    for number in range(len(tables)):
        shares = tables.shares(number)
        assert RouteConfiguration.parse(tables.encoded(number)) == route_table(number, shares, asking=asking)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(names, pods, max_size=30))
def test_every_domain_stands_in_its_own_table_and_a_wildcard_in_all(domains: dict[str, str]) -> None:
    tables = filled(domains)
    for domain, pod in domains.items():
        for number in range(len(tables)):
            expected = domain.startswith("*") or tables.number_of(domain) == number
            assert (domain in tables.shares(number).get(pod, [])) == expected


def test_a_move_touches_only_the_table_of_the_domain() -> None:
    domains = {f"{first}{second}.example.com": "pod1" for first in "abcdefgh" for second in "abcdefgh"}
    tables = filled(domains, tables=16)
    before = [tables.encoded(number) for number in range(16)]
    touched = set(tables.move("aa.example.com", "pod1", "pod2"))
    assert touched == {number for number in range(16) if tables.encoded(number) != before[number]}
    assert len(touched) == 1


def test_the_order_of_arrival_does_not_change_the_bytes() -> None:
    domains = {f"a{n}.example.com": f"pod{n % 3}" for n in range(50)}
    backwards = dict(reversed(domains.items()))
    assert [filled(domains).encoded(n) for n in range(4)] == [filled(backwards).encoded(n) for n in range(4)]


def test_a_domain_that_is_deleted_leaves_no_empty_virtual_host() -> None:
    tables = filled({"aa.example.com": "pod1"})
    tables.move("aa.example.com", "pod1", None)
    assert tables.shares(tables.number_of("aa.example.com")) == {}


def test_lengths_above_127_take_more_than_one_byte() -> None:
    assert varint(300) == b"\xac\x02"
    assert field(2, b"x" * 300) == b"\x12\xac\x02" + b"x" * 300


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(st.tuples(names, st.none() | pods), min_size=1, max_size=40)), max_size=8))
def test_after_any_moves_the_tables_hold_what_they_should(publishes: list[tuple[list[tuple[str, str | None]]]]) -> None:
    tables = RouteTables(4)
    held: dict[str, str] = {}
    for (moves,) in publishes:
        for domain, pod in moves:
            tables.move(domain, held.get(domain), pod)
            if pod is None:
                held.pop(domain, None)
            else:
                held[domain] = pod
        for number in range(4):
            wanted: dict[str, list[str]] = {}
            for domain in sorted(held):
                if domain.startswith("*") or tables.number_of(domain) == number:
                    wanted.setdefault(held[domain], []).append(domain)
            assert tables.shares(number) == wanted
            assert RouteConfiguration.parse(tables.encoded(number)) == route_table(number, wanted)


def test_every_route_to_a_pod_has_the_idle_timeout_that_is_set() -> None:
    idle = timedelta(minutes=20)
    tables = RouteTables(1, asking=True, idle=idle)
    for domain, pod in (("aa.example.com", "pod1"), ("*.acme.test", "pod2")):
        tables.move(domain, None, pod)
    made = RouteConfiguration.parse(tables.encoded(0))
    actions = [route.route for host in made.virtual_hosts for route in host.routes]
    assert [(action.timeout, action.idle_timeout) for action in actions if action] == [(timedelta(0), idle)] * 3
    assert made == route_table(0, tables.shares(0), asking=True, idle=idle)
