"""edge-lint reads a running Envoy, finds every row held, and names each row that is broken in what it read."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from edge_harness import Edge, running

from demo.system import ROOT
from xds.lint.checklist import RULES, verdicts
from xds.lint.config import Config, from_dump
from xds.lint.lookup import RULES as OF_LOOKUP

Dump = dict[str, Any]

SETTINGS: dict[str, dict[str, object]] = {
    "edge": {"tables": 8, "hsts": "max-age=31536000", "acme": "127.0.0.1:8402", "proxy_protocol": False}
}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("lint"), SETTINGS, domains=30) as edge:
        yield edge


@pytest.fixture(scope="module")
def dump(edge: Edge) -> Dump:
    answer: Dump = httpx.get(f"{edge.system.admin_url}/config_dump", trust_env=False).json()
    return answer


def bootstrap(dump: Dump) -> Dump:
    return next(part["bootstrap"] for part in dump["configs"] if "bootstrap" in part)


def listeners(dump: Dump) -> dict[str, Dump]:
    found = [each["active_state"]["listener"] for part in dump["configs"] for each in part.get("dynamic_listeners", ())]
    return {each["name"]: each for each in found}


def manager(dump: Dump, listener: str = "https") -> Dump:
    found: Dump = listeners(dump)[listener]["filter_chains"][0]["filters"][-1]["typed_config"]
    return found


def context(dump: Dump) -> Dump:
    found: Dump = listeners(dump)["https"]["filter_chains"][0]["transport_socket"]["typed_config"]
    return found


def pod(dump: Dump) -> Dump:
    found = [each["cluster"] for part in dump["configs"] for each in part.get("dynamic_active_clusters", ())]
    return next(each for each in found if each["name"] == "pod1")


def table(dump: Dump) -> Dump:
    """One that has a virtual host."""
    found = [each["route_config"] for part in dump["configs"] for each in part.get("dynamic_route_configs", ())]
    return next(each for each in found if each.get("virtual_hosts") and each["name"] != "rescope")


def action(dump: Dump, name: str) -> Dump:
    return next(
        each
        for each in bootstrap(dump)["overload_manager"]["actions"]
        if each["name"] == f"envoy.overload_actions.{name}"
    )


def late(name: str) -> Callable[[Dump], object]:
    return lambda dump: action(dump, name)["triggers"][0].update(threshold={"value": 0.99})


def without(name: str, listener: str = "https") -> Callable[[Dump], object]:
    """The HTTP filter is gone."""

    def change(dump: Dump) -> None:
        one = manager(dump, listener)
        one["http_filters"] = [each for each in one["http_filters"] if each["name"] != name]

    return change


def set_(where: Callable[[Dump], Dump], **values: object) -> Callable[[Dump], object]:
    return lambda dump: where(dump).update(values)


def monitors(dump: Dump, name: str) -> None:
    overload = bootstrap(dump)["overload_manager"]
    overload["resource_monitors"] = [each for each in overload["resource_monitors"] if each["name"] != name]


def runtime(dump: Dump, *keys: str) -> None:
    for layer in bootstrap(dump)["layered_runtime"]["layers"]:
        for key in keys:
            layer.get("static_layer", {}).pop(key, None)


def selector(cluster: str) -> Dump:
    service = [{"envoy_grpc": {"cluster_name": cluster}}]
    return {"typed_config": {"config_source": {"api_config_source": {"grpc_services": service}}}}


def on_demand(dump: Dump) -> None:
    common = context(dump)["common_tls_context"]
    del common["tls_certificate_sds_secret_configs"]
    common["custom_tls_certificate_selector"] = selector("nobody")


def refused_over_quic(dump: Dump) -> None:
    listeners(dump)["http3"]["filter_chains"][0]["filter_chain_match"] = {"server_names": ["edge.example.com"]}


NOT_HERE = {rule.name for rule in OF_LOOKUP}
"""They are broken in a dump of an edge that looks hosts up: tests/lookup/test_lookup_lint.py."""

BREAKS: dict[str, Callable[[Dump], object]] = {
    "admin": lambda dump: bootstrap(dump)["admin"]["address"]["socket_address"].update(address="0.0.0.0"),
    "overload-refresh": lambda dump: bootstrap(dump)["overload_manager"].update(refresh_interval="1s"),
    "heap-limit": lambda dump: monitors(dump, "envoy.resource_monitors.fixed_heap"),
    "reduce-timeouts": lambda dump: action(dump, "reduce_timeouts")["typed_config"]["timer_scale_factors"].pop(),
    "keep-alive-off": late("disable_http_keepalive"),
    "shrink-heap": late("shrink_heap"),
    "stop-requests": late("stop_accepting_requests"),
    "no-http3-connections": late("stop_accepting_connections"),
    "http3-connections": lambda dump: listeners(dump)["http3"]["filter_chains"][0]["filters"].pop(0),
    "no-accepts": lambda dump: bootstrap(dump)["overload_manager"]["loadshed_points"].clear(),
    "connection-limit": lambda dump: monitors(dump, "envoy.resource_monitors.global_downstream_max_connections"),
    "io-cycle": lambda dump: runtime(dump, "http.max_requests_per_io_cycle"),
    "premature-resets": lambda dump: runtime(dump, "overload.premature_reset_total_stream_count"),
    "listener-buffers": lambda dump: listeners(dump)["http"].pop("per_connection_buffer_limit_bytes"),
    "cluster-buffers": set_(pod, per_connection_buffer_limit_bytes=1048576),
    "remote-address": set_(manager, use_remote_address=False),
    "proxy-protocol": lambda dump: listeners(dump)["http"].update(
        listener_filters=[{"name": "envoy.filters.listener.proxy_protocol"}]
    ),
    "paths": set_(manager, merge_slashes=False),
    "underscores": lambda dump: manager(dump)["common_http_protocol_options"].pop("headers_with_underscores_action"),
    "http2-clients": lambda dump: manager(dump)["http2_protocol_options"].update(max_concurrent_streams=1000),
    "http2-pods": lambda dump: pod(dump).update(
        typed_extension_protocol_options={"options": {"explicit_http_config": {"http2_protocol_options": {}}}}
    ),
    "connection-idle": lambda dump: manager(dump)["common_http_protocol_options"].pop("idle_timeout"),
    "stream-idle": set_(manager, stream_idle_timeout="0s"),
    "request-headers": lambda dump: manager(dump).pop("request_headers_timeout"),
    "whole-request": set_(manager, request_timeout="3600s"),
    "route-timeouts": lambda dump: table(dump)["virtual_hosts"][0]["routes"][0]["route"].pop("timeout"),
    "one-host": without("pointsman.hosts", "http"),
    "misdirected": without("pointsman.hosts"),
    "port-80": lambda dump: manager(dump, "http")["route_config"]["virtual_hosts"][0]["routes"].append(
        {"match": {"prefix": "/files/"}, "route": {"cluster": "pod1"}}
    ),
    "internal-headers": lambda dump: table(dump).pop("request_headers_to_remove"),
    "nobody-internal": lambda dump: manager(dump).pop("internal_address_config"),
    "tenants": lambda dump: manager(dump, "http")["route_config"]["virtual_hosts"][0]["domains"].append(
        "t0.example.com"
    ),
    "statistics": set_(pod, track_cluster_stats={"request_response_sizes": True}),
    "clusters": lambda dump: pod(dump).update(name=table(dump)["virtual_hosts"][0]["domains"][0]),
    "tls-versions": lambda dump: context(dump)["common_tls_context"]["tls_params"]["cipher_suites"].append(
        "AES128-SHA"
    ),
    "alpn": lambda dump: context(dump)["common_tls_context"].update(alpn_protocols=["http/1.1"]),
    "handshake-timeout": lambda dump: listeners(dump)["https"]["filter_chains"][0].pop(
        "transport_socket_connect_timeout"
    ),
    "certificates-by-sds": lambda dump: context(dump)["common_tls_context"].update(tls_certificates=[{}]),
    "ticket-keys": lambda dump: context(dump).pop("session_ticket_keys_sds_secret_config", None),
    "ocsp-staples": lambda dump: context(dump).update(ocsp_staple_policy="MUST_STAPLE"),
    "graceful-end": lambda dump: listeners(dump)["https"].update(drain_type="MODIFY_ONLY"),
    "unknown-host": lambda dump: table(dump)["virtual_hosts"][0]["domains"].append("*"),
    "unknown-sni": refused_over_quic,
    "hsts": without("pointsman.response-headers"),
    "on-demand": on_demand,
    "http3": lambda dump: listeners(dump)["http3"]["address"]["socket_address"].update(port_value=1),
}


def status(config: Config) -> dict[str, str]:
    return {verdict.name: verdict.status for verdict in verdicts(config)}


def test_a_running_envoy_holds_every_row(dump: Dump) -> None:
    found = {verdict.name: verdict.found for verdict in verdicts(from_dump(dump)) if verdict.status == "broken"}
    assert found == {}
    asked = {name for name, each in status(from_dump(dump)).items() if each == "held"}
    assert asked == {rule.name for rule in RULES} - {"on-demand"} - NOT_HERE


def test_http3_without_limits_of_its_own_is_named(dump: Dump) -> None:
    broken = copy.deepcopy(dump)
    listeners(broken)["http3"]["udp_listener_config"]["quic_options"].pop("quic_protocol_options")
    assert status(from_dump(broken))["http3"] == "broken"


def test_there_is_a_way_to_break_every_row() -> None:
    assert BREAKS.keys() == {rule.name for rule in RULES} - NOT_HERE


@pytest.mark.parametrize("row", BREAKS)
def test_a_broken_row_is_named(dump: Dump, row: str) -> None:
    before = status(from_dump(dump))
    broken = copy.deepcopy(dump)
    BREAKS[row](broken)
    if row == "hsts":  # one manager has it still, else the row isn't asked
        manager(broken, "http3")["http_filters"].append({"name": "strict-transport-security"})
    after = status(from_dump(broken))
    assert (before[row], after[row]) == ("not asked" if row == "on-demand" else "held", "broken")


def test_an_edge_that_watches_gds_isnt_asked_how_it_looks_hosts_up(dump: Dump) -> None:
    assert {name for name, each in status(from_dump(dump)).items() if each == "not asked"} == NOT_HERE | {"on-demand"}


@pytest.mark.parametrize(
    ("row", "change"),
    [
        (
            "unknown-host",
            lambda dump: manager(dump, "http3")["local_reply_config"]["mappers"].append({"flags": ["NR"]}),
        ),
        ("unknown-sni", lambda dump: chosen_by_a_name_that_isnt_read(dump)),
        ("ocsp-staples", lambda dump: over_quic(dump).update(ocsp_staple_policy="STRICT_STAPLING")),
        ("graceful-end", lambda dump: bootstrap(dump)["admin"].pop("address")),
    ],
    ids=["hosts answered otherwise over quic", "a name that isn't read", "staples over quic", "no admin address"],
)
def test_a_row_that_can_break_in_two_ways_is_named_in_the_second_too(
    dump: Dump, row: str, change: Callable[[Dump], object]
) -> None:
    change(broken := copy.deepcopy(dump))
    assert [name for name, found in status(from_dump(broken)).items() if found == "broken"] == [row]


def over_quic(dump: Dump) -> Dump:
    found: Dump = listeners(dump)["http3"]["filter_chains"][0]["transport_socket"]["typed_config"]
    return found["downstream_tls_context"]  # type: ignore[no-any-return]


def chosen_by_a_name_that_isnt_read(dump: Dump) -> None:
    https = listeners(dump)["https"]
    refused_over_quic(dump)
    https["filter_chains"][0]["filter_chain_match"] = {"server_names": ["edge.example.com"]}
    https["listener_filters"] = []


@pytest.mark.parametrize("sni", ["default", "refuse"])
@pytest.mark.parametrize("on_demand", [False, True], ids=["one certificate", "on demand"])
def test_both_ways_with_an_unknown_sni_are_held(edge: Edge, tmp_path: Path, sni: str, on_demand: bool) -> None:
    settings = (edge.system.folder / "pointsman.toml").read_text()
    more = f'\n[edge.tls]\nunknown_sni = "{sni}"\n[edge.tls.on_demand]\nenabled = {str(on_demand).lower()}\n'
    assert "[edge.tls]" not in settings
    (tmp_path / "pointsman.toml").write_text(settings + more)
    done = lint("--bootstrap", ROOT / "envoy" / "envoy.yaml", "--config", tmp_path / "pointsman.toml")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_a_certificate_without_host_names_holds_no_host_off(dump: Dump) -> None:
    nameless = copy.deepcopy(dump)
    for name in ("https", "http3"):
        filters = manager(nameless, name)["http_filters"]
        (hosts,) = [each for each in filters if each["name"] == "pointsman.hosts"]
        (of_any,) = [each for each in manager(dump, "http")["http_filters"] if each["name"] == "pointsman.hosts"]
        hosts["typed_config"] = of_any["typed_config"]
    assert [row for row, found in status(from_dump(nameless)).items() if found == "broken"] == ["misdirected"]


def lint(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xds.cli", "edge-lint", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)


def test_the_command_tells_by_its_exit_code(edge: Edge, dump: Dump, tmp_path: Path) -> None:
    assert lint(edge.system.admin_url).returncode == 0
    BREAKS["port-80"](broken := copy.deepcopy(dump))
    (tmp_path / "dump.json").write_text(json.dumps(broken))
    done = lint(tmp_path / "dump.json", "--json")
    assert done.returncode == 3
    said = json.loads(done.stdout)
    assert [row["name"] for row in said["rows"] if row["status"] == "broken"] == ["port-80"]
    assert "BROKEN port-80" in lint(tmp_path / "dump.json").stdout
    for nothing in (tmp_path / "none.json", "http://127.0.0.1:1", ROOT / "pyproject.toml"):
        done = lint(nothing)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


def test_the_bootstrap_and_settings_are_checked_before_an_envoy_runs(edge: Edge, tmp_path: Path) -> None:
    settings = edge.system.folder / "pointsman.toml"
    done = lint("--bootstrap", ROOT / "envoy" / "envoy.yaml", "--config", settings)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "envoy.yaml").write_text(
        (ROOT / "envoy" / "envoy.yaml").read_text().replace("127.0.0.1, port_value: 9901", "0.0.0.0, port_value: 9901")
    )
    done = lint("--bootstrap", tmp_path / "envoy.yaml", "--config", settings)
    assert done.returncode == 3
    assert "BROKEN admin" in done.stdout
