"""Which hosts of an old map become known, and what is said of the others."""

from __future__ import annotations

import pytest

from xds.gds.model import PutDomain
from xds.lookup.preload import Preloaded


def taken(hosts: dict[str, str], known: frozenset[str] = frozenset(), room: int = 10) -> Preloaded:
    found = Preloaded()
    found.look(hosts.items(), {"pod1", "pod2"}, known.__contains__, room)
    return found


def test_hosts_on_pods_that_there_are_become_known() -> None:
    found = taken({"a.test": "pod1", "b.test": "pod2"})
    assert found.changes == [PutDomain("a.test", "pod1"), PutDomain("b.test", "pod2")]
    assert (found.kept, found.refused) == (0, {})


def test_what_is_known_already_stays_as_it_is() -> None:
    found = taken({"a.test": "pod1", "b.test": "pod2"}, frozenset({"a.test"}))
    assert ([change.domain for change in found.changes], found.kept) == (["b.test"], 1)


@pytest.mark.parametrize(
    ("host", "pod", "reason"),
    [
        ("a.test", "pod9", "lookup.pods"),
        ("A.test", "pod1", "lower-case"),
        ("*.a.test", "pod1", "wildcard"),
        ("a.test/..", "pod1", "lower-case"),
    ],
)
def test_a_host_that_can_not_be_taken_is_refused_alone(host: str, pod: str, reason: str) -> None:
    found = taken({host: pod, "b.test": "pod1"})
    assert found.taken == 1
    assert reason in found.refused[host]


def test_no_more_become_known_than_there_is_room_for() -> None:
    found = taken({f"h{n}.test": "pod1" for n in range(12)})
    assert (found.taken, len(found.refused)) == (10, 2)
    assert "lookup.domains" in found.refused["h11.test"]
