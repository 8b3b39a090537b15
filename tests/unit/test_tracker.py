"""From GDS's change to the Envoys' ACKs, with the real gate, pipeline, cache and protocol; and who waits for it."""

from __future__ import annotations

import asyncio

import pytest
from tracked_world import Envoy, World

from xds import tracker as tracking
from xds.errors import HistoryGone, WaitError
from xds.gds.model import BadRecord, Change, DeletePod, Pod, PutDomain, PutPod
from xds.guard import Limits
from xds.protocol.messages import DeltaRequest
from xds.receipt import KEPT, SHOWN
from xds.slices import drained
from xds.state.format import State


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def envoy(world: World) -> Envoy:
    made = Envoy(world)
    made.subscribe()
    world.tracker.look()
    return made


def test_the_first_snapshot_has_a_receipt_with_all_its_records(world: World, envoy: Envoy) -> None:
    standing = world.tracker.receipts.standing(1)
    assert (standing.state, standing.receipt and standing.receipt.kind) == ("complete", "snapshot")
    assert standing.receipt is not None
    assert standing.receipt.changes == 102


def test_a_snapshot_with_a_record_that_cannot_be_used_is_set_aside_until_the_record_is_put_right(
    world: World, envoy: Envoy
) -> None:
    world.snapshot(2, {**{f"d{number}.test": "pod1" for number in range(100)}, "homeless.test": "nowhere"})
    envoy.take()
    standing = world.tracker.receipts.standing(2)
    assert standing.state == "set_aside"
    assert standing.receipt is not None
    assert [*standing.receipt.bad] == [("domain", "homeless.test")]
    assert "'nowhere' is not in the directory" in standing.receipt.bad["domain", "homeless.test"]
    world.change(3, PutDomain("homeless.test", "pod2"))
    envoy.take()
    assert (world.state(2), world.state(3)) == ("complete", "complete")


def test_of_a_snapshot_that_was_held_it_is_known_once_it_is_released(world: World, envoy: Envoy) -> None:
    world.snapshot(2, {**{f"d{number}.test": "pod2" for number in range(100)}, "homeless.test": "nowhere"})
    assert world.state(2) == "held"
    drained(world.gate.releasing("ann"))
    world.tracker.look()
    envoy.take()
    standing = world.tracker.receipts.standing(2)
    assert standing.state == "set_aside"
    assert standing.receipt is not None
    assert [*standing.receipt.bad] == [("domain", "homeless.test")]


def test_of_a_snapshot_with_many_unusable_records_the_first_are_told(world: World, envoy: Envoy) -> None:
    homeless = {f"homeless{number}.test": "nowhere" for number in range(100)}
    world.snapshot(2, {**{f"d{number}.test": "pod1" for number in range(100)}, **homeless})
    envoy.take()
    standing = world.tracker.receipts.standing(2)
    assert standing.receipt is not None
    assert standing.state == "set_aside"
    shown, more = world.tracker.receipts.unused_of(standing.receipt)
    assert (len(shown), more) == (SHOWN, 100 - SHOWN)


def test_a_change_is_complete_with_the_ack_and_not_before(world: World, envoy: Envoy) -> None:
    world.change(2, PutDomain("d1.test", "pod2"))
    world.tracker.look()
    assert world.state(2) == "published"
    envoy.take()
    assert world.state(2) == "complete"
    assert world.events[-4:] == ["received", "published", "first_ack", "complete"]


def test_an_ack_of_what_was_sent_before_a_change_says_nothing_of_the_change(world: World, envoy: Envoy) -> None:
    world.change(2, PutDomain("d1.test", "pod2"))
    sent = list(envoy.stream.responses())
    world.change(3, PutDomain("d1.test", "pod1"))
    for response in sent:
        settled = envoy.stream.receive(DeltaRequest(response.type_url, nonce=response.nonce))
        assert settled is not None
        world.tracker.settled(envoy.stream, settled)
    assert (world.state(2), world.state(3)) == ("complete", "published")
    envoy.take()
    assert world.state(3) == "complete"


def test_a_change_that_changes_nothing_is_complete_without_an_ack(world: World, envoy: Envoy) -> None:
    world.change(2, PutDomain("d1.test", "pod1"))
    assert world.state(2) == "complete"


