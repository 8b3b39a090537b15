"""The cache: what differs is told once, and a publish that isn't valid leaves everything as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
from protocol_peer import made, publish

from xds.cache import Cache, Changed
from xds.errors import PublishError
from xds.resources.types import CLUSTER, ROUTE, SCOPE, TYPES
from xds.resources.types import resource as encoded


@pytest.fixture
def told() -> list[Changed]:
    return []


@pytest.fixture
def cache(told: list[Changed]) -> Cache:
    cache = Cache()
    publish(cache, CLUSTER, a="1")
    cache.watch(told.append)
    return cache


def test_what_differs_is_told_once(cache: Cache, told: list[Changed]) -> None:
    publish(cache, CLUSTER, a="1", b=None)
    assert told == []
    publish(cache, CLUSTER, a="2", b="1")
    assert told == [{CLUSTER: ["a", "b"]}]


def test_who_stopped_watching_is_told_nothing(cache: Cache, told: list[Changed]) -> None:
    watcher = next(iter(cache._watchers))
    cache.unwatch(watcher)
    publish(cache, CLUSTER, a="2")
    assert told == []


def test_who_watches_one_type_is_told_of_publishes_that_change_it(cache: Cache) -> None:
    heard: list[Changed] = []
    cache.watch(heard.append, ROUTE)
    publish(cache, CLUSTER, a="2")
    assert heard == []
    publish(cache, ROUTE, r="1")
    assert heard == [{ROUTE: ["r"]}]


def test_a_resource_under_another_name_or_of_another_type_is_refused(cache: Cache, told: list[Changed]) -> None:
    for wrong in (made(CLUSTER, "b", "2"), made(ROUTE, "a", "2")):
        with pytest.raises(PublishError, match="cluster 'a'"):
            cache.publish({ROUTE: {"r": made(ROUTE, "r", "1")}, CLUSTER: {"a": wrong}})
    assert told == []
    assert [len(cache.view(kind)) for kind in TYPES] == [1, 0, 0, 0, 0, 0]


def test_two_scopes_of_one_key_are_refused_and_a_swap_is_not(cache: Cache) -> None:
    old = made(SCOPE, "old", "1")
    body = old.any[old.any.index(b"\x12") + 2 :]
    new = encoded(SCOPE, "new", body)
    cache.publish({SCOPE: {"old": old}})
    with pytest.raises(PublishError, match="same key"):
        cache.publish({SCOPE: {"new": new}})
    cache.publish({SCOPE: {"old": None, "new": new}})
    assert list(cache.view(SCOPE)) == ["new"]


def test_other_bytes_at_the_version_that_is_held_are_for_who_asks_from_now_on(
    cache: Cache, told: list[Changed]
) -> None:
    held = cache.view(CLUSTER)["a"]
    cache.replace({CLUSTER: {"a": replace(held, any=held.any + b"other"), "b": encoded(CLUSTER, "b", b"new")}})
    assert (dict(cache.view(CLUSTER)), told) == ({"a": replace(held, any=held.any + b"other")}, [])
    cache.replace({CLUSTER: {"a": encoded(CLUSTER, "a", b"of another version")}})
    assert cache.view(CLUSTER)["a"].version == held.version
