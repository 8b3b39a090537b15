"""Unknown hosts are counted in bounded memory, and whoever is asked for often is among them."""

from __future__ import annotations

from collections import Counter

from envoy_data_plane.envoy.data.accesslog.v3 import HttpAccessLogEntry, HttpRequestProperties
from envoy_data_plane.envoy.service.accesslog.v3 import (
    StreamAccessLogsMessage,
    StreamAccessLogsMessageHttpAccessLogEntries,
)
from hypothesis import given
from hypothesis import strategies as st

from xds.resources.wire import delimited
from xds.unknown_hosts import HOST_BYTES, UnknownHosts, hosts_of


@given(st.lists(st.sampled_from("abcdefghij"), max_size=300), st.integers(1, 12))
def test_counts_are_never_too_low_and_at_most_their_error_too_high(asked: list[str], capacity: int) -> None:
    hosts = UnknownHosts(capacity)
    for host in asked:
        hosts.add(host)
    true = Counter(asked)
    for found in hosts.top(capacity):
        assert true[found.host] <= found.count <= true[found.host] + found.error
    assert len(hosts) == min(capacity, len(true))
    assert sum(found.count for found in hosts.top(capacity)) == len(asked) == hosts.requests
    often = {host for host, count in true.items() if count > len(asked) / capacity}
    assert often <= {found.host for found in hosts.top(capacity)}


def test_a_scan_keeps_no_more_than_the_capacity_and_not_the_popular_host_out() -> None:
    hosts = UnknownHosts(100)
    for number in range(20_000):
        hosts.add(f"scan-{number}.example.com")
        if number % 10 == 0:
            hosts.add("popular.example.com")
    assert len(hosts) == 100
    assert hosts.top(1)[0].host == "popular.example.com"
    assert [asked.host for asked in hosts.frequent(10, 0.01)] == ["popular.example.com"]


def _message(*hosts: str) -> bytes:
    entries = [HttpAccessLogEntry(request=HttpRequestProperties(authority=host, path="/")) for host in hosts]
    return bytes(StreamAccessLogsMessage(http_logs=StreamAccessLogsMessageHttpAccessLogEntries(log_entry=entries)))


def test_hosts_are_read_out_of_envoys_message() -> None:
    assert list(hosts_of(_message("A.example.com", "b.example.com", ""))) == ["a.example.com", "b.example.com"]


def test_a_host_is_cut_and_nonsense_left_out() -> None:
    assert [len(host) for host in hosts_of(_message("a" * 10_000))] == [HOST_BYTES]
    assert list(hosts_of(_message("a\x00b"))) == []


@given(st.binary(max_size=200))
def test_what_is_no_message_is_a_value_error_or_read(raw: bytes) -> None:
    try:
        for host in hosts_of(raw):
            assert len(host) <= HOST_BYTES
        list(delimited(raw))
    except ValueError:
        pass
