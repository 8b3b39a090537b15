"""A real scrape: what a change, an Envoy and its rejections leave in the metrics."""

from __future__ import annotations

import subprocess

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
    grown = [metric(edge, name) - old for name, old in zip(names, before, strict=True)]
    assert grown[:2] == [-1, 1]
    assert all(more >= 1 for more in grown[2:]), dict(zip(names, grown, strict=True))
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
