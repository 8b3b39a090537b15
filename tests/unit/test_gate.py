"""The gate: what is too large waits, what is small goes on, and nothing that was decided is forgotten."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from xds.cache import Cache
from xds.delta import Delta
from xds.directory import Directory
from xds.errors import HistoryGone, HoldError
from xds.gate import Gate
from xds.gds.model import Change, DeleteDomain, DeletePod, Endpoint, Pod, PutDomain, PutPod, Snapshot, Transaction
from xds.guard import Limits
from xds.hold import Hold, decode, encode
from xds.pipeline import Pace, Pipeline
from xds.recent import Recent
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.slices import drained
from xds.stake import stake
from xds.state.format import State

PODS = (Pod("pod1"), Pod("pod2"))


class World:
    """A gate before a pipeline; more than 9 of 100 domains are held."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.remembered: list[Hold | None] = []
        self.taken: list[Delta] = []
        self.began: list[Delta | None] = []
        self.unserved: list[str] = []
        self.clock = 0.0
        turn = itertools.count()
        self.pipeline = Pipeline(
            EdgeResources(4, timedelta(seconds=1)),
            Cache(),
            Edge(),
            Pace(0.0, 0.0),
            later=lambda _, call: call(),
            clock=lambda: float(next(turn)),
            taken=self.taken.append,
        )
        self.gate = Gate(
            self.pipeline,
            limits or Limits(share=0.10, minimum=10),
            now=lambda: 1000.0,
            clock=lambda: self.clock,
            remember=self.remembered.append,
            began=self.began.append,
            unserved=self.unserved.append,
        )

    @property
    def edge(self) -> dict[str, str]:
        return dict(self.pipeline.directory.domains)

    def snapshot(self, revision: int, domains: dict[str, str], epoch: str = "E") -> None:
        drained(self.gate.replacing(Snapshot(epoch, revision, PODS, list(domains.items()))))

    def change(self, *changes: Change) -> None:
        epoch, revision = self.gate.position or ("", 0)
        drained(self.gate.applying(Transaction(epoch, revision + 1, changes)))

    def release(self) -> None:
        drained(self.gate.releasing("somebody"))

    def held(self) -> str:
        return f"{self.gate.hold.state} {self.gate.hold.reason}" if self.gate.hold else "nothing"


def customers(count: int, pod: str = "pod1") -> dict[str, str]:
    return {f"c{n}.test": pod for n in range(count)}


def directory(domains: dict[str, str], revision: int = 1) -> Directory:
    made = Directory()
    made.replace(Snapshot("E", revision, PODS, list(domains.items())))
    return made


@pytest.fixture
def world() -> World:
    made = World()
    made.snapshot(1, customers(100))
    return made


def moves(count: int, pod: str = "pod2", start: int = 0) -> list[Change]:
    return [PutDomain(f"c{n}.test", pod) for n in range(start, start + count)]


def test_the_first_snapshot_ever_is_taken_whatever_it_holds() -> None:
    world = World()
    world.snapshot(1, customers(1))
    assert (world.held(), world.gate.position, world.began) == ("nothing", ("E", 1), [None])


def test_a_first_snapshot_without_a_domain_is_not_served() -> None:
    world = World()
    world.snapshot(1, {})
    world.snapshot(2, {"homeless.test": "pod9"})
    assert (world.held(), world.gate.position, world.began) == ("held empty", ("E", 2), [])
    assert world.unserved
    assert (world.pipeline.directory.complete, world.pipeline.publishes, world.remembered) == (False, 0, [])


def test_the_first_domain_ends_that_by_itself() -> None:
    world = World()
    world.snapshot(1, {})
    world.change(PutPod(Pod("pod3")))
    assert world.held() == "held empty"
    world.change(PutDomain("c0.test", "pod3"))
    assert (world.held(), world.gate.position, world.began) == ("nothing", ("E", 3), [None])
    assert world.edge == {"c0.test": "pod3"}
    world.change(DeleteDomain("c0.test"))
    assert (world.held(), world.edge) == ("nothing", {})


