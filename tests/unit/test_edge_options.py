"""The settings of the edge that are refused, and what of them reaches the resources."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)

from xds.edge_options import PAGE_BYTES, edge_of
from xds.edge_settings import host_and_port
from xds.errors import SettingsError
from xds.gds.model import Pod
from xds.resources.clusters import cluster
from xds.resources.listeners import listeners
from xds.resources.tls import Tls
from xds.settings import Settings, load


def settings(folder: Path, edge: str) -> Settings:
    (folder / "pointsman.toml").write_text(f"[xds]\nplaintext = true\n[edge]\n{edge}\n")
    return load(folder / "pointsman.toml")


@pytest.mark.parametrize(
    ("edge", "named"),
    [
        ('acme = "127.0.0.1"', "edge.acme"),
        ('acme = "http://127.0.0.1:80"', "edge.acme"),
        ('acme = "127.0.0.1:0"', "edge.acme"),
        ('hsts = "31536000"', "edge.hsts"),
        ('hsts = "max-age=1\\r\\nx: y"', "edge.hsts"),
        ("http3 = true\nproxy_protocol = true", "http3"),
        ('unknown_host = {redirect = "signup.example.com"}', "edge.unknown_host.redirect"),
        ('unknown_host = {redirect = "https://{host}/"}', "edge.unknown_host.redirect"),
        ('unknown_host = {redirect = "https://a.example.com/", page = "page.html"}', "unknown_host"),
        ("timeouts = {request_headers = 0}", "edge.timeouts.request_headers"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(tmp_path: Path, edge: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named.replace(".", r"\.")):
        settings(tmp_path, edge)


def test_a_page_is_of_bounded_size_and_text(tmp_path: Path) -> None:
    loaded = settings(tmp_path, 'unknown_host = {page = "page.html"}')
    page = tmp_path / "page.html"
    for content, wrong in ((b"a" * (PAGE_BYTES + 1), "larger"), (b"\xff", "UTF-8"), (None, "No such file")):
        page.unlink(missing_ok=True)
        if content is not None:
            page.write_bytes(content)
        with pytest.raises(SettingsError, match=wrong):
            edge_of(loaded, Tls())
    page.write_bytes(b"a" * PAGE_BYTES)
    assert len(edge_of(loaded, Tls()).unknown.page) == PAGE_BYTES


@pytest.mark.parametrize(
    ("edge", "names"),
    [
        ("", ["https", "http", "http3"]),
        ("http3 = false", ["https", "http"]),
        ("proxy_protocol = true", ["https", "http"]),
    ],
)
def test_http3_is_on_unless_something_speaks_against_it(tmp_path: Path, edge: str, names: list[str]) -> None:
    made = listeners(edge_of(settings(tmp_path, edge), Tls()))
    assert [listener.name for listener in made] == names


def filters(folder: Path, text: str) -> list[dict[str, HttpFilter]]:
    """Those of each filter chain that leads to pods, by name, in their order."""
    (folder / "pointsman.toml").write_text(f"[xds]\nplaintext = true\n{text}\n")
    made = listeners(edge_of(load(folder / "pointsman.toml"), Tls(server_names=("a.example.com",))))
    packed = [
        each.filters[-1].typed_config
        for listener in made
        for each in listener.filter_chains
        if listener.name != "http" and each.filters
    ]
    managers = [HttpConnectionManager.parse(config.value) for config in packed if config]
    assert managers
    return [{each.name: each for each in manager.http_filters} for manager in managers]


def test_in_lookup_mode_each_client_address_has_a_limit_before_anybody_is_asked(tmp_path: Path) -> None:
    text = '[gds]\nmode = "lookup"\n[lookup]\naddress_rate = 7\naddress_burst = 30'
    for found in filters(tmp_path, text):
        names = [*found]
        assert names.index("pointsman.unknown") < names.index("pointsman.per-address") < names.index("pointsman.lookup")
        assert found["pointsman.per-address"].disabled
        assert found["pointsman.per-address"].typed_config
        limit = LocalRateLimit.parse(found["pointsman.per-address"].typed_config.value)
        (each,) = limit.descriptors
        assert [(entry.key, entry.value) for entry in each.entries] == [
            ("unknown", "unknown"),
            ("masked_remote_address", ""),
        ]
        assert each.token_bucket
        assert (each.token_bucket.tokens_per_fill, each.token_bucket.max_tokens) == (7, 30)
        assert each.token_bucket.fill_interval == timedelta(seconds=1)
        address = limit.rate_limits[0].actions[1].masked_remote_address
        assert address
        assert (address.v4_prefix_mask_len, address.v6_prefix_mask_len) == (32, 64)
        assert limit.max_dynamic_descriptors == 10_000


@pytest.mark.parametrize("text", ['[gds]\nmode = "lookup"\n[lookup]\naddress_rate = 0', ""], ids=["0", "watch mode"])
def test_there_is_no_limit_where_none_is_set(tmp_path: Path, text: str) -> None:
    assert not any("pointsman.per-address" in found for found in filters(tmp_path, text))


def test_pods_that_speak_http2_are_asked_within_the_limits() -> None:
    made: Any = Cluster.parse(bytes(cluster(Pod("pod1"), timedelta(seconds=1), http2=True)))
    (options,) = made.typed_extension_protocol_options.values()
    limits = options.unpack().explicit_http_config.http2_protocol_options
    assert limits.max_concurrent_streams == 100
    assert limits.initial_stream_window_size == 64 * 1024
    assert limits.initial_connection_window_size == 1024 * 1024
    assert not Cluster.parse(bytes(cluster(Pod("pod1"), timedelta(seconds=1)))).typed_extension_protocol_options


def test_an_address_with_a_port_is_taken_apart() -> None:
    assert host_and_port("acme.internal:8402") == ("acme.internal", 8402)
    assert host_and_port("[::1]:80") == ("::1", 80)
