"""A real scrape: what a change, an Envoy and its rejections leave in the metrics."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from edge_harness import Edge, customers, until
from prometheus import tool
from scraping import metric, scrape


def test_promtool_has_nothing_to_say_of_the_metrics(edge: Edge) -> None:
    done = subprocess.run([tool("promtool"), "check", "metrics"], input=scrape(edge), capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_domain_that_moves_is_counted_at_its_new_pod_and_its_push_is_timed(edge: Edge) -> None:
    edge.put("counted.example.com", "pod1")
    edge.becomes("counted.example.com", "pod1")
    names = (
        'pointsman_pod_domains{pod="pod1"}',
        'pointsman_pod_domains{pod="pod2"}',
        'pointsman_push_triggers_total{type="domain"}',
        'pointsman_xds_push_time_seconds_count{type="route"}',
        'pointsman_xds_send_time_seconds_count{type="route"}',
        'pointsman_xds_config_size_bytes_count{type="route"}',
        "pointsman_proxy_queue_time_seconds_count",
        "pointsman_debounce_time_seconds_count",
        "pointsman_proxy_convergence_time_seconds_count",
        "pointsman_fleet_convergence_time_seconds_count",
    )
    before = [metric(edge, name) for name in names]
    edge.put("counted.example.com", "pod2")
    edge.becomes("counted.example.com", "pod2")
    until(lambda: metric(edge, "pointsman_directory_lag_revisions") == 0, "no lag")

    def grown() -> list[float]:
        return [metric(edge, name) - old for name, old in zip(names, before, strict=True)]

    until(lambda: all(more >= 1 for more in grown()[2:]), "each is counted, the last with Envoy's ACK")
    assert grown()[:2] == [-1, 1]
    assert metric(edge, 'pointsman_xds_config_size_bytes_sum{type="route"}') > 1_000


def test_the_connected_envoy_is_counted_by_its_version(edge: Edge) -> None:
    (said,) = [line for line in scrape(edge).splitlines() if line.startswith("pointsman_xds{")]
    version = edge.nodes()[0]["user_agent"].removeprefix("envoy ")
    assert said == f'pointsman_xds{{version="{version}"}} 1.0'


def test_a_held_change_leaves_the_edge_behind_gds(edge: Edge) -> None:
    held = customers(200)[1:150]
    edge.load(*({"op": "delete", "domain": domain} for domain, _ in held))
    until(lambda: metric(edge, 'pointsman_held{reason="removed"}') == 1, "the change is held")
    assert metric(edge, "pointsman_directory_lag_revisions") >= 1
    assert metric(edge, "pointsman_directory_lag_seconds") > 0
    edge.load(*({"op": "put", "domain": domain, "pod": pod} for domain, pod in held))
    until(lambda: metric(edge, "pointsman_directory_lag_revisions") == 0, "GDS is right again")
    assert metric(edge, "pointsman_directory_lag_seconds") == 0


def test_the_ends_of_its_own_certificates_are_told_and_of_its_envoys(edge: Edge) -> None:
    for label in ('setting="xds.certificate"', 'setting="xds.client_ca"'):
        assert metric(edge, f"pointsman_own_certificate_expiration_timestamp_seconds{{{label}}}") > time.time()
    assert metric(edge, 'pointsman_xds_certificate_expiration_timestamp_seconds{node="edge-1"}') > time.time()


DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_a_metric_that_a_document_names_is_there(scraped: str, page: Path) -> None:
    families = set(re.findall(r"^# TYPE (\S+)", scraped, re.MULTILINE))
    for name in re.findall(r"\bpointsman_[a-z_]+[a-z](?![a-z_*…])", page.read_text()):
        assert {name, name.removesuffix("_total")} & families, name


def test_every_metric_is_in_the_documents(scraped: str) -> None:
    page = (DOCS / "metrics.md").read_text()
    named = set(re.findall(r"\bpointsman_[a-z_]+", page))
    beginnings = tuple(re.findall(r"`(pointsman_[a-z_]+_)\*`", page))
    endings = tuple(re.findall(r"…(_[a-z_]+)", page))
    for name in re.findall(r"^# TYPE (pointsman_\S+)", scraped, re.MULTILINE):
        assert name in named or name.startswith(beginnings) or name.endswith(endings), name