def test_so_does_a_snapshot_with_domains() -> None:
    world = World()
    world.snapshot(1, {})
    world.snapshot(1, customers(3), epoch="restored")
    assert (world.held(), world.edge, world.began) == ("nothing", customers(3), [None])


def test_an_empty_first_directory_is_served_once_it_is_released_or_where_that_is_set() -> None:
    world = World()
    world.snapshot(1, {})
    world.release()
    assert (world.held(), world.pipeline.directory.complete, world.began) == ("nothing", True, [None])
    allowed = World(Limits(allow_empty=True))
    allowed.snapshot(1, {})
    assert (allowed.held(), allowed.pipeline.directory.complete, allowed.began) == ("nothing", True, [None])


def test_a_first_directory_with_fewer_domains_than_are_expected_waits_until_gds_has_them() -> None:
    world = World(Limits(least=3))
    world.snapshot(1, customers(2))
    assert (world.held(), world.pipeline.directory.complete) == ("held empty", False)
    assert world.gate.hold
    assert "2 domains that can be routed, 3 are expected (guard.least)" in world.gate.hold.text
    world.change(PutDomain("late.test", "pod1"))
    assert (world.held(), len(world.edge), world.began) == ("nothing", 3, [None])
    world.change(DeleteDomain("late.test"))
    assert (world.held(), len(world.edge)) == ("nothing", 2)


def test_a_half_restored_gds_is_served_once_it_is_released() -> None:
    world = World(Limits(least=3))
    world.snapshot(1, customers(2))
    world.release()
    assert (world.held(), len(world.edge)) == ("nothing", 2)


def test_a_gds_without_a_domain_may_be_right_where_one_with_few_is_not() -> None:
    world = World(Limits(least=3, allow_empty=True))
    world.snapshot(1, customers(2))
    assert world.held() == "held empty"
    world.snapshot(2, {})
    assert (world.held(), world.pipeline.directory.complete) == ("nothing", True)


def test_a_directory_that_was_empty_before_is_served_empty_again() -> None:
    world = World()
    world.gate.resume(directory({}), None)
    world.snapshot(5, {})
    assert (world.held(), world.pipeline.directory.complete) == ("nothing", True)


@pytest.mark.parametrize(
    ("domains", "reason"),
    [({}, "empty"), (customers(50), "removed"), (customers(100, "pod2"), "moved")],
)
def test_a_snapshot_over_the_limit_is_held_and_the_edge_stays(
    world: World, domains: dict[str, str], reason: str
) -> None:
    world.snapshot(9, domains, epoch="restored")
    assert world.held() == f"held {reason}"
    assert world.edge == customers(100)
    assert world.gate.position == ("restored", 9)
    assert world.remembered[-1] == world.gate.hold


def test_a_snapshot_of_another_epoch_within_the_limit_is_taken_as_differences(world: World) -> None:
    world.snapshot(3, customers(95), epoch="replaced")
    assert world.held() == "nothing"
    assert world.edge == customers(95)
    assert [len(delta) for delta in world.taken] == [5]


def test_a_transaction_over_the_limit_is_held_whole_and_one_within_it_is_not(world: World) -> None:
    world.change(*moves(10))
    assert (world.held(), world.edge["c0.test"]) == ("nothing", "pod2")
    world.change(*moves(11, start=20))
    assert world.held() == "held moved"
    assert world.edge["c20.test"] == "pod1"
    assert world.gate.position == ("E", 3)


def test_domains_that_are_added_are_never_held(world: World) -> None:
    world.change(*[PutDomain(f"new{n}.test", "pod1") for n in range(500)])
    assert (world.held(), len(world.edge)) == ("nothing", 600)


def test_a_pod_that_is_removed_under_its_domains_counts_with_all_of_them(world: World) -> None:
    world.change(DeletePod("pod1"))
    assert world.held() == "held empty"
    assert world.edge == customers(100)


