"""The mirror: it resumes where it can, resyncs where it must, and never gives up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count

import pytest

from xds.delta import Delta
from xds.directory import Directory
from xds.errors import GdsError, HistoryGone
from xds.gds.mirror import LONGEST_PAUSE, LONGEST_WAIT, Mirror
from xds.gds.model import Pod, PutDomain, Snapshot, Transaction
from xds.gds.watch import Heartbeat
from xds.slices import Work


class End(Exception):
    """The script is played to its end."""


@dataclass
class Gds:
    """Answers from a script: each call takes the next entry; an exception is raised, a list of values watched."""

    script: list[Snapshot | GdsError | list[Transaction | Heartbeat | GdsError]]
    calls: list[str] = field(default_factory=list)

    def _next(self) -> Snapshot | GdsError | list[Transaction | Heartbeat | GdsError]:
        if not self.script:
            raise End
        return self.script.pop(0)

    async def snapshot(self) -> Snapshot:
        self.calls.append("snapshot")
        answer = self._next()
        if isinstance(answer, Snapshot):
            return answer
        assert isinstance(answer, GdsError)
        raise answer

    async def watch(self, epoch: str, after: int) -> AsyncIterator[Transaction | Heartbeat]:
        self.calls.append(f"watch {epoch}:{after}")
        answer = self._next()
        if isinstance(answer, GdsError):
            raise answer
        assert isinstance(answer, list)
        for value in answer:
            if isinstance(value, GdsError):
                raise value
            yield value
        raise GdsError("GDS ended the watch")


class Held:
    """A follower that keeps a directory and what it was told."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.deltas: list[Delta] = []

    @property
    def position(self) -> tuple[str, int] | None:
        return (self.directory.epoch, self.directory.revision) if self.directory.complete else None

    def replacing(self, snapshot: Snapshot) -> Work[None]:
        yield
        self.deltas.append(self.directory.replace(snapshot))

    def applying(self, transaction: Transaction) -> Work[None]:
        yield
        self.deltas.append(self.directory.apply(transaction))


def snapshot(revision: int, *domains: str, epoch: str = "E") -> Snapshot:
    return Snapshot(epoch, revision, (Pod("pod1"),), [(domain, "pod1") for domain in domains])


def put(revision: int, domain: str) -> Transaction:
    return Transaction("E", revision, (PutDomain(domain, "pod1"),))


async def play(
    *script: Snapshot | GdsError | list[Transaction | Heartbeat | GdsError], took: float = 0.0
) -> tuple[Gds, Held, Mirror]:
    """``took``: seconds that pass between two looks at the clock."""
    looks = count()
    gds, held = Gds(list(script)), Held()
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    mirror = Mirror(gds, held, sleep=sleep, chance=lambda: 1.0, clock=lambda: next(looks) * took)
    with pytest.raises(End):
        await mirror.run()
    assert all(0 < seconds <= LONGEST_WAIT for seconds in waited)
    mirror.waited = waited  # type: ignore[attr-defined]
    return gds, held, mirror


async def test_a_snapshot_is_followed_by_the_watch_from_its_revision() -> None:
    gds, held, mirror = await play(snapshot(3, "a.test"), [put(4, "b.test")])
    assert gds.calls[:2] == ["snapshot", "watch E:3"]
    assert dict(held.directory.domains) == {"a.test": "pod1", "b.test": "pod1"}
    assert mirror.status.gds_revision == 4


async def test_a_broken_watch_is_resumed_from_the_revision_that_is_held() -> None:
    gds, _, mirror = await play(snapshot(3), [put(4, "b.test")], GdsError("refused"), [put(5, "c.test")])
    assert gds.calls == ["snapshot", "watch E:3", "watch E:4", "watch E:4", "watch E:5"]
    assert mirror.status.snapshots == 1


