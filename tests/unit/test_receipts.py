"""Receipts: which Envoys have a change since when, told from what each of them has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xds.delta import Key
from xds.receipt import Move, Publish, Receipt
from xds.receipts import Receipts


class Fleet:
    """Receipts, with Envoys that are called by their names; a second passes with each thing that happens."""

    def __init__(self, *envoys: str, keep: int = 1_000, grace: float = 0.0) -> None:
        self.bad: dict[Key, str] = {}
        self.events: list[str] = []
        self.holding = self.searching = False
        self.receipts = Receipts(
            keep,
            grace=grace,
            tell=lambda event, about, node: self.events.append(event),
            bad=lambda: self.bad,
            held=lambda: self.holding,
            searching=lambda: self.searching,
        )
        self.now = 0.0
        for name in envoys:
            self.joined(name)
            self.has(name, 0)

    def tick(self) -> float:
        self.now += 1
        return self.now

    def joined(self, name: str) -> None:
        self.receipts.joined(name, name, self.tick())

    def left(self, name: str) -> None:
        self.receipts.left(name, self.tick())

    def received(self, revision: int, *moves: Move, epoch: str = "E", changes: int | None = None) -> Receipt:
        count = len(moves) if changes is None else changes
        receipt = Receipt(epoch, revision, "change", count, moves, self.tick(), 1e9 + self.now)
        self.receipts.received(receipt)
        return receipt

    def published(self, revision: int, mark: int, epoch: str = "E") -> None:
        self.receipts.published(epoch, revision, mark, self.tick())

    def has(self, name: str, mark: int) -> None:
        self.receipts.reached(name, mark, self.tick())

    def state(self, revision: int) -> str:
        return self.receipts.standing(revision).state


def test_a_change_is_complete_when_every_envoy_has_it() -> None:
    fleet = Fleet("a", "b")
    fleet.received(1)
    assert fleet.state(1) == "received"
    fleet.published(1, mark=1)
    fleet.has("a", 1)
    assert fleet.state(1) == "published"
    fleet.has("b", 1)
    assert fleet.state(1) == "complete"
    publish = fleet.receipts.standing(1).publish
    assert publish is not None
    assert [*publish.seconds] == [1, 2]
    assert [fleet.receipts.name_of(number) for number in publish.numbers] == ["a", "b"]
    assert fleet.events[-5:] == ["connected", "received", "published", "first_ack", "complete"]


def test_revisions_that_were_coalesced_have_one_publish() -> None:
    fleet = Fleet("a")
    for revision in (1, 2, 3):
        fleet.received(revision)
    fleet.published(3, mark=1)
    fleet.has("a", 1)
    assert [fleet.state(revision) for revision in (1, 2, 3, 4)] == ["complete"] * 3 + ["expected"]


def test_an_envoy_that_is_ahead_of_others_completes_only_what_it_is_asked_for() -> None:
    fleet = Fleet("a", "b")
    for revision in (1, 2):
        fleet.received(revision)
        fleet.published(revision, mark=revision)
    fleet.has("a", 2)
    fleet.has("b", 1)
    assert (fleet.state(1), fleet.state(2)) == ("complete", "published")


def test_without_envoys_a_published_change_is_complete() -> None:
    fleet = Fleet()
    fleet.received(1)
    fleet.published(1, mark=1)
    assert fleet.state(1) == "complete"


def test_without_a_time_of_grace_nobody_waits_for_an_envoy_that_is_gone() -> None:
    fleet = Fleet("a", "b")
    fleet.received(1)
    fleet.published(1, mark=1)
    fleet.has("a", 1)
    fleet.left("b")
    standing = fleet.receipts.standing(1)
    assert (standing.state, standing.publish and standing.publish.left) == ("complete", 1)


def test_an_envoy_that_comes_is_waited_for_until_it_says_what_it_has() -> None:
    fleet = Fleet("a")
    fleet.received(1)
    fleet.published(1, mark=1)
    fleet.has("a", 1)
    fleet.joined("b")
    assert fleet.state(1) == "published"
    fleet.has("b", 1)
    assert fleet.state(1) == "complete"
    publish = fleet.receipts.standing(1).publish
    assert publish is not None
    assert len(publish.numbers) == 1, "who came later says nothing of how long it took"


def test_what_is_held_is_not_published_by_what_comes_after_it_but_by_its_release() -> None:
    fleet = Fleet("a")
    fleet.receipts.hold(fleet.received(1))
    fleet.received(2)
    fleet.published(2, mark=1)
    fleet.has("a", 1)
    assert (fleet.state(1), fleet.state(2)) == ("held", "complete")
    fleet.published(2, mark=2)
    fleet.receipts.released()
    assert fleet.state(1) == "published"
    fleet.has("a", 2)
    assert fleet.state(1) == "complete"


def test_after_a_rollback_what_is_newer_is_no_longer_complete() -> None:
    fleet = Fleet("a")
    for revision in (1, 2):
        fleet.received(revision)
        fleet.published(revision, mark=revision)
        fleet.has("a", revision)
    fleet.published(1, mark=3)
    fleet.has("a", 3)
    assert (fleet.state(1), fleet.state(2)) == ("complete", "rolled_back")
    fleet.published(2, mark=4)
    assert fleet.state(2) == "published", "released: it is published once more"
    fleet.has("a", 4)
    assert fleet.state(2) == "complete"


def test_a_nack_is_mended_when_that_very_envoy_has_it_or_is_gone_for_good() -> None:
    fleet = Fleet("a", "b", "c", grace=10.0)
    fleet.received(1)
    fleet.published(1, mark=1)
    publish = fleet.receipts.standing(1).publish
    assert publish is not None

    def mended() -> dict[str, bool]:
        return {
            fleet.receipts.name_of(number): fleet.receipts.is_mended(publish, nack)
            for number, nack in publish.nacks.items()
        }

    for name in ("a", "b"):
        fleet.receipts.refused(name, 1, "route", "no", fleet.tick())
    assert mended() == {"a": False, "b": False}
    fleet.has("a", 1)
    assert mended() == {"a": True, "b": False}
    assert fleet.receipts.is_rejected(publish)
    fleet.left("b")
    assert mended() == {"a": True, "b": False}, "it may be back, and serves meanwhile"
    fleet.joined("b")
    assert mended() == {"a": True, "b": False}, "it hasn't said yet what it has"
    fleet.has("b", 1)
    assert mended() == {"a": True, "b": True}
    assert not fleet.receipts.is_rejected(publish)
    assert fleet.state(1) == "published", "c lacks it still"


def test_of_very_many_that_reject_a_change_those_are_remembered_that_do_so_still() -> None:
    fleet = Fleet(*(names := [f"edge-{number}" for number in range(30)]))
    fleet.received(1)
    fleet.published(1, mark=1)
    publish = fleet.receipts.standing(1).publish
    assert publish is not None

    def remembered() -> list[str]:
        return [fleet.receipts.name_of(number) for number in publish.nacks]

    for name in names[:25]:
        fleet.receipts.refused(name, 1, "route", "no", fleet.tick())
    assert remembered() == names[:20]
    fleet.receipts.refused(names[3], 1, "route", "another reason", fleet.tick())
    assert [nack.reason for nack in publish.nacks.values()].count("another reason") == 1
    for name in names[:20]:
        fleet.has(name, 1)
    for name in names[20:]:
        fleet.receipts.refused(name, 1, "route", "no", fleet.tick())
    assert {*names[20:]} <= {*remembered()}
    assert (len(publish.nacks), fleet.receipts.is_rejected(publish)) == (20, True)


def test_a_record_that_an_envoy_rejected_keeps_its_revision_from_being_complete_until_it_is_used_again() -> None:
    fleet = Fleet("a")
    fleet.received(1, Move("domain", "bad.test", None, "pod1"))
    fleet.received(2, Move("domain", "good.test", None, "pod1"))
    fleet.published(2, mark=1)
    fleet.receipts.refused("a", 1, "route", "no", fleet.tick())
    publish = fleet.receipts.standing(1).publish
    assert publish is not None
    assert [nack.reason for nack in publish.nacks.values()] == ["no"]
    fleet.bad = {("domain", "bad.test"): "no"}
    fleet.has("a", 2)
    assert (fleet.state(1), fleet.state(2)) == ("set_aside", "complete")
    fleet.bad = {}
    fleet.published(2, mark=3)
    assert fleet.state(1) == "published"
    fleet.has("a", 3)
    assert fleet.state(1) == "complete"


def test_what_a_search_tries_is_neither_complete_nor_set_aside_until_it_ends() -> None:
    fleet = Fleet("a")
    fleet.received(1, Move("pod", "bad"))
    fleet.received(2, Move("pod", "good"))
    fleet.published(2, mark=1)
    fleet.searching = True
    fleet.bad = {("pod", "good"): "is being tried"}
    fleet.has("a", 2)
    assert (fleet.state(1), fleet.state(2)) == ("published", "published")
    fleet.bad = {("pod", "bad"): "no"}
    fleet.receipts.searched()
    assert fleet.state(1) == "published", "it isn't over"
    fleet.searching = False
    fleet.receipts.searched()
    assert (fleet.state(1), fleet.state(2)) == ("set_aside", "complete")
    assert fleet.events.count("complete") == 1


def test_a_record_that_was_withheld_to_be_tried_when_its_revision_was_published_may_still_be_refused() -> None:
    fleet = Fleet("a")
    fleet.received(1, Move("pod", "bad"))
    fleet.bad = {("pod", "bad"): "is being tried"}
    fleet.published(1, mark=1)
    fleet.bad = {("pod", "bad"): "no"}
    fleet.has("a", 1)
    assert fleet.state(1) == "set_aside"


def test_of_a_large_revision_any_record_rejected_meanwhile_counts() -> None:
    fleet = Fleet("a")
    fleet.received(1, Move("domain", "first.test", None, "pod1"), changes=1_000)
    fleet.published(1, mark=1)
    fleet.bad = {("domain", "far.test"): "no"}
    fleet.has("a", 1)
    assert fleet.state(1) == "set_aside"


def test_of_a_large_revision_a_record_that_was_being_tried_when_it_was_published_counts() -> None:
    fleet = Fleet("a")
    fleet.bad = {("domain", "old.test"): "no"}
    fleet.received(1, Move("domain", "first.test", None, "pod1"), changes=1_000)
    fleet.bad |= {("domain", "far.test"): "is being tried"}
    fleet.published(1, mark=1)
    fleet.bad |= {("domain", "far.test"): "no"}
    fleet.has("a", 1)
    standing = fleet.receipts.standing(1)
    assert (standing.state, standing.receipt and [*standing.receipt.bad]) == ("set_aside", [("domain", "far.test")])


def test_of_a_revision_that_is_forgotten_it_is_still_known_whether_it_is_complete() -> None:
    fleet = Fleet("a", keep=2)
    for revision in range(1, 6):
        fleet.received(revision)
        fleet.published(revision, mark=revision)
    assert (len(fleet.receipts), fleet.receipts.standing(1).receipt) == (2, None)
    fleet.has("a", 3)
    assert fleet.state(1) == "published", "which publish it was isn't known any more, but the 4th surely has it"
    fleet.has("a", 4)
    assert (fleet.state(1), fleet.state(5)) == ("complete", "published")


@pytest.mark.parametrize("keep", [1_000, 10_000])
def test_a_revision_that_is_forgotten_costs_a_few_looks_however_many_are_remembered(keep: int) -> None:
    class Looked(dict[tuple[str, int], Receipt]):
        looks = 0

        def items(self) -> Any:
            for key, receipt in super().items():
                Looked.looks += 1
                yield key, receipt

        def values(self) -> Any:
            return (receipt for _, receipt in self.items())

    fleet = Fleet("a", keep=keep)
    for revision in range(1, keep + 10):
        fleet.received(revision)
        fleet.published(revision, mark=revision)
        fleet.has("a", revision)
    fleet.receipts._receipts = Looked(fleet.receipts._receipts)
    assert fleet.receipts._carrier(5).mark == 10
    assert Looked.looks <= 100


def test_a_revision_of_another_epoch_is_another_one() -> None:
    fleet = Fleet("a")
    fleet.received(7)
    fleet.published(7, mark=1)
    fleet.received(2, epoch="F")
    fleet.published(2, mark=2, epoch="F")
    fleet.has("a", 2)
    assert (fleet.state(2), fleet.state(7)) == ("complete", "expected")


def test_an_envoy_that_comes_after_all_others_completes_everything_at_once() -> None:
    fleet = Fleet("slow", "quick")
    for revision in range(1, 900):
        fleet.received(revision)
        fleet.published(revision, mark=revision)
        fleet.has("quick", revision)
    assert [fleet.state(revision) for revision in (1, 899)] == ["published", "published"]
    fleet.has("slow", 899)
    assert [fleet.state(revision) for revision in (1, 899)] == ["complete", "complete"]


def test_how_long_a_change_took_counts_from_the_first_that_its_publish_carries() -> None:
    fleet = Fleet("a")
    first = fleet.received(1)
    fleet.received(2)
    fleet.published(2, mark=1)
    publish = fleet.receipts.standing(2).publish
    assert publish is not None
    assert publish.received == first.received


def test_time_in_which_a_change_was_held_is_nobodys_delay() -> None:
    fleet = Fleet("a")
    fleet.receipts.hold(fleet.received(1))
    fleet.receipts.released()
    fleet.published(1, mark=1)
    publish = fleet.receipts.standing(1).publish
    assert publish is not None
    assert publish.received is None


@settings(max_examples=500)
@given(st.lists(st.tuples(st.sampled_from("jlrp"), st.sampled_from("abc"), st.integers(0, 12)), max_size=40))
def test_whatever_happens_in_whatever_order_a_publish_lacks_exactly_the_envoys_that_have_not_reached_it(
    happened: list[tuple[str, str, int]],
) -> None:
    fleet = Fleet()
    here: dict[str, int] = {}
    mark = 0
    for what, name, number in happened:
        if what == "j" and name not in here:
            fleet.joined(name)
            here[name] = -1
        elif what == "l":
            fleet.left(name)
            here.pop(name, None)
        elif what == "r" and name in here and number <= mark:
            fleet.has(name, number)
            here[name] = max(here[name], number)
        elif what == "p":
            mark += 1
            fleet.received(mark)
            fleet.published(mark, mark)
        for revision in range(1, mark + 1):
            lacking = sum(position < revision for position in here.values())
            standing = fleet.receipts.standing(revision)
            assert standing.publish is not None
            if standing.publish.pending:
                assert standing.publish.pending == lacking
            elif lacking:
                assert standing.joining >= lacking, "who came since"
            assert not (standing.complete and lacking)
            assert standing.complete or lacking or standing.joining


def test_while_something_is_held_a_revision_that_nobody_remembers_is_not_called_complete() -> None:
    fleet = Fleet("a", keep=2)
    fleet.receipts.hold(fleet.received(1))
    fleet.holding = True
    for revision in (2, 3, 4):
        fleet.received(revision)
        fleet.published(revision, mark=revision)
        fleet.has("a", revision)
    assert (fleet.state(1), fleet.state(4)) == ("held", "complete")
    fleet.holding = False
    assert fleet.state(1) == "complete"


def test_the_first_that_has_a_change_is_counted_when_it_is_told_of() -> None:
    told: list[tuple[str, int, int]] = []
    receipts = Receipts(
        tell=lambda event, about, node: (
            told.append((event, about.envoys, about.pending)) if isinstance(about, Publish) else None
        )
    )
    for name in ("a", "b"):
        receipts.joined(name, name, 0.0)
        receipts.reached(name, 0, 0.0)
    receipts.published("E", 1, 1, 1.0)
    for name in ("a", "b"):
        receipts.reached(name, 1, 2.0)
    assert told == [("published", 2, 2), ("first_ack", 2, 1), ("complete", 2, 0)]


def test_a_revision_of_one_gds_is_not_the_same_number_of_the_next() -> None:
    fleet = Fleet("a")
    fleet.received(3)
    fleet.published(3, mark=1)
    fleet.received(9, epoch="F")
    fleet.published(9, mark=2, epoch="F")
    fleet.has("a", 2)
    assert fleet.receipts.standing(3).state == "complete", "the new one has had a third revision, too"
    assert fleet.receipts.standing(3, epoch="E").state == "rolled_back"
    assert fleet.receipts.standing(9, epoch="F").state == "complete"
    assert fleet.receipts.standing(2, epoch="E").state == "rolled_back", "it isn't remembered any more"