def test_small_changes_go_out_while_something_is_held(world: World) -> None:
    world.change(*moves(50))
    world.change(PutDomain("c99.test", "pod2"), DeleteDomain("c98.test"), PutDomain("new.test", "pod1"))
    assert (world.edge["c99.test"], world.edge["new.test"], world.edge["c0.test"]) == ("pod2", "pod1", "pod1")
    assert "c98.test" not in world.edge
    assert world.gate.counts
    assert world.gate.counts.at_stake == 50


def test_a_held_domain_that_gds_speaks_of_again_goes_out_with_the_pod_that_it_needs(world: World) -> None:
    world.change(PutPod(Pod("pod3")), *moves(50, "pod3"))
    assert "pod3" not in world.pipeline.directory.pods
    world.change(PutDomain("c0.test", "pod3"))
    assert (world.edge["c0.test"], world.edge["c1.test"]) == ("pod3", "pod1")
    assert world.gate.counts
    assert world.gate.counts.at_stake == 49


def test_a_pod_is_not_removed_at_the_edge_while_held_domains_may_be_on_it(world: World) -> None:
    world.change(*moves(100))
    world.change(DeletePod("pod1"))
    assert world.edge == customers(100)
    world.release()
    assert world.edge == customers(100, "pod2")
    assert set(world.pipeline.directory.pods) == {"pod2"}


def test_release_takes_the_newest_state_of_gds_to_the_edge(world: World) -> None:
    world.snapshot(9, customers(50))
    world.change(*[DeleteDomain(f"c{n}.test") for n in range(20, 50)])
    world.release()
    assert world.edge == customers(20)
    assert (world.held(), world.remembered[-1], world.gate.position) == ("nothing", None, ("E", 10))
    world.change(PutDomain("c0.test", "pod2"))
    assert world.edge["c0.test"] == "pod2"


def test_a_hold_ends_by_itself_when_gds_is_put_right(world: World) -> None:
    world.change(*moves(50))
    world.change(*moves(45, "pod1"))
    assert world.held() == "nothing"
    assert world.edge == {**customers(100), **{f"c{n}.test": "pod2" for n in range(45, 50)}}


def test_a_hold_ends_by_itself_with_a_snapshot_that_is_right(world: World) -> None:
    world.snapshot(2, {})
    world.snapshot(3, customers(101))
    assert (world.held(), len(world.edge)) == ("nothing", 101)


def test_what_was_refused_stays_out_without_an_alarm_until_it_grows_by_more_than_the_limit(world: World) -> None:
    world.change(*moves(50))
    world.gate.refuse("somebody")
    world.change(*moves(5, start=60))
    assert (world.held(), world.edge["c0.test"], world.edge["c60.test"]) == ("refused moved", "pod1", "pod2")
    world.change(*moves(11, start=70))
    assert world.held() == "held moved"


def test_what_was_refused_passes_when_it_is_within_the_limit_again(world: World) -> None:
    world.change(*moves(50))
    world.gate.refuse("somebody")
    world.change(*moves(50, "pod1"))
    assert (world.held(), world.edge) == ("nothing", customers(100))


def test_there_is_nothing_to_release_when_nothing_is_held(world: World) -> None:
    with pytest.raises(HoldError, match="nothing is held"):
        world.release()
    with pytest.raises(HoldError, match="nothing is held"):
        world.gate.refuse("somebody")


def test_a_gap_while_something_is_held_asks_for_a_snapshot(world: World) -> None:
    world.change(*moves(50))
    with pytest.raises(HistoryGone):
        drained(world.gate.applying(Transaction("E", 9, ())))
    assert world.held() == "held moved"


def test_a_transaction_that_comes_twice_changes_nothing(world: World) -> None:
    world.change(*moves(50))
    world.change(PutDomain("c99.test", "pod2"))
    drained(world.gate.applying(Transaction("E", 2, (PutDomain("c99.test", "pod1"),))))
    assert world.edge["c99.test"] == "pod2"


def rolled_back(world: World) -> None:
    world.change(PutDomain("c0.test", "pod2"))
    drained(world.gate.rolling_back(State("E", 1, 0.0, {p.name: p for p in PODS}, customers(100)), "somebody"))


