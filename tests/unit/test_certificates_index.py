"""Which certificate is for which host, and what is held of those that can't be used."""

from __future__ import annotations

from msgspec import structs

from xds.certificates.checks import Facts
from xds.certificates.index import Aside, Entry, Index, ending
from xds.certificates.layouts import Place

DAY = 86_400.0


def entry(name: str, *hosts: str, days: float = 30) -> Entry:
    return Entry(Place(name, 0), Facts(hosts, 0.0, days * DAY, "EC P-256"))


def filled(*entries: Entry) -> Index:
    index = Index()
    for each in entries:
        index.put(each, 0.0)
    return index


def covering(index: Index, host: str) -> str:
    found = index.covering(host)
    return found.place.name if found else ""


def test_the_very_name_comes_before_a_wildcard_and_a_wildcard_is_for_one_label() -> None:
    index = filled(entry("wild", "*.a.test", days=90), entry("exact", "x.a.test"))
    assert covering(index, "x.a.test") == "exact"
    assert covering(index, "y.a.test") == "wild"
    assert covering(index, "z.y.a.test") == ""
    assert covering(index, "a.test") == ""


def test_of_several_the_one_that_lasts_longest_is_taken() -> None:
    index = filled(entry("short", "a.test", days=1), entry("long", "a.test", days=9))
    assert covering(index, "a.test") == "long"
    index.remove("long")
    assert covering(index, "a.test") == "short"


def test_a_renewed_certificate_with_other_names_covers_only_those() -> None:
    index = filled(entry("a", "a.test", "b.test"))
    index.put(entry("a", "b.test", "c.test"), 0.0)
    assert [covering(index, host) for host in ("a.test", "b.test", "c.test")] == ["", "a", "a"]


def test_what_is_set_aside_goes_on_where_it_is_in_use_and_not_elsewhere() -> None:
    index = filled(entry("used", "a.test"), entry("unused", "b.test"))
    index.put_aside("used", Aside("key", "why"), keep=True)
    index.put_aside("unused", Aside("dates", "why"), keep=False)
    assert (covering(index, "a.test"), covering(index, "b.test")) == ("used", "")
    assert dict(index.reasons()) == {"key": 1, "dates": 1}
    index.put(entry("used", "a.test"), 0.0)
    assert set(index.aside) == {"unused"}


def test_those_that_expire_first_are_known_however_they_change() -> None:
    index = filled(*(entry(f"c{number}", f"{number}.test", days=number) for number in range(1, 50)))
    assert [each.place.name for each in index.soonest(3)] == ["c1", "c2", "c3"]
    assert index.expiring([10.5 * DAY, 0.0]) == [10, 0]
    index.put(entry("c2", "2.test", days=80), 0.0)
    index.remove("c1")
    assert [each.place.name for each in index.soonest(2)] == ["c3", "c4"]


def test_those_that_expire_after_another_go_on_behind_it_though_it_is_gone() -> None:
    names = [f"c{number}" for number in range(9)]
    index = filled(*(entry(name, f"{name}.test", days=1 + number // 4) for number, name in enumerate(names)))
    first = index.soonest(3)
    index.remove("c2")
    rest = index.soonest(100, after=ending(first[-1]))
    assert [each.place.name for each in (*first, *rest)] == names


def test_a_certificate_is_the_one_of_its_name_since_its_leaf_is_there_and_not_since_its_files_were_read() -> None:
    def since() -> tuple[float, bool]:
        found = index.get("a")
        assert found
        return found.since, found.first

    index = Index()
    index.put(entry("a", "a.test", days=30), 1_000.0)
    assert since() == (1_000.0, True)
    index.complete = True
    index.put(structs.replace(entry("a", "a.test", days=30), stamp=7, checked=True), 2_000.0)
    assert since() == (1_000.0, True), "read once more, it is the same"
    index.put_aside("a", Aside("key", "why"), keep=True)
    assert since() == (1_000.0, True), "what came after it isn't used"
    index.put(entry("a", "a.test", days=90), 3_000.0)
    assert since() == (3_000.0, False)
    index.put(entry("a", "a.test", days=30), 4_000.0)
    assert since() == (4_000.0, False), "gone back to"
    index.remove("a")
    index.put(entry("a", "a.test", days=30), 5_000.0)
    assert since() == (5_000.0, False)


def test_a_certificate_that_is_renewed_while_the_folder_is_first_read_was_not_there_at_the_start() -> None:
    index = filled(entry("a", "a.test", days=30))
    index.put(entry("a", "a.test", days=90), 7.0)
    found = index.get("a")
    assert found
    assert (found.since, found.first) == (7.0, False)
