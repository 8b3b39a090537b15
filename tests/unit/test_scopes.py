"""Scopes: every host that can be in a table is led to it, in any letter case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.resources.rescope import ANCHOR, RESCOPE
from xds.resources.routes import RouteTables, table_name
from xds.resources.scopes import encoded_scope, every_scope, keys_of, scope, scope_keys, table_for


def test_there_is_one_scope_for_every_pair_in_every_case() -> None:
    keys = list(scope_keys())
    assert len(keys) == len(set(keys)) == 62 * 64


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}[a-z0-9]?\.example\.com", fullmatch=True), st.integers(1, 600))
def test_a_domain_is_led_to_the_table_it_stands_in(domain: str, count: int) -> None:
    tables = RouteTables(count)
    assert domain[:2] in set(scope_keys())
    assert table_for(domain[:2], tables) == table_name(tables.number_of(domain))


@pytest.mark.parametrize("key", ["AC", "Ac", "aC", "ac"])
def test_letter_case_does_not_change_the_table(key: str) -> None:
    tables = RouteTables(512)
    assert table_for(key, tables) == table_for("ac", tables)
    made = scope(key, "table-1").key
    assert made is not None
    assert [fragment.string_key for fragment in made.fragments] == [key]


@pytest.mark.parametrize(("pair", "keys"), [("ac", "AC Ac aC ac"), ("a.", "A. a."), ("0-", "0-"), ("7x", "7X 7x")])
def test_a_pair_has_a_scope_for_each_of_its_cases(pair: str, keys: str) -> None:
    assert list(keys_of(pair)) == keys.split()


def test_only_two_characters_of_a_host_can_be_its_first_key() -> None:
    """What leads to the hashed tables has more of them, so that no client chooses it."""
    tables = RouteTables(600)
    pairs = set(scope_keys())
    others = [key for key, _ in every_scope(tables) if key not in pairs]
    assert len(others) == len(set(others)) == 601
    assert all(len(key.encode()) > 2 for key in others)
    assert (ANCHOR, RESCOPE) in set(every_scope(tables))


def test_every_spliced_scope_equals_the_dataclass() -> None:
    for key, table in list(every_scope(RouteTables(512)))[::37]:
        assert encoded_scope(key, table) == bytes(scope(key, table))