def test_a_rollback_is_not_overwritten_by_anything_that_gds_says(world: World) -> None:
    rolled_back(world)
    assert (world.held(), world.edge) == ("held rollback", customers(100))
    world.change(PutDomain("c1.test", "pod2"))
    world.snapshot(7, {**customers(100), "c2.test": "pod2"})
    assert (world.held(), world.edge) == ("held rollback", customers(100))
    assert world.gate.position == ("E", 7)
    world.release()
    assert world.edge == {**customers(100), "c2.test": "pod2"}


def test_a_rollback_is_released_and_not_refused(world: World) -> None:
    rolled_back(world)
    with pytest.raises(HoldError, match="nothing to refuse: put GDS right, and then release"):
        world.gate.refuse("somebody")
    assert world.held() == "held rollback"


def test_what_goes_out_of_another_epoch_beside_a_hold_is_said_to_be_of_that_epoch(world: World) -> None:
    world.snapshot(1000, {**customers(100), "more.test": "pod1"})
    world.snapshot(5, customers(50), epoch="replaced")
    world.change(PutDomain("c0.test", "pod2"))
    edge = world.pipeline.directory
    assert (world.held(), edge.epoch, edge.revision) == ("held removed", "replaced", 6)


def test_a_rollback_goes_on_from_where_gds_was(world: World) -> None:
    rolled_back(world)
    assert world.gate.position == ("E", 2)
    assert world.gate.counts
    assert world.gate.counts.at_stake == 1


def test_what_was_on_disk_is_served_when_gds_does_not_answer() -> None:
    world = World()
    world.gate.resume(directory(customers(100)), None)
    assert (world.edge, world.gate.position) == ({}, None)
    drained(world.gate.serving_kept())
    assert world.edge == customers(100)
    assert world.gate.position is None  # a snapshot, and no watch, must tell what changed since
    world.snapshot(5, {**customers(100), "c0.test": "pod2"})
    assert (world.edge["c0.test"], world.gate.position) == ("pod2", ("E", 5))


@pytest.mark.parametrize("answer", [{**customers(100), "c0.test": "pod2"}, {}], ids=["taken", "held"])
def test_what_was_on_disk_may_be_older_than_what_an_envoy_has_until_gds_answers(answer: dict[str, str]) -> None:
    world = World()
    world.gate.resume(directory(customers(100)), None)
    assert not world.gate.defers
    drained(world.gate.serving_kept())
    assert world.gate.defers
    world.snapshot(5, answer)
    assert not world.gate.defers
    assert world.edge == (answer or customers(100))


def test_what_an_operator_went_back_to_is_the_word_that_counts() -> None:
    world = World()
    world.gate.resume(directory(customers(100)), None)
    drained(world.gate.serving_kept())
    drained(world.gate.rolling_back(State("E", 1, 0.0, {p.name: p for p in PODS}, customers(50)), "me"))
    assert (world.gate.defers, world.edge) == (False, customers(50))
    again = World()
    again.gate.resume(directory(customers(50)), world.gate.hold)
    drained(again.gate.serving_kept())
    assert not again.gate.defers


def test_what_was_on_disk_is_never_served_when_gds_answers_first() -> None:
    world = World()
    world.gate.resume(directory(customers(100)), None)
    world.snapshot(5, {**customers(100), "c0.test": "pod2"})
    assert (world.edge["c0.test"], world.pipeline.publishes) == ("pod2", 1)
    assert world.began == [Delta({"c0.test": ("pod1", "pod2")}, {})]
    drained(world.gate.serving_kept())
    assert world.edge["c0.test"] == "pod2"


def test_an_empty_gds_at_the_start_is_held_against_what_was_on_disk() -> None:
    world = World()
    world.gate.resume(directory(customers(100)), None)
    world.snapshot(1, {}, epoch="new")
    assert (world.held(), world.edge) == ("held empty", customers(100))


