"""The directory: what it holds, what it sets aside, and that its deltas tell the whole difference."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.delta import Delta
from xds.directory import Directory
from xds.errors import HistoryGone
from xds.gds.model import (
    BadRecord,
    Change,
    DeleteDomain,
    DeletePod,
    Endpoint,
    Pod,
    PutDomain,
    PutPod,
    Snapshot,
    Transaction,
)


def pod(name: str, port: int = 80) -> Pod:
    return Pod(name, endpoints=(Endpoint("127.0.0.1", port),))


def directory(domains: list[tuple[str, str]], pods: tuple[str, ...] = ("pod1", "pod2")) -> Directory:
    made = Directory()
    made.replace(Snapshot("e", 7, tuple(pod(name) for name in pods), domains))
    return made


def step(held: Directory, *changes: Change) -> Delta:
    return held.apply(Transaction("e", held.revision + 1, changes))


def test_a_domain_that_moves_is_the_only_difference() -> None:
    held = directory([("a.example.com", "pod1"), ("b.example.com", "pod1")])
    assert step(held, PutDomain("a.example.com", "pod2")).domains == {"a.example.com": ("pod1", "pod2")}
    assert held.revision == 8


def test_a_lookup_prefers_the_exact_entry_then_the_longest_wildcard() -> None:
    held = directory([("*.b.com", "pod1"), ("*.a.b.com", "pod2"), ("x.a.b.com", "pod1")])
    assert held.lookup("X.A.B.com:443") == ("x.a.b.com", "pod1")
    assert held.lookup("y.a.b.com.") == ("*.a.b.com", "pod2")
    assert held.lookup("y.b.com") == ("*.b.com", "pod1")
    assert held.lookup("b.com") is None


@pytest.mark.parametrize("name", ["UPPER.example.com", "a..b", "-a.com", "a.*.com", "a b.com", "x"])
def test_a_bad_host_name_is_set_aside_and_the_rest_goes_on(name: str) -> None:
    held = directory([(name, "pod1"), ("good.example.com", "pod1")])
    assert dict(held.domains) == {"good.example.com": "pod1"}
    assert held.set_aside["domain", name].revision == 7


def test_a_duplicate_in_a_snapshot_is_set_aside_and_the_first_is_used() -> None:
    held = directory([("a.example.com", "pod1"), ("a.example.com", "pod2")])
    assert held.domains["a.example.com"] == "pod1"
    assert ("domain", "a.example.com") in held.set_aside


def test_a_domain_of_an_unknown_pod_appears_when_the_pod_does() -> None:
    held = directory([("a.example.com", "pod9")])
    assert held.lookup("a.example.com") is None
    assert step(held, PutPod(pod("pod9"))).domains == {"a.example.com": (None, "pod9")}
    assert not held.set_aside


def test_an_invalid_pod_leaves_the_one_in_use() -> None:
    held = directory([])
    before = held.pods["pod1"]
    assert not step(held, PutPod(pod("pod1", port=0)))
    assert held.pods["pod1"] == before
    assert "port 0" in held.set_aside["pod", "pod1"].reason


def test_a_gap_or_another_epoch_asks_for_a_new_snapshot() -> None:
    held = directory([])
    with pytest.raises(HistoryGone, match="does not follow"):
        held.apply(Transaction("e", 9, ()))
    with pytest.raises(HistoryGone, match="epoch"):
        held.apply(Transaction("other", 8, ()))
    assert not held.apply(Transaction("e", 7, (PutDomain("a.example.com", "pod1"),)))
    assert held.lookup("a.example.com") is None


NAMES = st.sampled_from(["a.com", "b.com", "*.c.com", "BAD"])
PODS = st.sampled_from(["pod1", "pod2", "pod3"])
CHANGES = st.one_of(
    st.builds(PutDomain, NAMES, PODS),
    st.builds(DeleteDomain, NAMES),
    st.builds(PutPod, st.builds(pod, PODS, st.integers(0, 2))),
    st.builds(DeletePod, PODS),
)


@given(st.lists(st.lists(CHANGES, max_size=5)), st.lists(st.tuples(NAMES, PODS)))
def test_deltas_replayed_on_a_plain_dict_give_the_directory(
    history: list[list[Change]], snapshot: list[tuple[str, str]]
) -> None:
    held = directory([])
    domains, pods = dict(held.domains), dict(held.pods)
    total = Delta({}, {})
    deltas = [step(held, *changes) for changes in history]
    deltas.append(held.replace(Snapshot("f", 1, (pod("pod3"),), snapshot)))
    for delta in deltas:
        total = total.merged(delta)
    for name, (old, new) in total.domains.items():
        assert domains.pop(name, None) == old
        if new is not None:
            domains[name] = new
    for name, (was, now) in total.pods.items():
        assert pods.pop(name, None) == was
        if now is not None:
            pods[name] = now
    assert domains == dict(held.domains)
    assert pods == dict(held.pods)
    assert all(home in held.pods for home in held.domains.values())


@given(st.lists(st.one_of(CHANGES, st.builds(BadRecord, st.just("domain"), NAMES, st.just("bad"))), max_size=12))
def test_one_transaction_does_what_its_changes_do_one_by_one(changes: list[Change]) -> None:
    known = [("a.com", "pod1"), ("b.com", "pod2")]
    together, apart = directory(known), directory(known)
    whole = step(together, *changes)
    total = Delta({}, {})
    for change in changes:
        total = total.merged(step(apart, change))
    assert (whole.domains, whole.pods) == (total.domains, total.pods)
    assert (together.domains, together.pods) == (apart.domains, apart.pods)
    assert together.set_aside.keys() == apart.set_aside.keys()


def test_a_record_of_the_wrong_shape_is_set_aside_and_what_was_held_stays() -> None:
    directory = Directory()
    directory.replace(Snapshot("E", 1, (Pod("pod1"),), [("a.test", "pod1")]))
    delta = directory.apply(Transaction("E", 2, (BadRecord("domain", "a.test", "no pod"),)))
    assert not delta
    assert directory.domains == {"a.test": "pod1"}
    assert directory.set_aside["domain", "a.test"].reason == "no pod"
    directory.apply(Transaction("E", 3, (DeleteDomain("a.test"),)))
    assert directory.set_aside_total == 0


def test_more_bad_records_than_are_shown_are_still_counted() -> None:
    directory = Directory()
    directory.replace(Snapshot("E", 1, (Pod("pod1"),), [(f"BAD{n}", "pod1") for n in range(1_500)]))
    assert len(directory.set_aside) == 1_000
    assert directory.set_aside_total == 1_500


def test_a_domain_knows_the_revision_at_which_it_last_changed() -> None:
    directory = Directory()
    directory.replace(Snapshot("E", 7, (Pod("pod1"), Pod("pod2")), [("a.test", "pod1"), ("b.test", "pod1")]))
    directory.apply(Transaction("E", 8, (PutDomain("a.test", "pod2"),)))
    assert (directory.revision_of("a.test"), directory.revision_of("b.test")) == (8, 7)


def test_when_a_change_was_of_most_domains_the_others_still_know_when_they_changed_and_so_do_later_ones() -> None:
    directory = Directory()
    names = [f"d{number}.test" for number in range(20_000)]
    directory.replace(Snapshot("e", 7, (Pod("pod1"), Pod("pod2")), [(name, "pod1") for name in names]))
    directory.apply(Transaction("e", 8, [PutDomain(names[0], "pod2"), PutDomain(names[1], "nowhere")]))
    directory.apply(Transaction("e", 9, [PutDomain(name, "pod2") for name in [*names[3:], "new.test"]]))
    directory.apply(Transaction("e", 10, [PutDomain(names[4], "pod1")]))
    found = {name: directory.revision_of(name) for name in [*names, "new.test"]}
    assert found == {**dict.fromkeys([*names, "new.test"], 9), names[0]: 8, names[1]: 8, names[2]: 7, names[4]: 10}


def test_a_change_of_most_domains_is_remembered_without_their_names() -> None:
    directory = Directory()
    names = [f"d{number}.test" for number in range(20_000)]
    directory.replace(Snapshot("e", 7, (Pod("pod1"), Pod("pod2")), [(name, "pod1") for name in names]))
    before = _size(directory)
    directory.apply(Transaction("e", 8, [PutDomain(name, "pod2") for name in names[1:]]))
    assert _size(directory) < before + 10_000


def _size(directory: Directory) -> int:
    return sum(map(sys.getsizeof, vars(directory).values()))


class _Counted(dict[str, str]):
    """Says how often somebody looks at all of it."""

    looks = 0

    def values(self) -> Any:
        self.looks += 1
        return super().values()

    def items(self) -> Any:
        self.looks += 1
        return super().items()


def test_pods_without_domains_are_removed_without_a_look_at_any_domain() -> None:
    directory = Directory()
    pods = [Pod(f"pod{number}") for number in range(100)]
    directory.replace(Snapshot("e", 1, tuple(pods), [(f"d{number}.test", "pod0") for number in range(1_000)]))
    directory._domains = domains = _Counted(directory._domains)
    directory.apply(Transaction("e", 2, [DeletePod(pod.name) for pod in pods[1:]]))
    assert (domains.looks, set(directory.pods)) == (0, {"pod0"})


def test_a_pod_that_takes_many_domains_with_it_is_removed_in_slices() -> None:
    one, other = Directory(), Directory()
    domains = [(f"d{number}.test", "pod1" if number % 4 else "pod2") for number in range(20_000)]
    for directory in (one, other):
        directory.replace(Snapshot("e", 1, (Pod("pod1"), Pod("pod2")), domains))
    changes = [PutDomain("d1.test", "pod2"), PutDomain("d4.test", "pod1"), DeletePod("pod1"), DeleteDomain("d2.test")]
    work = one.applying(Transaction("e", 2, changes))
    slices = 0
    try:
        while True:
            next(work)
            assert one.revision == 1
            slices += 1
    except StopIteration as end:
        delta = end.value
    assert slices > 20
    expected = other.overlay("e", 2, changes)
    assert (delta, dict(one.domains), one.set_aside_total) == (expected, dict(other.domains), other.set_aside_total)
    assert one.residents == {"pod1": 0, "pod2": 5_000} == other.residents
    for domain, _ in domains:
        assert one.revision_of(domain) == other.revision_of(domain), domain


def test_many_pods_with_few_domains_each_are_looked_for_once_in_slices() -> None:
    one, other = Directory(), Directory()
    pods = [Pod("pod")] + [Pod(f"pod{number}") for number in range(50)]
    domains = [(f"d{number}.test", f"pod{number}" if number < 50 else "pod") for number in range(20_000)]
    for directory in (one, other):
        directory.replace(Snapshot("e", 1, tuple(pods), domains))
    changes = [DeletePod(pod.name) for pod in pods[1:]]
    work = one.applying(Transaction("e", 2, changes))
    slices = 0
    try:
        while True:
            next(work)
            slices += 1
    except StopIteration as end:
        delta = end.value
    assert slices > 20
    assert delta == other.overlay("e", 2, changes)
    assert (dict(one.domains), one.set_aside_total) == (dict(other.domains), other.set_aside_total)


@pytest.mark.parametrize("seed", range(20))
def test_a_transaction_taken_in_slices_leaves_what_the_same_leaves_at_once(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    names, pods = [f"d{number}.test" for number in range(60)], [f"pod{number}" for number in range(4)]

    def change() -> Change:
        domain, pod = chance.choice(names), chance.choice(pods)
        some: list[Change] = [PutDomain(domain, pod), DeleteDomain(domain), BadRecord("domain", domain, "odd")]
        rare: list[Change] = [PutPod(Pod(pod)), DeletePod(pod)]
        return chance.choices(some + rare, [20, 8, 2, 1, 1])[0]

    sliced, at_once = Directory(), Directory()
    for directory in (sliced, at_once):
        directory.replace(Snapshot("e", 1, tuple(map(Pod, pods)), [(name, "pod0") for name in names[:30]]))
    for revision in (2, 3):
        changes = [change() for _ in range(3_000)]
        expected = at_once.overlay("e", revision, changes)
        with monkeypatch.context() as patched:
            patched.setattr("xds.directory._AT_ONCE", 0)
            delta = sliced.apply(Transaction("e", revision, changes))
        assert delta == expected
        differs = dict.fromkeys(("_unusable", "_changed", "_dated"))
        assert vars(sliced) | differs == vars(at_once) | differs
        known = [name for name in names if sliced.home(name)]
        assert [*map(sliced.revision_of, known)] == [*map(at_once.revision_of, known)]
        assert sliced.set_aside == at_once.set_aside