def test_an_envoy_that_rejects_a_change_keeps_it_from_being_complete(world: World, envoy: Envoy) -> None:
    world.change(2, PutDomain("d1.test", "pod2"))
    envoy.take("no such thing")
    world.tracker.look()
    standing = world.tracker.receipts.standing(2)
    assert standing.state == "published"
    assert standing.publish is not None
    assert [nack.reason for nack in standing.publish.nacks.values()] == ["no such thing"]
    world.change(3, PutDomain("d1.test", "pod1"))
    envoy.take()
    assert (world.state(2), world.state(3)) == ("complete", "complete"), "what it rejected is replaced"


def test_an_envoy_that_has_begun_only_is_waited_for(world: World, envoy: Envoy) -> None:
    other = Envoy(world, "edge-2")
    world.tracker.look()
    assert world.state(1) == "published"
    other.subscribe()
    world.tracker.look()
    assert world.state(1) == "complete"


def test_a_client_that_wants_no_routes_is_not_waited_for_for_ever(world: World, envoy: Envoy) -> None:
    Envoy(world, "no-envoy")
    world.now += tracking.JOINING + 1
    world.tracker.look()
    assert world.state(1) == "complete"


def test_what_the_guard_holds_is_held_until_it_is_released(world: World, envoy: Envoy) -> None:
    world.change(2, *[PutDomain(f"d{number}.test", "pod2") for number in range(50)])
    world.change(3, PutDomain("d99.test", "pod2"))
    envoy.take()
    assert (world.state(2), world.state(3)) == ("held", "complete")
    drained(world.gate.releasing("ann"))
    world.tracker.look()
    assert world.state(2) == "published"
    envoy.take()
    assert world.state(2) == "complete"


def test_a_change_that_does_not_follow_leaves_no_receipt(world: World, envoy: Envoy) -> None:
    with pytest.raises(HistoryGone):
        world.change(7, PutDomain("d1.test", "pod2"))
    assert world.tracker.receipts.standing(7).receipt is None
    world.change(1, PutDomain("d1.test", "pod2"))
    assert world.state(1) == "complete", "one that is held already is none"


def test_after_a_gap_the_snapshot_carries_what_was_missed(world: World, envoy: Envoy) -> None:
    world.snapshot(9, {f"d{number}.test": "pod1" for number in range(100)} | {"new.test": "pod2"})
    assert world.state(8) == "published"
    envoy.take()
    assert (world.state(8), world.state(9)) == ("complete", "complete")


async def test_whoever_waits_is_woken_by_the_last_ack(world: World, envoy: Envoy) -> None:
    late = Envoy(world, "edge-2")
    late.subscribe()
    world.tracker.look()
    waiting = asyncio.create_task(world.tracker.wait(2, 10))
    await asyncio.sleep(0)
    world.change(2, PutDomain("d1.test", "pod2"))
    envoy.take()
    await asyncio.sleep(0)
    assert not waiting.done()
    late.take()
    assert (await asyncio.wait_for(waiting, 1)).complete


async def test_whoever_waits_is_woken_when_an_envoy_that_left_is_back_with_the_change() -> None:
    world = World(grace=30)
    envoy = Envoy(world)
    envoy.subscribe()
    world.tracker.look()
    world.change(2, PutDomain("d1.test", "pod2"))
    waiting = asyncio.create_task(world.tracker.wait(2, 10, 1))
    envoy.leave()
    world.tracker.look()
    await asyncio.sleep(0)
    assert not waiting.done()
    back = Envoy(world)
    world.tracker.look()
    await asyncio.sleep(0)
    assert not waiting.done()
    back.subscribe()
    world.tracker.look()
    assert (await asyncio.wait_for(waiting, 1)).complete


def test_an_envoy_that_does_not_come_back_is_waited_for_until_its_time_is_over() -> None:
    world = World(grace=30)
    envoys = Envoy(world), Envoy(world, "edge-2")
    for envoy in envoys:
        envoy.subscribe()
    world.tracker.look()
    world.change(2, PutDomain("d1.test", "pod2"))
    envoys[0].take()
    envoys[1].leave()
    for elapsed, state in ((29, "published"), (30, "complete")):
        world.now = elapsed
        world.tracker.look()
        assert world.state(2) == state


async def test_whoever_wants_more_envoys_than_there_are_waits_for_them(world: World) -> None:
    waiting = asyncio.create_task(world.tracker.wait(1, 10, 2))
    for name in ("edge-1", "edge-2"):
        world.tracker.look()
        await asyncio.sleep(0)
        assert not waiting.done()
        Envoy(world, name).subscribe()
    world.tracker.look()
    assert (await asyncio.wait_for(waiting, 1)).complete
    assert not (await world.tracker.wait(1, 0.01, 3)).complete


