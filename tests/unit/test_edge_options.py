"""The settings of the edge that are refused, and what of them reaches the resources."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster

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
