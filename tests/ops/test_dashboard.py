"""The Grafana dashboard: its queries are PromQL over what a real scrape has, and its panels have room."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus import OPS, tool
from scraping import families

DASHBOARD: dict[str, Any] = json.loads((OPS / "grafana" / "pointsman.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel.get("targets", [])]
VARIABLES = {"$__rate_interval": "5m", "$job": "pointsman", "$instance": ".*"}


def filled(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


def test_promtool_reads_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": filled(expr)} for number, (_, expr) in enumerate(QUERIES)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    told = subprocess.run([tool("promtool"), "check", "rules", str(path)], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"{len(QUERIES)} rules found" in told.stdout


def test_every_metric_that_is_shown_is_in_a_real_scrape(scraped: str) -> None:
    there = families(scraped)
    for title, query in QUERIES:
        asked = set(re.findall(r"\b(?:pointsman|process)_\w+", query))
        assert asked, title
        assert asked <= there, title


def test_every_query_is_of_the_control_planes_that_were_chosen() -> None:
    for title, query in QUERIES:
        selectors = re.findall(r"(?:pointsman|process)_\w+(\{[^}]*\})?", query)
        assert set(selectors) == {'{job="$job", instance=~"$instance"}'}, title


def test_no_panel_lies_over_another_and_each_has_its_number() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in itertools.combinations([panel["gridPos"] for panel in PANELS], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)


@pytest.mark.parametrize("panel", [panel for panel in PANELS if panel["type"] != "row"], ids=lambda one: one["title"])
def test_a_panel_names_its_data_source_its_unit_and_its_queries(panel: dict[str, Any]) -> None:
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert panel["datasource"] == source
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert [target["refId"] for target in panel["targets"]] == [chr(65 + n) for n in range(len(panel["targets"]))]
    assert all(target["datasource"] == source for target in panel["targets"])


def test_what_the_runbook_says_to_look_at_is_on_it() -> None:
    named = re.findall(r"[Dd]ashboard's \*([^*]+)\*", (OPS.parent / "docs" / "alerts.md").read_text())
    assert len(named) == 2
    for name in named:
        assert any(panel["title"].startswith(name) for panel in PANELS), name
