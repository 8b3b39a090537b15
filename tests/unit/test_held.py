"""Versions that a fleet holds alike: they read as a dict, and what is equal is kept once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.protocol.held import Held

MANY = {f"table-{number}": f"v{number}" for number in range(200)}


@given(
    st.lists(
        st.tuples(st.sampled_from(["set", "drop", "share"]), st.sampled_from([*list(MANY)[:4], "other"]), st.text("ab"))
    ),
    st.booleans(),
)
def test_it_reads_as_a_dict_whatever_is_shared(steps: list[tuple[str, str, str]], begins: bool) -> None:
    held, plain = Held(), dict[str, str]()
    if begins:
        held.begin(MANY)
        plain = dict(MANY)
    for what, name, version in steps:
        match what:
            case "set":
                held[name] = plain[name] = version
            case "drop":
                assert held.pop(name, None) == plain.pop(name, None)
            case "share":
                held.share()
        assert dict(held) == plain
        assert len(held) == len(plain)
        assert all((each in held) == (each in plain) and held.get(each) == plain.get(each) for each in [*MANY, "other"])


def test_what_two_hold_alike_is_kept_once() -> None:
    one, other = Held(), Held()
    one.begin(MANY)
    other.begin(dict(reversed(MANY.items())))
    assert one._shared is other._shared


def test_what_one_of_two_changes_stays_its_own() -> None:
    one, other = Held(), Held()
    one.begin(MANY)
    other.begin(MANY)
    one["table-1"] = "new"
    del one["table-2"]
    assert other["table-1"] == "v1"
    assert other["table-2"] == "v2"


def test_versions_that_only_look_alike_are_not_taken_for_each_other() -> None:
    one, other = Held(), Held()
    one.begin(MANY)
    other.begin({f"other-{name}": version for name, version in MANY.items()})
    assert set(one) == set(MANY)
    assert set(other) == {f"other-{name}" for name in MANY}


def test_what_many_changes_made_equal_is_kept_once_too() -> None:
    one, other = Held(), Held()
    one.begin(MANY)
    for name, version in MANY.items():
        other[name] = version
    other.share()
    assert one._shared is other._shared


def test_what_is_not_held_cannot_be_read_or_dropped() -> None:
    held = Held()
    held.begin(MANY)
    del held["table-1"]
    with pytest.raises(KeyError):
        held["table-1"]
    with pytest.raises(KeyError):
        del held["table-1"]
