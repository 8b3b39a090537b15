"""Requests are read as the dataclasses read them, and what isn't one is refused with the one error."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta

import pytest
from envoy_data_plane.envoy.config.core.v3 import BuildVersion, Locality
from envoy_data_plane.envoy.config.core.v3 import Node as WireNode
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DiscoveryRequest,
    ResourceLocator,
)
from envoy_data_plane.envoy.type.v3 import SemanticVersion
from envoy_data_plane.google.protobuf import Any, Struct, Value
from envoy_data_plane.google.rpc import Status
from hypothesis import given, settings
from hypothesis import strategies as st

from xds.errors import ProtocolError
from xds.protocol import decode
from xds.protocol.decode import parse_delta, parse_sotw
from xds.protocol.messages import DeltaRequest, Node, SotwRequest
from xds.resources.wire import field, varint

TEXT = st.text(st.characters(codec="utf-8"), max_size=140)
NUMBER = st.integers(0, 2**32 - 1)
METADATA = st.none() | st.dictionaries(TEXT, st.builds(Value, string_value=TEXT), max_size=2).map(
    lambda fields: Struct(fields=fields)
)
BUILD = st.builds(
    BuildVersion,
    version=st.none() | st.builds(SemanticVersion, major_number=NUMBER, minor_number=NUMBER, patch=NUMBER),
    metadata=METADATA,
)
PLAIN = {"id": TEXT, "cluster": TEXT, "metadata": METADATA, "user_agent_name": TEXT}
NODE = st.none() | st.one_of(
    st.builds(WireNode, **PLAIN, locality=st.just(Locality(region="r")), client_features=st.lists(TEXT, max_size=2)),
    st.builds(WireNode, **PLAIN, user_agent_build_version=BUILD),
    st.builds(WireNode, **PLAIN, user_agent_version=TEXT),
)
STATUS = st.none() | st.builds(
    Status,
    code=st.integers(-(2**31), 2**31 - 1),
    message=TEXT,
    details=st.lists(st.just(Any(type_url="t")), max_size=1),
)
NAMES = st.lists(TEXT, max_size=4)
LOCATORS = st.lists(st.builds(ResourceLocator, name=TEXT), max_size=1)


def node(wire: WireNode | None) -> Node | None:
    if wire is None:
        return None
    build = wire.user_agent_build_version
    version = build.version if build else None
    number = f" {version.major_number}.{version.minor_number}.{version.patch}" if version else ""
    return Node(wire.id, wire.cluster, f"{wire.user_agent_name}{number}".strip())


def error(status: Status | None) -> str | None:
    return None if status is None else status.message or f"code {status.code}"


@settings(max_examples=300, deadline=None)
@given(
    st.builds(
        DeltaDiscoveryRequest,
        node=NODE,
        type_url=TEXT,
        resource_names_subscribe=NAMES,
        resource_names_unsubscribe=NAMES,
        initial_resource_versions=st.dictionaries(TEXT, TEXT, max_size=4),
        response_nonce=TEXT,
        error_detail=STATUS,
        resource_locators_subscribe=LOCATORS,
    )
)
def test_a_delta_request_is_read_as_the_dataclasses_read_it(message: DeltaDiscoveryRequest) -> None:
    raw = bytes(message)
    read = DeltaDiscoveryRequest.parse(raw)
    assert parse_delta(raw) == DeltaRequest(
        read.type_url,
        tuple(read.resource_names_subscribe),
        tuple(read.resource_names_unsubscribe),
        read.initial_resource_versions,
        read.response_nonce,
        error(read.error_detail),
        node(read.node),
    )


@settings(max_examples=300, deadline=None)
@given(
    st.builds(
        DiscoveryRequest,
        version_info=TEXT,
        node=NODE,
        resource_names=NAMES,
        type_url=TEXT,
        response_nonce=TEXT,
        error_detail=STATUS,
        resource_locators=LOCATORS,
    )
)
def test_a_sotw_request_is_read_as_the_dataclasses_read_it(message: DiscoveryRequest) -> None:
    raw = bytes(message)
    read = DiscoveryRequest.parse(raw)
    assert parse_sotw(raw) == SotwRequest(
        read.type_url,
        tuple(read.resource_names),
        read.version_info,
        read.response_nonce,
        error(read.error_detail),
        node(read.node),
    )


@settings(max_examples=300, deadline=timedelta(seconds=1))
@given(st.binary(max_size=200))
def test_bytes_are_read_or_refused_with_one_error(raw: bytes) -> None:
    for parse in (parse_delta, parse_sotw):
        with suppress(ProtocolError):
            parse(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x12\x05abc",
        b"\x12",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x12" + b"\xff" * 11,
        b"\x02\x00",
        b"\x0b\x0c",
        b"\x11\x00",
        b"\x15\x00",
        field(2, b"\xff"),
        field(3, b"\xc3"),
        b"\x80\x80\x80\x80\x80\x01\x00",
        field(7, b"\x12\x09x"),
        field(1, b"\x0a\x09x"),
        field(5, field(1, b"name") + field(2, b"version"))[:-1],
        field(5, b"\x0a\x09x"),
        field(5, field(1, b"\xc3")),
    ],
    ids=lambda raw: raw[:6].hex(),
)
def test_what_is_not_a_request_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a DeltaDiscoveryRequest"):
        parse_delta(raw)


def test_fields_of_other_types_are_passed_over() -> None:
    unknown = field(1000, b"\xff") + varint(1001 << 3) + varint(7) + b"\x41" + b"x" * 8 + b"\x45" + b"x" * 4
    wrong = varint(2 << 3) + varint(7)
    assert parse_delta(unknown + field(2, b"t") + wrong) == DeltaRequest("t")


def test_the_last_value_counts_and_the_parts_of_a_message_add_up() -> None:
    parts = field(2, b"first") + field(2, b"last") + field(1, field(1, b"id")) + field(1, field(2, b"cluster"))
    assert parse_delta(parts) == DeltaRequest("last", node=Node("id", "cluster"))
    agent = field(6, b"envoy")
    build = field(8, field(1, b"\x08\x01")) + field(8, field(1, b"\x10\x28"))
    assert parse_delta(field(1, agent + build)).node == Node("", "", "envoy 1.40.0")
    assert parse_delta(field(1, agent + build + field(7, b"dev"))).node == Node("", "", "envoy")
    entries = (
        field(5, field(2, b"v") + field(1, b"k")) + field(5, field(1, b"k") + field(2, b"w" * 300)) + field(5, b"")
    )
    assert parse_delta(entries).initial_versions == {"k": "w" * 300, "": ""}


def initial(entries: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(field(5, field(1, name.encode()) + field(2, held.encode())) for name, held in entries)


def versions(first: int, count: int) -> dict[str, str]:
    return {f"name-{number}": f"{number:016x}" for number in range(first, first + count)}


def test_what_came_before_in_another_order_is_not_read_again() -> None:
    some = versions(0, 200)
    first = parse_delta(initial(some.items())).initial_versions
    assert first == some
    assert parse_delta(initial(reversed(some.items()))).initial_versions is first
    assert parse_delta(initial((some | {"name-7": "other"}).items())).initial_versions == some | {"name-7": "other"}


def test_long_entries_are_not_remembered_however_many_come() -> None:
    decode._wholes.clear()
    decode._entries.clear()
    long = {name: "v" * 200 for name in versions(0, 200)}
    assert parse_delta(initial(long.items())).initial_versions == long
    assert not decode._wholes
    assert not decode._entries


@given(st.lists(st.tuples(st.sampled_from([*versions(0, 100), "long" * 50]), st.sampled_from(["", "a", "b" * 200]))))
def test_of_many_entries_the_last_of_each_name_counts(others: list[tuple[str, str]]) -> None:
    entries = [*versions(0, 100).items(), *others]
    assert parse_delta(initial(entries)).initial_versions == dict(entries)


def test_entries_are_remembered_only_so_far() -> None:
    def parsed(first: int, count: int) -> Mapping[str, str]:
        some = versions(first, count)
        read = parse_delta(initial(some.items())).initial_versions
        assert read == some
        assert sum(map(len, decode._wholes)) <= decode._MOST
        assert len(decode._entries) <= decode._REMEMBERED
        return read

    first = parsed(0, 25_000)
    assert parsed(0, 25_000) is first
    parsed(25_000, 25_000)
    assert parsed(0, 25_000) is first
    known = weakref.ref(first)
    del first
    assert known() is not None
    parsed(50_000, 25_000)
    assert known() is None
    largest = parsed(0, decode._MOST + 1)
    assert parsed(0, decode._MOST + 1) == largest


def test_a_reason_cut_within_a_character_is_still_a_reason() -> None:
    assert parse_sotw(field(6, field(2, b"too long \xe2\x82"))).error == "too long \ufffd"
    assert parse_sotw(field(6, b"")).error == "code 0"


def test_deep_metadata_is_not_looked_at() -> None:
    deep = b""
    for _ in range(2_000):
        deep = field(6, field(1, deep))  # a list of one value, which is a list of one value
    metadata = field(1, field(1, b"deep") + field(2, deep))
    raw = field(1, field(1, b"id") + field(3, metadata))
    assert parse_delta(raw).node == Node("id")
