"""The snapshot's bytes: however they are cut, the whole of it comes out, or an error and nothing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.errors import GdsError
from xds.gds.model import Pod, Snapshot
from xds.gds.snapshot import SnapshotReader

BODY = (
    b'{"epoch":"E","revision":7,"domains":2,"pods":[{"name":"pod1"}]}\n'
    b'{"domain":"a.test","pod":"pod1"}\n{"domain":"b.test","pod":"pod1"}\n'
)


def read(*chunks: bytes) -> Snapshot:
    reader = SnapshotReader()
    for chunk in chunks:
        reader.feed(chunk)
    return reader.finish()


@given(st.lists(st.integers(0, len(BODY)), max_size=6).map(sorted))
def test_cut_anywhere_the_same_snapshot_comes_out(cuts: list[int]) -> None:
    edges = [0, *cuts, len(BODY)]
    made = read(*(BODY[start:end] for start, end in itertools.pairwise(edges)))
    assert made == Snapshot("E", 7, (Pod("pod1"),), [("a.test", "pod1"), ("b.test", "pod1")])


def test_a_snapshot_that_is_cut_short_is_refused() -> None:
    with pytest.raises(GdsError, match="1 of 2 domains"):
        read(BODY[: BODY.index(b'{"domain":"b')])


@pytest.mark.parametrize("body", [b"", b"<html>login</html>\n", b"[]", b'{"epoch":1}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_a_snapshot_is_refused(body: bytes) -> None:
    with pytest.raises(GdsError, match="snapshot"):
        read(body)


def test_a_record_that_cannot_be_read_is_named_and_the_rest_is_kept() -> None:
    made = read(BODY.replace(b'"domain":"b.test","pod":"pod1"', b'"domain":"b.test","pod":7'))
    assert made.domains == [("a.test", "pod1")]
    assert [(bad.kind, bad.name) for bad in made.bad] == [("domain", "b.test")]


def test_a_pod_that_cannot_be_read_is_named_and_the_rest_is_kept() -> None:
    made = read(BODY.replace(b'{"name":"pod1"}', b'{"name":"pod1"},{"name":"pod2","endpoints":3}'))
    assert made.pods == (Pod("pod1"),)
    assert [(bad.kind, bad.name) for bad in made.bad] == [("pod", "pod2")]


def test_a_snapshot_with_more_than_it_announced_is_refused_before_it_fills_the_memory() -> None:
    reader = SnapshotReader()
    reader.feed(BODY)
    with pytest.raises(GdsError, match="more domains than the 2"):
        reader.feed(b'{"domain":"c.test","pod":"pod1"}\n' * 2)


def test_a_record_that_is_not_utf8_is_set_aside_and_the_rest_is_kept() -> None:
    made = read(BODY.replace(b"b.test", b"b\xff.test"))
    assert made.domains == [("a.test", "pod1")]
    assert len(made.bad) == 1
