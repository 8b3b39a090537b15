"""The alerts: each is tried both ways, has its place in the runbook, and asks for what a real scrape has."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from edge_harness import Edge, customers, until
from prometheus import ALERTS, OPS, scraping, tool
from scraping import families

RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
PAGES = "https://docs.example.com/pointsman"
"""Where whoever runs it puts what `make docs` makes; the head of the rules says how they are told."""
RUNBOOK = OPS.parent / "docs" / "alerts.md"
OWN = re.compile(r"\b(?:pointsman|process)_\w+")


def test_promtool_finds_no_fault_in_rules_and_settings() -> None:
    subprocess.run([tool("promtool"), "check", "config", str(OPS / "prometheus" / "prometheus.yml")], check=True)


def test_each_alert_comes_when_it_must_and_not_before() -> None:
    told = subprocess.run(
        [tool("promtool"), "test", "rules", str(ALERTS.with_name("alerts_test.yml"))], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("alert", [rule["alert"] for rule in RULES])
def test_it_is_tried_where_it_comes_and_where_it_does_not(alert: str) -> None:
    tests = yaml.safe_load(ALERTS.with_name("alerts_test.yml").read_text())["tests"]
    tried = {bool(one["exp_alerts"]) for test in tests for one in test["alert_rule_test"] if one["alertname"] == alert}
    assert tried == {True, False}


def test_the_runbook_has_a_place_for_each_alert_and_for_no_other() -> None:
    headings = re.findall(r"^## (Pointsman\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in RULES]
    assert {*re.findall(r"\*(Pointsman\w+)\*", RUNBOOK.read_text())} < {*headings}
    for rule in RULES:
        assert rule["annotations"]["runbook_url"] == f"{PAGES}/alerts.html#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_metric_that_an_alert_asks_for_is_in_a_real_scrape(scraped: str) -> None:
    there = families(scraped)
    for rule in RULES:
        asked = set(OWN.findall(rule["expr"]))
        assert asked or "up{" in rule["expr"]
        assert asked <= there, rule["alert"]
        for name, label in re.findall(r"\b(pointsman_\w+)\{(\w+=\"\w+\")\}", rule["expr"]):
            assert f"{name}{{{label}}} " in scraped, rule["alert"]


def test_all_that_the_lookup_way_names_alarming_is_an_alert() -> None:
    _, _, table = (RUNBOOK.parent / "lookup.md").read_text().partition("| alarm on |")
    named = set(re.findall(r"\bpointsman_lookup_\w+", table))
    assert len(named) == 8
    assert named == {name for rule in RULES for name in OWN.findall(rule["expr"]) if "_lookup_" in name}


def test_a_held_change_reaches_prometheus_as_an_alert(edge: Edge, tmp_path: Path) -> None:
    with scraping(tmp_path, edge) as prometheus:
        until(lambda: prometheus.query('up{job="pointsman"} == 1') != [], "Prometheus has scraped", patience=60)
        until(lambda: prometheus.query("ALERTS") == [], "none is pending from before the first scrape", patience=60)
        held = customers(200)[1:150]
        edge.load(*({"op": "delete", "domain": domain} for domain, _ in held))
        until(lambda: prometheus.query('ALERTS{alertstate="firing"}') != [], "an alert", patience=60)
        (alert,) = prometheus.query('ALERTS{alertstate="firing"}')
        assert alert["metric"]["alertname"] == "PointsmanChangeHeld"
        assert alert["metric"]["reason"] == "removed"
        edge.load(*({"op": "put", "domain": domain, "pod": pod} for domain, pod in held))
        until(lambda: prometheus.query('ALERTS{alertstate="firing"}') == [], "its end", patience=60)
        (group,) = prometheus.get("/rules")["groups"]
        assert [(rule["name"], rule.get("lastError", "")) for rule in group["rules"] if rule["health"] != "ok"] == []
