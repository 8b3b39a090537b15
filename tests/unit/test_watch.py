"""The watch: however the bytes are cut, whole transactions come out, and never half of one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds.errors import GdsError
from xds.gds.model import BadRecord, DeletePod, PutDomain, Transaction
from xds.gds.watch import Assembler, EventParser, Heartbeat

STREAM = (
    b'event: heartbeat\ndata: {"epoch":"E","revision":1}\n\n: a comment\n'
    b'event: change\r\ndata: {"revision":2,"changes":[{"op":"put","kind":"domain",'
    b'"domain":"a.test","pod":"pod1"}],"more":true}\r\n\r\n'
    b'id: E:2\nevent: change\ndata: {"revision":2,\ndata: "changes":[{"op":"delete","kind":"pod","name":"pod2"}],'
    b'"more":false}\n\n'
)
WHOLE = [Heartbeat("E", 1), Transaction("E", 2, [PutDomain("a.test", "pod1"), DeletePod("pod2")])]


def read(*chunks: bytes) -> list[Transaction | Heartbeat]:
    parser, assembler = EventParser(), Assembler("E")
    taken = [assembler.take(event) for chunk in chunks for event in parser.feed(chunk)]
    return [value for value in taken if value is not None]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_cuts_anywhere_yield_the_same_values(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert read(*(STREAM[a:b] for a, b in pairwise(places))) == WHOLE


def test_a_stream_cut_before_its_last_byte_never_yields_the_transaction() -> None:
    assert all(read(STREAM[:end]) in ([], WHOLE[:1]) for end in range(len(STREAM)))


def test_a_record_of_the_wrong_shape_is_named_and_the_rest_goes_on() -> None:
    body = (
        b'event: change\ndata: {"revision":3,"changes":[{"op":"put","kind":"pod","pod":{"name":"p","endpoints":7}},'
        b'{"op":"put","kind":"domain","domain":"a.test","pod":"pod1"},{"op":"paint","kind":"domain","domain":"b"}]}\n\n'
    )
    (transaction,) = read(body)
    assert isinstance(transaction, Transaction)
    bad, good, unknown = transaction.changes
    assert isinstance(bad, BadRecord)
    assert (bad.kind, bad.name) == ("pod", "p")
    assert good == PutDomain("a.test", "pod1")
    assert isinstance(unknown, BadRecord)
    assert unknown.kind == "record"


@pytest.mark.parametrize("data", [b"<html>", b'{"revision":"x","changes":[]}', b"[]", b"\xff", b"[" * 100_000])
def test_an_event_that_is_not_the_contract_is_an_error(data: bytes) -> None:
    with pytest.raises(GdsError, match="not the contract"):
        read(b"event: change\ndata: " + data + b"\n\n")


def test_a_revision_that_begins_inside_another_is_an_error() -> None:
    part = b'event: change\ndata: {"revision":%d,"changes":[],"more":true}\n\n'
    with pytest.raises(GdsError, match="before revision 2 was whole"):
        read(part % 2 + part % 3)