@pytest.mark.parametrize("refused", [None, 50])
def test_a_hold_and_its_refusal_outlive_a_restart(world: World, refused: int | None) -> None:
    world.snapshot(9, customers(50))
    if refused:
        world.gate.refuse("somebody")
    remembered = world.remembered[-1]
    assert remembered
    again = World()
    again.gate.resume(directory(customers(100)), decode(encode(remembered), 0.0))
    with pytest.raises(HoldError, match="hasn't answered since the start"):
        again.release()
    again.snapshot(9, customers(50))
    assert (again.gate.hold, again.edge) == (remembered, customers(100))
    again.release()
    assert again.edge == customers(50)


def test_a_rollback_outlives_a_restart_though_it_differs_by_one_domain_only(world: World) -> None:
    rolled_back(world)
    remembered = world.remembered[-1]
    again = World()
    again.gate.resume(directory(customers(100)), remembered)
    again.snapshot(9, {**customers(100), "c0.test": "pod2"})
    assert (again.held(), again.edge) == ("held rollback", customers(100))


def test_a_hold_whose_file_is_damaged_is_still_a_hold(world: World) -> None:
    world.snapshot(9, customers(50))
    assert world.gate.hold
    data = bytearray(encode(world.gate.hold))
    data[40] ^= 1
    found = decode(bytes(data), 5.0)
    assert (found.reason, found.since) == ("rollback", 5.0)
    assert "damaged" in found.text


def test_a_guard_that_is_off_lets_everything_through() -> None:
    world = World(Limits(enabled=False))
    world.snapshot(1, customers(100))
    world.snapshot(2, {})
    assert (world.held(), world.edge) == ("nothing", {})


def test_a_removed_pod_counts_with_its_domains_however_much_else_its_change_holds() -> None:
    world = World(Limits(share=0.5, minimum=10))
    world.snapshot(1, {f"d{number}.test": "pod2" if number % 3 else "pod1" for number in range(30_000)})
    world.change(DeletePod("pod2"), *[DeleteDomain(f"unknown{number}.test") for number in range(12_000)])
    assert world.gate.hold
    assert world.edge["d1.test"] == "pod2"


def test_a_large_transaction_after_a_gap_asks_for_a_snapshot(world: World) -> None:
    with pytest.raises(HistoryGone):
        drained(world.gate.applying(Transaction("E", 3, moves(50))))
    assert (world.held(), world.gate.position, world.edge) == ("nothing", ("E", 1), customers(100))


def test_a_large_transaction_of_another_epoch_asks_for_a_snapshot(world: World) -> None:
    with pytest.raises(HistoryGone):
        drained(world.gate.applying(Transaction("other", 2, moves(50))))
    assert world.held() == "nothing"


def test_a_large_transaction_that_comes_twice_changes_nothing(world: World) -> None:
    world.change(*moves(5))
    drained(world.gate.applying(Transaction("E", 2, moves(50))))
    assert (world.held(), world.gate.position) == ("nothing", ("E", 2))
    assert world.edge["c20.test"] == "pod1"


def test_what_a_search_withheld_when_a_hold_began_is_released_as_it_is_at_the_edge_by_then(world: World) -> None:
    edge, tried = world.pipeline.directory, ("domain", "c0.test")
    edge.withhold({tried: None}, "is being tried")
    world.change(*moves(50, start=50))
    edge.restore([tried])
    assert world.held() == "held moved"
    world.release()
    assert world.edge["c0.test"] == "pod1"
    assert not edge.set_aside


def one_by_one(world: World, count: int, pod: str = "pod2", start: int = 0) -> None:
    for move in moves(count, pod, start):
        world.change(move)


def test_many_small_changes_in_a_short_time_are_held_as_the_large_one_that_they_add_up_to(world: World) -> None:
    one_by_one(world, 10)
    assert world.held() == "nothing"
    one_by_one(world, 5, start=10)
    assert world.held() == "held many"
    assert sorted(world.edge.values()).count("pod2") == 10
    assert world.gate.counts
    assert world.gate.counts.at_stake == 5


def test_so_are_removals_one_by_one(world: World) -> None:
    for number in range(50):
        world.change(DeleteDomain(f"c{number}.test"))
    assert (world.held(), len(world.edge)) == ("held many", 91)


