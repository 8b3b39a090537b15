"""Scopes: every host that can be in a table is led to it, in any letter case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.resources.routes import RouteTables, table_name
from xds.resources.scopes import encoded_scope, scope, scope_keys


def test_there_is_one_scope_for_every_pair_in_every_case() -> None:
    keys = list(scope_keys())
    assert len(keys) == len(set(keys)) == 62 * 64


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}[a-z0-9]?\.example\.com", fullmatch=True), st.integers(1, 600))
def test_a_domain_is_led_to_the_table_it_stands_in(domain: str, tables: int) -> None:
    expected = table_name(RouteTables(tables).number_of(domain))
    assert domain[:2] in set(scope_keys())
    assert scope(domain[:2], tables).route_configuration_name == expected


@pytest.mark.parametrize("key", ["AC", "Ac", "aC", "ac"])
def test_letter_case_does_not_change_the_table(key: str) -> None:
    made = scope(key, 512)
    assert made.route_configuration_name == scope("ac", 512).route_configuration_name
    assert made.key is not None
    assert [fragment.string_key for fragment in made.key.fragments] == [key]


def test_every_spliced_scope_equals_the_dataclass() -> None:
    for key in list(scope_keys())[::37]:
        assert encoded_scope(key, 512) == bytes(scope(key, 512))