@pytest.mark.parametrize(
    "fault",
    [
        HistoryGone("410"),
        [put(9, "late.test")],
        [Heartbeat("other", 9)],
        [Heartbeat("E", 2)],
    ],
)
async def test_lost_history_a_gap_or_another_epoch_leads_to_a_new_snapshot(
    fault: GdsError | list[Transaction | Heartbeat | GdsError],
) -> None:
    gds, held, _ = await play(snapshot(3, "a.test"), fault, snapshot(9, "a.test", "b.test"), [])
    assert gds.calls[:4] == ["snapshot", "watch E:3", "snapshot", "watch E:9"]
    assert held.deltas[-1].domains == {"b.test": (None, "pod1")}


async def test_what_the_snapshots_held_is_counted_together_so_that_memory_is_given_back_after_each() -> None:
    _, _, mirror = await play(snapshot(3, "a.test"), HistoryGone("410"), snapshot(9, "a.test", "b.test"), [])
    assert mirror.status.read == 3


async def test_a_gds_that_always_forgets_is_not_asked_in_a_hot_loop() -> None:
    _, _, mirror = await play(snapshot(3), *[HistoryGone("410"), snapshot(3)] * 5)
    assert len(mirror.waited) >= 4  # type: ignore[attr-defined]


async def test_waiting_doubles_up_to_a_bound_while_gds_is_away() -> None:
    """What it says when it is back is at the edge within a second, also after a start without it."""
    _, held, mirror = await play(*[GdsError("refused")] * 12)
    waited = mirror.waited  # type: ignore[attr-defined]
    assert waited[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waited[-1] == LONGEST_PAUSE < 1.0
    assert held.position is None
    assert mirror.status.state == "starting"
    assert mirror.status.last_error == "refused"


async def test_a_mirror_that_is_cancelled_ends() -> None:
    class Silent(Gds):
        async def snapshot(self) -> Snapshot:
            await asyncio.sleep(3600)
            raise AssertionError

    task = asyncio.create_task(Mirror(Silent([]), Held()).run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_gds_that_always_leads_to_a_snapshot_is_not_asked_without_a_pause() -> None:
    """As two replicas do behind one address that don't agree on the epoch."""
    turn: list[Snapshot | GdsError | list[Transaction | Heartbeat | GdsError]] = []
    for _ in range(6):
        turn += [snapshot(3), [Heartbeat("other", 3)]]
    gds, _, mirror = await play(*turn)
    assert gds.calls.count("snapshot") == 7
    assert len(mirror.waited) >= 5  # type: ignore[attr-defined]
    assert mirror.waited[-1] > mirror.waited[0]  # type: ignore[attr-defined]


async def test_waits_are_a_random_part_of_their_longest() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    script: list[Snapshot | GdsError | list[Transaction | Heartbeat | GdsError]] = [GdsError("away")] * 3
    with pytest.raises(End):
        await Mirror(Gds(script), Held(), sleep=sleep, chance=lambda: 0.3).run()
    assert waited == pytest.approx([0.3 * 0.1, 0.3 * 0.2, 0.3 * 0.4])


async def test_a_gds_that_is_away_for_ten_minutes_is_found_within_a_second_of_its_return() -> None:
    """Each wait is as long as it can be, and 800 of them are more than ten minutes."""
    _, held, mirror = await play(snapshot(3, "a.test"), *[GdsError("away")] * 800, [put(4, "b.test")])
    waited = mirror.waited  # type: ignore[attr-defined]
    assert sum(waited) > 600
    assert max(waited) == LONGEST_PAUSE < 1.0
    assert dict(held.directory.domains) == {"a.test": "pod1", "b.test": "pod1"}
    assert mirror.status.snapshots == 1


async def test_a_snapshot_that_fails_is_asked_for_ever_more_rarely_though_something_is_held() -> None:
    _, _, mirror = await play(snapshot(3), *[HistoryGone("410"), GdsError("no snapshot")] * 12, took=2.0)
    assert max(mirror.waited) == LONGEST_WAIT  # type: ignore[attr-defined]


async def test_one_that_breaks_is_asked_for_again_after_a_time_that_is_in_proportion() -> None:
    _, _, mirror = await play(*[GdsError("cut off")] * 12, took=0.3)
    assert max(mirror.waited) == pytest.approx(3.0)  # type: ignore[attr-defined]