async def test_whoever_waits_in_vain_is_told_how_it_stands(world: World, envoy: Envoy) -> None:
    world.change(2, PutDomain("d1.test", "pod2"))
    assert (await world.tracker.wait(2, 0.01)).state == "published"
    assert (await world.tracker.wait(99, 0.01)).state == "expected"
    assert world.tracker.waiters == 0


async def test_waiters_are_bounded_and_leave_nothing_behind(
    world: World, envoy: Envoy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "WAITERS", 3)
    waiting = [asyncio.create_task(world.tracker.wait(99, 10)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(WaitError, match="without `wait`"):
        await world.tracker.wait(99, 10)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert world.tracker.waiters == 0
    assert not (await world.tracker.wait(99, 0.01)).complete


async def test_nobody_waits_for_what_was_rolled_back_or_set_aside(world: World, envoy: Envoy) -> None:
    world.change(2, PutDomain("d1.test", "pod2"))
    envoy.take()
    waiting = asyncio.create_task(world.tracker.wait(3, 3_600))
    await asyncio.sleep(0)
    world.change(3, PutDomain("d2.test", "no-such-pod"))
    envoy.take()
    assert (await asyncio.wait_for(waiting, 30)).state == "set_aside"
    directory = world.pipeline.directory
    before = State("E", 1, 0.0, dict(directory.pods), {name: "pod1" for name in directory.domains})
    drained(world.gate.rolling_back(before, "ann"))
    world.tracker.look()
    envoy.take()
    assert (await asyncio.wait_for(world.tracker.wait(2, 3_600), 30)).state == "rolled_back"


def test_a_rollback_undoes_what_is_newer_and_a_release_publishes_it_anew(world: World, envoy: Envoy) -> None:
    world.change(2, PutDomain("d1.test", "pod2"))
    envoy.take()
    directory = world.pipeline.directory
    before = State("E", 1, 0.0, dict(directory.pods), {name: "pod1" for name in directory.domains})
    drained(world.gate.rolling_back(before, "ann"))
    world.tracker.look()
    envoy.take()
    assert (world.state(1), world.state(2)) == ("complete", "rolled_back")
    world.change(3, PutDomain("d2.test", "pod2"))
    assert world.state(3) == "held"
    drained(world.gate.releasing("ann"))
    world.tracker.look()
    assert (world.state(2), world.state(3)) == ("published", "published")
    envoy.take()
    assert (world.state(2), world.state(3)) == ("complete", "complete")


@pytest.mark.parametrize(
    "change",
    [PutDomain("new.test", "nowhere"), PutDomain("no host!", "pod1"), BadRecord("domain", "new.test", "no pod")],
)
def test_a_change_of_which_a_record_is_not_used_is_not_complete(world: World, envoy: Envoy, change: Change) -> None:
    world.change(2, PutDomain("d1.test", "pod2"), change)
    envoy.take()
    world.tracker.look()
    receipt = world.tracker.receipts.standing(2).receipt
    assert (world.state(2), receipt and len(receipt.bad)) == ("set_aside", 1)
    world.change(3, PutDomain("d2.test", "pod2"))
    envoy.take()
    assert (world.state(2), world.state(3)) == ("set_aside", "complete"), "each answers for its own records"


def test_a_domain_whose_pod_comes_later_is_complete_when_every_envoy_has_it(world: World, envoy: Envoy) -> None:
    world.change(2, PutDomain("new.test", "pod9"))
    envoy.take()
    assert world.state(2) == "set_aside"
    world.change(3, PutPod(Pod("pod9")))
    assert world.state(2) == "published"
    envoy.take()
    world.tracker.look()
    assert world.state(2) == "complete"


def test_what_a_later_change_spoilt_was_complete(world: World, envoy: Envoy) -> None:
    world.change(2, PutDomain("d1.test", "pod2"))
    world.change(3, PutDomain("d1.test", "nowhere"))
    envoy.take()
    assert (world.state(2), world.state(3)) == ("complete", "set_aside")


def test_what_was_released_is_not_complete_while_a_record_of_it_is_not_used(world: World, envoy: Envoy) -> None:
    world.change(2, PutDomain("new.test", "nowhere"), *(PutDomain(f"d{number}.test", "pod2") for number in range(50)))
    assert world.state(2) == "held"
    drained(world.gate.releasing("me"))
    envoy.take()
    world.tracker.look()
    assert world.state(2) == "set_aside"


def test_a_change_with_more_unusable_records_than_are_remembered_is_not_complete_before_all_are_put_right(
    world: World, envoy: Envoy
) -> None:
    many = [f"new{number}.test" for number in range(KEPT + 50)]
    world.gate._limits = Limits(enabled=False)
    world.change(2, *(PutDomain(name, "nowhere") for name in many))
    envoy.take()
    receipt = world.tracker.receipts.standing(2).receipt
    assert receipt is not None
    assert (len(receipt.bad), receipt.more_bad) == (KEPT, 50)
    shown, more = world.tracker.receipts.unused_of(receipt)
    assert len(shown) + more == len(many)
    for turn, (some, state) in enumerate([(many[:SHOWN], "set_aside"), (many[:KEPT], "set_aside"), (many, "complete")]):
        world.change(3 + turn, *(PutDomain(name, "pod1") for name in some))
        envoy.take()
        world.tracker.look()
        assert world.state(2) == state, len(some)
    assert world.tracker.receipts.unused_of(receipt) == ([], 0)


def test_of_what_was_released_every_record_is_looked_at(world: World, envoy: Envoy) -> None:
    world.change(2, *(PutDomain(f"d{number}.test", "pod2") for number in range(50)), PutDomain("new.test", "nowhere"))
    world.change(3, PutDomain("d99.test", "pod2"))
    assert (world.state(2), world.state(3)) == ("held", "published")
    drained(world.gate.releasing("me"))
    envoy.take()
    world.tracker.look()
    assert (world.state(2), world.state(3)) == ("set_aside", "complete")
    world.change(4, PutDomain("new.test", "pod1"))
    envoy.take()
    assert (world.state(2), world.state(4)) == ("complete", "complete")


def test_a_snapshot_that_says_the_same_again_does_not_complete_a_change(world: World, envoy: Envoy) -> None:
    world.change(2, PutDomain("new.test", "nowhere"))
    world.snapshot(9, {**{f"d{number}.test": "pod1" for number in range(100)}, "new.test": "nowhere"})
    envoy.take()
    world.tracker.look()
    assert (world.state(2), world.state(9)) == ("set_aside", "set_aside")
    assert world.state(5) == "set_aside", "it is in the snapshot, and so may the record be"
    world.change(10, PutDomain("new.test", "pod1"))
    envoy.take()
    assert [world.state(revision) for revision in (2, 5, 9)] == ["complete"] * 3


def test_a_revision_that_nobody_remembers_is_not_complete_while_a_record_of_it_is_not_used(
    world: World, envoy: Envoy
) -> None:
    world.tracker.receipts._keep = 3
    world.change(2, PutDomain("d1.test", "pod2"))
    world.change(3, PutDomain("new.test", "nowhere"))
    for revision in range(4, 9):
        world.change(revision, PutDomain("d1.test", f"pod{1 + revision % 2}"))
    envoy.take()
    world.tracker.look()
    assert world.tracker.receipts.standing(3).receipt is None
    assert [world.state(revision) for revision in (2, 3, 4)] == ["complete", "set_aside", "complete"]


def test_the_removal_of_a_pod_that_waits_for_a_release_is_held(world: World, envoy: Envoy) -> None:
    world.change(2, *(PutDomain(f"d{number}.test", "pod2") for number in range(50)))
    world.change(3, DeletePod("pod2"))
    envoy.take()
    world.tracker.look()
    assert (world.state(3), "pod2" in world.pipeline.directory.pods) == ("held", True)
    drained(world.gate.releasing("me"))
    envoy.take()
    world.tracker.look()
    assert (world.state(3), "pod2" in world.pipeline.directory.pods) == ("complete", False)


async def test_who_waits_for_a_revision_of_a_gds_that_is_replaced_is_not_told_of_the_same_number_of_the_next(
    world: World, envoy: Envoy
) -> None:
    world.change(2, PutDomain("d1.test", "pod2"))
    waiting = asyncio.create_task(world.tracker.wait(2, 3_600))
    await asyncio.sleep(0)
    world.snapshot(9, {f"d{number}.test": "pod1" for number in range(100)}, epoch="F")
    envoy.take()
    world.tracker.look()
    assert (await asyncio.wait_for(waiting, 30)).state == "rolled_back"
    assert world.state(2) == "complete", "whoever asks now may mean the new one"
