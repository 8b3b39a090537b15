"""The state folder: what was written comes back, and nothing that was cut, changed or mixed up is ever used."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xds.errors import StateError
from xds.gds.model import Endpoint, Pod
from xds.state.blocks import Chain
from xds.state.folder import StateFolder
from xds.state.format import (
    STATE,
    Entry,
    State,
    apply_entries,
    begin_journal,
    decode_journal,
    decode_state,
    encode_entry,
    encode_state,
)

PODS = {name: Pod(name, "dc1", (Endpoint("192.0.2.1", 80),)) for name in ("pod1", "pod2")}


def state(revision: int = 7, domains: int = 10, epoch: str = "E") -> State:
    return State(
        epoch, revision, 1000.0 + revision, dict(PODS), {f"d{n}.test": f"pod{n % 2 + 1}" for n in range(domains)}
    )


def entry(revision: int, *, gone: str = "", epoch: str = "E", **pods_of: str) -> Entry:
    domains: dict[str, str | None] = {f"{name}.test": pod for name, pod in pods_of.items()}
    if gone:
        domains[gone] = None
    return Entry(epoch, revision, 1000.0 + revision, domains, {})


def encoded(one: State) -> bytes:
    return b"".join(encode_state(one, b"i" * 16))


def journal(*entries: Entry) -> bytes:
    chain, head = begin_journal(b"i" * 16, b"")
    return head + b"".join(block for one in entries for block in encode_entry(chain, one))


def folder(path: Path, keep: int = 5) -> StateFolder:
    made = StateFolder(path / "state", keep)
    made.load()
    return made


def reload(path: Path) -> tuple[State | None, list[str]]:
    again = StateFolder(path / "state")
    found = again.load()
    again.close()
    return found.state, found.refused


@pytest.mark.parametrize("domains", [0, 1, 10, 4096, 4097, 10_000])
def test_a_state_comes_back_as_it_was(domains: int) -> None:
    assert decode_state(encoded(state(domains=domains))) == (state(domains=domains), b"i" * 16)


@given(st.integers(0, len(encoded(state())) - 1))
def test_a_state_that_is_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(StateError):
        decode_state(encoded(state())[:length])


@given(st.integers(0, len(encoded(state())) - 1), st.integers(1, 255))
def test_a_state_with_any_byte_changed_is_refused(place: int, change: int) -> None:
    data = bytearray(encoded(state()))
    data[place] ^= change
    with pytest.raises(StateError):
        decode_state(bytes(data))


def test_a_state_with_bytes_after_its_end_is_refused() -> None:
    with pytest.raises(StateError):
        decode_state(encoded(state()) + b"\0")


def test_a_state_of_another_format_is_refused_by_its_number() -> None:
    chain = Chain.of(STATE)
    data = STATE + chain.block(msgspec.msgpack.encode({"format": 2, "anything": 1}))
    with pytest.raises(StateError, match="format 2, and this program reads format 1"):
        decode_state(data)


def test_a_state_whose_counts_are_not_what_its_head_says_is_refused() -> None:
    """Its last block is left out: every checksum is right."""
    whole = encoded(state(domains=5000))
    first = encoded(state(domains=4096))
    cut = whole[: len(first)]
    with pytest.raises(StateError, match="4096 of 5000 domains"):
        decode_state(cut)


def test_blocks_of_two_states_can_not_be_put_together() -> None:
    one, other = encoded(state(domains=5000)), encoded(state(revision=8, domains=5000))
    with pytest.raises(StateError, match="checksum"):
        decode_state(one[:5000] + other[5000:])


def test_a_journal_brings_a_state_to_where_it_leads() -> None:
    held = state(domains=2)
    for parts in decode_journal(journal(entry(8, d0="pod2"), entry(9, gone="d1.test", new="pod1"))).entries:
        apply_entries(held, parts)
    assert (held.revision, held.domains) == (9, {"d0.test": "pod2", "new.test": "pod1"})


@given(st.integers(0, 10_000))
def test_a_journal_that_is_cut_anywhere_gives_whole_changes_only(length: int) -> None:
    many = Entry("E", 9, 1.0, {f"m{n}.test": "pod1" for n in range(9000)}, {})
    before = journal(entry(8, d0="pod2"), many)
    data = journal(entry(8, d0="pod2"), many, entry(10, d1="pod2"))
    data = data[: len(data) - 1 - length]
    found = decode_journal(data)
    assert bool(found.torn) == (len(data) != len(before))
    assert [sum(len(part.domains) for part in parts) for parts in found.entries] in ([1], [1, 9000])
    assert not decode_journal(data[: found.chain.size]).torn


@given(st.data())
def test_a_journal_with_any_byte_changed_gives_only_what_comes_before(data: st.DataObject) -> None:
    whole = journal(*[entry(n, **{f"d{n}": "pod1"}) for n in range(8, 12)])
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_journal(bytes(damaged))
    except StateError:
        return
    assert found.torn
    assert found.entries == decode_journal(whole).entries[: len(found.entries)]
    assert found.chain.size <= place


def test_a_folder_gives_back_what_was_written_and_appended(tmp_path: Path) -> None:
    kept = folder(tmp_path)
    kept.write(state(domains=2))
    kept.append([entry(8, d0="pod2"), entry(9, gone="d1.test")])
    kept.close()
    found, refused = reload(tmp_path)
    assert found == State("E", 9, 1009.0, dict(PODS), {"d0.test": "pod2"})
    assert refused == []


def test_a_folder_is_gone_on_with_after_a_restart(tmp_path: Path) -> None:
    first = folder(tmp_path)
    first.write(state(domains=2))
    first.append([entry(8, d0="pod2")])
    first.close()
    second = folder(tmp_path)
    assert second.writable
    second.append([entry(9, d1="pod1")])
    second.close()
    found, _ = reload(tmp_path)
    assert found is not None
    assert (found.revision, found.domains) == (9, {"d0.test": "pod2", "d1.test": "pod1"})
    assert len(list((tmp_path / "state").glob("*.state"))) == 1


def test_only_its_owner_may_read_a_folder(tmp_path: Path) -> None:
    kept = folder(tmp_path)
    kept.write(state())
    kept.replace("token", [b"x"])
    kept.close()
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in kept.path.iterdir()} == {0o600}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_state_is_refused_aloud_and_the_one_before_is_used_with_all_that_follows(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("folder")
    kept = folder(path)
    kept.write(state(7, domains=2))
    kept.append([entry(8, d0="pod2")])
    kept.write(State("E", 8, 1008.0, dict(PODS), {"d0.test": "pod2", "d1.test": "pod2"}), joins=True)
    kept.append([entry(9, d1="pod1")])
    kept.close()
    newest = max(kept.path.glob("*.state"))
    whole = bytearray(newest.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        newest.write_bytes(whole[:place])
    else:
        whole[place] ^= data.draw(st.integers(1, 255))
        newest.write_bytes(whole)
    found, refused = reload(path)
    assert found is not None
    assert (found.revision, found.domains) == (9, {"d0.test": "pod2", "d1.test": "pod1"})
    assert len(refused) == 1
    assert newest.name in refused[0]


def test_a_journal_is_not_used_when_changes_are_missing_before_it(tmp_path: Path) -> None:
    kept = folder(tmp_path)
    kept.write(state(7, domains=2))
    kept.write(state(8, domains=2))
    kept.append([entry(9, d1="pod1")])
    kept.close()
    max(kept.path.glob("*.state")).write_bytes(b"")
    found, refused = reload(tmp_path)
    assert found == state(7, domains=2)
    assert "doesn't follow" in refused[1]


def test_a_torn_end_of_a_journal_is_cut_and_the_journal_gone_on_with(tmp_path: Path) -> None:
    kept = folder(tmp_path)
    kept.write(state(domains=2))
    kept.append([entry(8, d0="pod2"), entry(9, d1="pod1")])
    kept.close()
    (file,) = kept.path.glob("*.journal")
    os.truncate(file, file.stat().st_size - 3)
    again = folder(tmp_path)
    again.append([entry(9, d1="pod2", d0="pod1")])
    again.close()
    found, refused = reload(tmp_path)
    assert found is not None
    assert found.domains == {"d0.test": "pod1", "d1.test": "pod2"}
    assert refused == []


def test_a_journal_of_another_state_is_not_applied(tmp_path: Path) -> None:
    kept = folder(tmp_path)
    kept.write(state(domains=2))
    kept.close()
    (file,) = kept.path.glob("*.journal")
    file.write_bytes(journal(entry(8, d0="pod2")))
    found, refused = reload(tmp_path)
    assert found == state(domains=2)
    assert "doesn't follow" in refused[0]


def test_the_oldest_are_pruned_and_the_leftovers_of_a_crash_removed(tmp_path: Path) -> None:
    kept = folder(tmp_path, keep=3)
    for revision in range(1, 7):
        kept.write(state(revision))
    kept.close()
    (kept.path / "0000000009.state.new").write_bytes(b"half of it")
    assert [moment.revision for moment in folder(tmp_path).kept()] == [6, 5, 4]
    assert not list(kept.path.glob("*.new"))


def test_every_revision_that_is_kept_can_be_gone_back_to(tmp_path: Path) -> None:
    kept = folder(tmp_path)
    kept.write(state(7, domains=2))
    kept.append([entry(8, d0="pod2"), entry(9, d0="pod1")])
    kept.write(state(9, domains=2))
    kept.append([entry(3, epoch="other", d0="pod2")])
    assert [(moment.epoch, moment.revision) for moment in kept.kept()] == [
        ("other", 3), ("E", 9), ("E", 9), ("E", 8), ("E", 7)
    ]  # fmt: skip
    assert kept.at(8).domains["d0.test"] == "pod2"
    assert kept.at(3, "other").epoch == "other"
    with pytest.raises(StateError, match="isn't among the states"):
        kept.at(3, "E")
    kept.close()


def test_a_folder_that_another_process_writes_is_only_read(tmp_path: Path) -> None:
    kept = folder(tmp_path)
    kept.write(state())
    being_written = kept.path / "hold.new"
    being_written.write_bytes(b"half of it")
    second = StateFolder(kept.path)
    found = second.load()
    assert being_written.exists()
    assert found.state == state()
    assert not second.writable
    with pytest.raises(StateError, match="in use by another"):
        second.write(state(8))
    kept.close()


class _Full:
    """A file on a disk that is full after ``room`` bytes."""

    def __init__(self, path: Path, room: int) -> None:
        self._file = path.open("r+b", buffering=0)
        self._file.seek(0, os.SEEK_END)
        self._room = room

    def write(self, data: memoryview) -> int:
        if not self._room:
            raise OSError(28, "No space left on device")
        some = bytes(data[: self._room])
        self._room -= len(some)
        return self._file.write(some)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


@pytest.mark.parametrize("room", [0, 1, 40])
def test_a_full_disk_leaves_nothing_torn(tmp_path: Path, room: int) -> None:
    kept = folder(tmp_path)
    kept.write(state(domains=2))
    kept.append([entry(8, d0="pod2")])
    (file,) = kept.path.glob("*.journal")
    assert kept._open
    kept._open.file = _Full(file, room)  # type: ignore[assignment]
    with pytest.raises(StateError, match="No space left"):
        kept.append([entry(9, d0="pod1")])
    assert not kept.writable
    assert reload(tmp_path)[1][1:] == []
    kept.write(state(9, domains=2))
    kept.append([entry(10, d0="pod2")])
    kept.close()
    found, refused = reload(tmp_path)
    assert found is not None
    assert (found.revision, found.domains["d0.test"], refused) == (10, "pod2", [])


def test_a_folder_that_can_not_be_made_is_said_and_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file")
    kept = StateFolder(tmp_path / "state")
    assert kept.load().state is None
    with pytest.raises(StateError, match=r"state: .*setting state\.folder"):
        kept.write(state())


def test_of_few_moments_no_older_file_is_read(tmp_path: Path) -> None:
    kept = folder(tmp_path)
    for revision in (10, 20, 30):
        kept.write(state(revision), joins=True)
        kept.append([entry(revision + 1, d0="pod2"), entry(revision + 2, d0="pod1")])
    every = kept.kept()
    assert [moment.revision for moment in every] == [32, 31, 30, 22, 21, 20, 12, 11, 10]
    read: list[str] = []
    file = kept._file

    def noted(number: int, kind: str) -> Path:
        read.append(file(number, kind).name)
        return file(number, kind)

    kept._file = noted  # type: ignore[method-assign]
    for most, files in ((1, 2), (3, 2), (4, 4), (9, 6)):
        read.clear()
        assert (kept.kept(most), len(read)) == (every[:most], files)


def test_the_moments_before_any_of_them_are_those_that_follow_it_in_the_list(tmp_path: Path) -> None:
    kept = folder(tmp_path)
    for revision in (10, 20):
        kept.write(state(revision), joins=True)
        kept.append([entry(revision + 1, d0="pod2"), entry(revision + 2, d0="pod1")])
    every = kept.kept()
    for index, moment in enumerate(every):
        assert kept.kept(2, before=moment.place) == every[index + 1 :][:2]


def test_what_the_documents_say_to_remove_is_all_that_was_learned_and_no_more(tmp_path: Path) -> None:
    """`docs/operating.md`, `docs/lookup.md`: the token and the audit log stay."""
    made = folder(tmp_path)
    made.write(state())
    made.append([entry(8)])
    for name in ("hold.json", "token", "audit.log", "audit.log.1"):
        (made.path / name).write_text("{}")
    made.close()
    for pattern in ("*.state", "*.journal", "hold.json"):
        for file in made.path.glob(pattern):
            file.unlink()
    assert sorted(file.name for file in made.path.iterdir()) == ["audit.log", "audit.log.1", "lock", "token"]
    assert StateFolder(made.path).load().state is None