def test_small_changes_over_a_longer_time_are_not_held(world: World) -> None:
    for number in range(50):
        one_by_one(world, 1, start=number)
        world.clock += 7.0
    assert (world.held(), list(world.edge.values()).count("pod2")) == ("nothing", 50)


def test_a_domain_that_moves_often_counts_once(world: World) -> None:
    for turn in range(50):
        one_by_one(world, 1, f"pod{turn % 2 + 1}")
    assert world.held() == "nothing"


def test_added_domains_do_not_count_with_others(world: World) -> None:
    one_by_one(world, 10)
    for number in range(50):
        world.change(PutDomain(f"new{number}.test", "pod1"))
    assert (world.held(), len(world.edge)) == ("nothing", 150)


def test_time_alone_ends_no_hold_of_many_changes_and_nothing_trickles_through(world: World) -> None:
    one_by_one(world, 20)
    world.clock += 1_000.0
    one_by_one(world, 20, start=20)
    assert (world.held(), list(world.edge.values()).count("pod2")) == ("held many", 10)
    world.change(PutDomain("new.test", "pod1"))
    assert world.edge["new.test"] == "pod1"


def test_a_hold_of_many_changes_ends_when_gds_is_put_right_or_is_released(world: World) -> None:
    one_by_one(world, 20)
    world.change(*moves(20, "pod1"))
    assert (world.held(), world.edge) == ("nothing", customers(100))
    world.clock += 61.0
    one_by_one(world, 20)
    world.release()
    assert (world.held(), list(world.edge.values()).count("pod2")) == ("nothing", 20)
    one_by_one(world, 10, start=20)
    assert world.held() == "nothing"


def test_a_hold_of_many_changes_outlives_a_restart(world: World) -> None:
    one_by_one(world, 15)
    remembered = world.remembered[-1]
    again = World()
    again.gate.resume(directory(world.edge), remembered)
    again.snapshot(16, {**customers(100), **customers(15, "pod2")})
    assert (again.held(), again.edge) == ("held many", world.edge)


def serving(*numbers: int, address: str = "127.0.0.1", count: int = 30) -> list[Change]:
    """Pods with an endpoint each; those of ``numbers`` are elsewhere, or nowhere."""
    at = {number: (Endpoint(address, number + 1),) if address else () for number in numbers}
    return [PutPod(Pod(f"s{n}", endpoints=at.get(n, (Endpoint("127.0.0.9", n + 1),)))) for n in range(count)]


@pytest.mark.parametrize("address", ["", "127.0.0.1"])
def test_many_pods_that_lose_their_endpoints_at_once_are_held(world: World, address: str) -> None:
    world.change(*serving())
    world.change(*serving(*range(5), address=address) if address else serving(0, address=""))
    assert world.held() == "nothing"
    world.change(*serving(*range(5, 20), address=address))
    assert world.held() == "held endpoints"
    assert world.pipeline.directory.pods["s7"].endpoints[0].address == "127.0.0.9"
    world.change(*serving(*range(5), address=address) if address else serving(0, address=""))
    assert world.held() == "nothing"


def test_pods_that_are_emptied_one_after_the_other_are_held_and_pods_that_move_are_not(world: World) -> None:
    world.change(*serving())
    for number in range(30):
        world.change(PutPod(Pod(f"s{number}", endpoints=(Endpoint("127.0.0.5", number + 1),))))
    assert world.held() == "nothing"
    for number in range(30):
        world.change(PutPod(Pod(f"s{number}")))
    assert world.held() == "held endpoints"
    assert sum(not pod.endpoints for pod in world.pipeline.directory.pods.values()) == 2 + 3  # pod1 and pod2, and 3


def test_what_a_large_change_puts_at_stake_is_told_and_remembered_in_slices() -> None:
    edge = directory(customers(4_000))
    assert sum(1 for _ in stake(moves(4_000), edge)) >= 4
    recent = Recent(60.0)
    recent.add(customers(4_000), 0.0)
    assert sum(1 for _ in recent.forget(61.0)) >= 4
    assert recent.beside(()) == 0
