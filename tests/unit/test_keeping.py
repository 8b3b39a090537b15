"""What is kept on disk while the directory changes: each change soon, a whole state when it is due and after faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from xds.delta import Delta
from xds.errors import StateError
from xds.gds.model import Pod
from xds.state.folder import StateFolder
from xds.state.format import State
from xds.state.keeper import Keeper


class Kept:
    """A keeper of a directory of one pod; ``move`` changes both."""

    def __init__(self, path: Path, pause: float = 0.0) -> None:
        self.state = State("E", 1, 0.0, {"pod1": Pod("pod1")}, {"a.test": "pod1"})
        self.folder = StateFolder(path / "state")
        self.folder.load()
        self.keeper = Keeper(self.folder, self.picture, lambda: 1000.0 + self.state.revision, pause=pause)

    def picture(self) -> State:
        return State("E", self.state.revision, 0.0, dict(self.state.pods), dict(self.state.domains))

    def add(self, *names: str) -> None:
        self.state.revision += 1
        self.state.domains.update(dict.fromkeys(names, "pod1"))
        self.keeper.changed(Delta({name: (None, "pod1") for name in names}, {}), "E", self.state.revision)

    def again(self) -> State:
        """What another control plane finds, once this one has given the folder up."""
        self.folder.close()
        found = StateFolder(self.folder.path).load().state
        assert found is not None
        return found

    def on_disk(self) -> State:
        """What another control plane would find if this one ended now, be it killed."""
        found = StateFolder(self.folder.path).load().state
        assert found is not None
        return found

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not done():  # noqa: ASYNC110  (it is done by the keeper's threads)
                await asyncio.sleep(0.01)

    def failing(self, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
        def fails(*_: object, **__: object) -> None:
            raise StateError("No space left on device")

        monkeypatch.setattr(self.folder, what, fails)


async def test_the_first_write_is_a_whole_state_and_what_follows_goes_to_its_journal(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.add("b.test")
    assert await kept.keeper.write()
    kept.add("c.test")
    assert await kept.keeper.write()
    assert (kept.keeper.writes.states, kept.keeper.writes.entries) == (1, 1)
    found = kept.again()
    assert (found.revision, set(found.domains)) == (3, {"a.test", "b.test", "c.test"})


async def test_a_journal_as_large_as_its_state_is_followed_by_a_new_state(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.add("b.test")
    await kept.keeper.write()
    for number in range(30):
        kept.add(*[f"{'n' * 40}{number}-{n}.test" for n in range(1000)])
    await kept.keeper.write()
    kept.add("z.test")
    await kept.keeper.write()
    assert kept.keeper.writes.states == 2
    assert kept.again().domains == kept.state.domains


async def test_changes_that_could_not_be_written_are_in_the_next_whole_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    await kept.keeper.write()
    with monkeypatch.context() as fault:
        kept.failing(fault, "write")
        kept.folder._open.file.close()  # type: ignore[union-attr]
        kept.failing(fault, "append")
        kept.folder._open = None
        kept.add("b.test")
        assert not await kept.keeper.write()
        assert (kept.keeper.writes.failures, kept.keeper.writes.error) == (1, "No space left on device")
        kept.add("c.test")
    assert await kept.keeper.write()
    assert kept.keeper.writes.error == ""
    assert kept.again().domains == kept.state.domains


async def test_a_new_state_that_does_not_fit_leaves_the_journal_going_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    await kept.keeper.write()
    with monkeypatch.context() as fault:
        kept.failing(fault, "write")
        fault.setattr(StateFolder, "full", property(lambda _: True))
        kept.add("b.test")
        assert not await kept.keeper.write()
    kept.add("c.test")
    assert await kept.keeper.write()
    assert kept.keeper.writes.states == 1
    assert kept.again().domains == kept.state.domains


async def test_a_small_file_that_could_not_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    with monkeypatch.context() as fault:
        kept.failing(fault, "replace")
        kept.keeper.put("hold", b"held")
        assert not await kept.keeper.write()
    assert await kept.keeper.write()
    assert kept.folder.content("hold") == b"held"
    kept.keeper.put("hold", None)
    assert await kept.keeper.write()
    assert kept.folder.content("hold") is None
    kept.folder.close()


async def test_changes_that_waited_for_a_small_file_that_failed_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    await kept.keeper.write()
    with monkeypatch.context() as fault:
        kept.failing(fault, "replace")
        kept.keeper.put("hold", b"held")
        kept.add("b.test")
        assert not await kept.keeper.write()
    kept.add("c.test")
    assert await kept.keeper.write()
    assert kept.again().domains == kept.state.domains


async def test_a_state_that_gets_no_journal_does_not_hide_what_the_one_before_goes_on_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    await kept.keeper.write()
    with monkeypatch.context() as fault:
        kept.failing(fault, "_begun")
        fault.setattr(StateFolder, "full", property(lambda _: True))
        kept.add("b.test")
        assert not await kept.keeper.write()
    kept.add("c.test")
    assert await kept.keeper.write()
    assert kept.again().domains == kept.state.domains


async def test_a_change_outlives_the_process_long_before_it_is_synced(tmp_path: Path) -> None:
    kept = Kept(tmp_path, pause=3_600)
    await kept.keeper.write()
    task = asyncio.create_task(kept.keeper.run())
    kept.add("b.test")
    await kept.until(lambda: "b.test" in kept.on_disk().domains)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    kept.folder.close()


async def test_what_is_written_is_synced_beside_what_is_written_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    await kept.keeper.write()
    loop, begun, goes_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def slow(file: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(goes_on.wait(), loop).result()

    monkeypatch.setattr("os.fdatasync", slow)
    task = asyncio.create_task(kept.keeper.run())
    kept.add("b.test")
    await asyncio.wait_for(begun.wait(), 30)
    kept.add("c.test")
    await kept.until(lambda: "c.test" in kept.on_disk().domains)
    goes_on.set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    kept.folder.close()


async def test_a_journal_that_can_not_be_synced_is_followed_by_a_whole_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    monkeypatch.setattr("xds.state.keeper.RETRY", 0.01)
    await kept.keeper.write()
    failed: list[int] = []

    def fails(file: int) -> None:
        failed.append(file)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fdatasync", fails)
    task = asyncio.create_task(kept.keeper.run())
    kept.add("b.test")
    await kept.until(lambda: kept.keeper.writes.states == 2)
    assert len(failed) >= 1
    assert kept.keeper.writes.failures >= 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert kept.again().domains == kept.state.domains


async def test_what_is_written_last_is_synced_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(tmp_path, pause=3_600)
    await kept.keeper.write()
    synced: list[int] = []
    monkeypatch.setattr("os.fdatasync", synced.append)
    kept.add("b.test")
    await kept.keeper.close()
    assert synced


async def test_what_waits_is_written_at_the_end(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    task = asyncio.create_task(kept.keeper.run())
    await asyncio.sleep(0)
    kept.add("b.test")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await kept.keeper.close()
    assert kept.again().revision == 2


async def test_changes_are_noted_without_waiting_for_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    await kept.keeper.write()
    write: Callable[..., None] = kept.folder.append
    slow = asyncio.Event()
    loop = asyncio.get_running_loop()

    def waits(entries: object) -> None:
        asyncio.run_coroutine_threadsafe(slow.wait(), loop).result()
        write(entries)

    monkeypatch.setattr(kept.folder, "append", waits)
    kept.add("b.test")
    writing = asyncio.create_task(kept.keeper.write())
    await asyncio.sleep(0.05)
    kept.add("c.test")
    assert not writing.done()
    slow.set()
    assert await writing
    assert await kept.keeper.write()
    assert kept.again().revision == 3
