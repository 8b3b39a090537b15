"""Receipts when Envoys leave and come back: one that left without a change may serve by what was before it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from test_receipts import Fleet

from xds.receipt import Publish
from xds.takers import OVERLAP

GRACE = 30


def changed(fleet: Fleet, revision: int) -> None:
    fleet.received(revision)
    fleet.published(revision, mark=revision)


def publish_of(fleet: Fleet, revision: int) -> Publish:
    publish = fleet.receipts.standing(revision).publish
    assert publish is not None
    return publish


def counts(fleet: Fleet, revision: int) -> tuple[int, int, int, int]:
    """Of how many Envoys, pending, of those missing, left for good."""
    publish = publish_of(fleet, revision)
    return publish.envoys, publish.pending, publish.missing, publish.left


def test_an_envoy_that_leaves_without_a_change_keeps_it_from_being_complete_until_its_time_is_over() -> None:
    fleet = Fleet("a", "b", grace=GRACE)
    changed(fleet, 1)
    fleet.has("a", 1)
    fleet.left("b")
    assert (fleet.state(1), counts(fleet, 1)) == ("published", (2, 1, 1, 0))
    assert fleet.receipts.missing(publish_of(fleet, 1)) == ["b"]
    fleet.now += GRACE - 1
    fleet.receipts.over(fleet.now)
    assert fleet.state(1) == "published"
    fleet.now += 1
    fleet.receipts.over(fleet.now)
    assert (fleet.state(1), counts(fleet, 1)) == ("complete", (2, 0, 0, 1))
    assert fleet.receipts.missing(publish_of(fleet, 1)) == []
    assert fleet.events.count("complete") == 1


def test_the_only_envoy_leaving_does_not_complete_a_change() -> None:
    fleet = Fleet("a", grace=GRACE)
    changed(fleet, 1)
    fleet.left("a")
    assert fleet.state(1) == "published"


def test_a_change_that_comes_while_an_envoy_is_away_waits_for_it_too() -> None:
    fleet = Fleet("a", "b", grace=GRACE)
    fleet.left("b")
    changed(fleet, 1)
    fleet.has("a", 1)
    assert (fleet.state(1), counts(fleet, 1)) == ("published", (2, 1, 1, 0))
    fleet.joined("b")
    assert counts(fleet, 1) == (2, 1, 0, 0), "it is known by its node"
    fleet.has("b", 1)
    assert (fleet.state(1), counts(fleet, 1)) == ("complete", (2, 0, 0, 0))


def test_an_envoy_that_is_back_is_complete_as_soon_as_it_has_the_change() -> None:
    fleet = Fleet("a", "b", grace=GRACE)
    changed(fleet, 1)
    fleet.has("a", 1)
    fleet.left("b")
    fleet.joined("b")
    assert fleet.state(1) == "published"
    fleet.has("b", 1)
    fleet.receipts.over(fleet.now + 10 * GRACE)
    assert (fleet.state(1), counts(fleet, 1)) == ("complete", (2, 0, 0, 0))


def test_an_envoy_that_comes_and_goes_before_it_says_anything_is_waited_for_still() -> None:
    fleet = Fleet("a", "b", grace=GRACE)
    changed(fleet, 1)
    fleet.has("a", 1)
    for _ in range(3):
        fleet.left("b")
        fleet.joined("b")
    fleet.left("b")
    assert (fleet.state(1), counts(fleet, 1)) == ("published", (2, 1, 1, 0))


def test_an_envoy_that_is_back_before_its_old_connection_ends_is_one() -> None:
    fleet = Fleet("a", "b", grace=GRACE)
    changed(fleet, 1)
    fleet.has("a", 1)
    fleet.receipts.joined("b again", "b", fleet.tick())
    fleet.has("b again", 1)
    assert fleet.state(1) == "published", "nobody knows yet that the first connection is dead"
    fleet.left("b")
    assert (fleet.state(1), counts(fleet, 1)) == ("complete", (2, 0, 0, 0))


def test_one_new_connection_is_the_return_of_one_envoy_and_not_of_all_of_its_name() -> None:
    fleet = Fleet(grace=GRACE)
    for key in ("first", "second"):
        fleet.receipts.joined(key, "a", fleet.tick())
        fleet.has(key, 0)
    changed(fleet, 1)
    fleet.receipts.joined("third", "a", fleet.tick())
    fleet.has("third", 1)
    fleet.left("first")
    assert counts(fleet, 1) == (2, 1, 0, 0)
    fleet.left("second")
    assert (fleet.state(1), counts(fleet, 1)) == ("published", (2, 1, 1, 0))


def test_two_envoys_of_one_node_id_are_not_taken_for_one_when_one_leaves() -> None:
    fleet = Fleet("a", grace=GRACE)
    fleet.receipts.joined("other", "a", fleet.tick())
    fleet.has("other", 0)
    fleet.now += OVERLAP
    changed(fleet, 1)
    fleet.has("other", 1)
    fleet.left("a")
    assert (fleet.state(1), counts(fleet, 1)) == ("published", (2, 1, 1, 0))


def test_the_parts_of_an_envoy_are_not_taken_for_each_other() -> None:
    fleet = Fleet(grace=GRACE)
    for part in ("route", "cluster"):
        fleet.receipts.joined(part, "a", fleet.tick(), part)
        fleet.has(part, 0)
    changed(fleet, 1)
    fleet.has("route", 1)
    fleet.left("cluster")
    fleet.receipts.joined("routes again", "a", fleet.tick(), "route")
    fleet.has("routes again", 1)
    assert (fleet.state(1), publish_of(fleet, 1).missing) == ("published", 1)


def test_a_client_that_came_and_went_without_a_word_is_not_waited_for() -> None:
    fleet = Fleet("a", grace=GRACE)
    changed(fleet, 1)
    fleet.has("a", 1)
    fleet.joined("probe")
    fleet.left("probe")
    changed(fleet, 2)
    fleet.has("a", 2)
    assert (fleet.state(1), fleet.state(2)) == ("complete", "complete")


def test_a_change_is_not_complete_before_as_many_envoys_have_it_as_are_wanted() -> None:
    fleet = Fleet(grace=GRACE)
    changed(fleet, 1)
    assert [fleet.receipts.standing(1, least).state for least in (0, 1)] == ["complete", "published"]
    fleet.joined("a")
    fleet.has("a", 1)
    assert [fleet.receipts.standing(1, least).state for least in (0, 1, 2)] == ["complete", "complete", "published"]
    fleet.joined("b")
    fleet.has("b", 1)
    assert fleet.receipts.standing(1, 2).complete
    assert not fleet.receipts.standing(1, 3).complete


def test_an_envoy_that_left_has_nothing_any_more_however_much_it_had() -> None:
    fleet = Fleet("a", "b", grace=GRACE)
    changed(fleet, 1)
    fleet.has("a", 1)
    fleet.has("b", 1)
    fleet.left("b")
    assert (fleet.receipts.standing(1, 1).complete, fleet.receipts.standing(1, 2).complete) == (True, False)


def test_a_client_that_wants_no_routes_is_none_of_the_envoys_that_are_wanted() -> None:
    fleet = Fleet(grace=GRACE)
    changed(fleet, 1)
    fleet.joined("a")
    fleet.receipts.reached("a", 1, fleet.tick(), serves=False)
    assert not fleet.receipts.standing(1, 1).complete
    fleet.receipts.reached("a", 1, fleet.tick(), serves=True)
    assert fleet.receipts.standing(1, 1).complete


def test_a_rolling_restart_of_a_thousand_envoys_leaves_nothing_behind() -> None:
    names = [f"edge-{number}" for number in range(1_000)]
    fleet = Fleet(*names, grace=GRACE)
    changed(fleet, 1)
    for name in names:
        fleet.left(name)
        fleet.joined(name)
        fleet.has(name, 1)
    assert (fleet.state(1), counts(fleet, 1)) == ("complete", (1_000, 0, 0, 0))
    assert fleet.receipts.have(publish_of(fleet, 1)) == 1_000


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("jlrpt"), st.sampled_from("abc"), st.integers(0, 12)), max_size=40))
def test_whatever_happens_a_publish_waits_for_exactly_those_that_are_here_or_away_without_it(
    happened: list[tuple[str, str, int]],
) -> None:
    fleet = Fleet("a", "b", "c", grace=GRACE)
    here = dict.fromkeys("abc", 0)
    had = dict.fromkeys("abc", 0)
    """Of one that is away, or is back and silent: what it had. Of one that is new and silent: what there was."""
    new: set[str] = set()
    away: dict[str, float] = {}
    mark = 0
    for what, name, number in happened:
        if what == "j" and name not in here:
            fleet.joined(name)
            here[name] = -1
            if away.pop(name, None) is None:
                had[name] = mark
                new.add(name)
        elif what == "l" and name in here:
            fleet.left(name)
            if here.pop(name) >= 0 or name not in new or had[name] < mark:
                away[name] = fleet.now
        elif what == "r" and name in here and number <= mark:
            fleet.has(name, number)
            here[name] = had[name] = max(here[name], number)
            new.discard(name)
        elif what == "p":
            mark += 1
            changed(fleet, mark)
        elif what == "t":
            fleet.now += number
        fleet.receipts.over(fleet.now)
        away = {name: left for name, left in away.items() if left + GRACE > fleet.now}
        for revision in range(1, mark + 1):
            standing, publish = fleet.receipts.standing(revision), publish_of(fleet, revision)
            without = sum(position < revision for position in here.values())
            missing = sum(had[name] < revision for name in away)
            if publish.pending:
                assert (publish.missing, publish.pending - publish.missing) == (missing, without)
            else:
                assert (standing.complete and not without) or standing.joining
            assert publish.envoys >= publish.pending + publish.left
            assert fleet.receipts.have(publish) == sum(position >= revision for position in here.values())
        latest = fleet.receipts.latest
        assert latest is None or latest.pending or not any(had[name] < mark for name in away)


def test_the_envoys_that_are_here_without_a_change_are_named_and_those_that_left_are_not() -> None:
    fleet = Fleet("a", "b", "c", grace=GRACE)
    changed(fleet, 1)
    assert fleet.receipts.lacking(publish_of(fleet, 1)) == ["a", "b", "c"]
    assert fleet.receipts.lacking(publish_of(fleet, 1), 2) == ["a", "b"]
    fleet.has("a", 1)
    fleet.left("c")
    changed(fleet, 2)
    assert fleet.receipts.lacking(publish_of(fleet, 1)) == ["b"]
    assert fleet.receipts.lacking(publish_of(fleet, 2)) == ["a", "b"]
    fleet.has("b", 2)
    assert fleet.receipts.lacking(publish_of(fleet, 1)) == []
