"""The names of a benchmark's directory are taken as the list of real ones has them, not only from its beginning."""

from __future__ import annotations

from bench.names import evenly, hosts


def test_words_become_host_names_each_once() -> None:
    words = ["@scope/Thing", "scope-thing", "--x--", "___", "a" * 70]
    assert hosts(words) == ["scope-thing.example.com", "x.example.com", f"{'a' * 60}.example.com"]


def test_names_are_taken_from_the_whole_list() -> None:
    assert list(evenly([f"n{number}" for number in range(100)], 4)) == ["n0", "n25", "n50", "n75"]


def test_a_list_that_is_too_short_gives_what_it_has() -> None:
    assert list(evenly(["a", "b"], 5)) == ["a", "b"]
