"""What the Grafana dashboard shows of two running control planes: each of its queries, asked of a real Prometheus."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from edge_harness import Edge, until
from looking_up import looking_up
from prometheus import OPS, Prometheus, scraping

DASHBOARD: dict[str, Any] = json.loads((OPS / "grafana" / "pointsman.json").read_text())
TARGETS = [
    pytest.param(panel, target, id=f"{panel['title']}-{target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
]
VARIABLES = {"$__rate_interval": "20s", "$job": "pointsman", "$instance": ".*", "${datasource}": "ours"}
BUSY = 25.0
"""Seconds in which something happens at both."""


def filled(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    return text


@pytest.fixture(scope="module")
def shown(edge: Edge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Of two control planes of one job, one that watches GDS and one that asks it. While it looked, domains moved, and
    hosts were asked for that are known, and such that nobody has."""
    with (
        looking_up(tmp_path_factory.mktemp("shown-lookup"), domains=10) as looked,
        scraping(tmp_path_factory.mktemp("shown"), edge, looked.edge) as prometheus,
    ):
        until(lambda: len(prometheus.query('up{job="pointsman"} == 1')) == 2, "both are scraped", patience=60)
        end, turn = time.monotonic() + BUSY, 0
        while time.monotonic() < end:
            turn += 1
            edge.put("shown.example.com", f"pod{turn % 3 + 1}")
            edge.ask(f"nobody{turn}.example.com")
            looked.edge.put(f"new{turn}.example.com", "pod1")
            looked.edge.ask(f"new{turn}.example.com")
            time.sleep(0.5)
        yield prometheus


@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_no_panel_is_empty(shown: Prometheus, panel: dict[str, Any], target: dict[str, Any]) -> None:
    series = shown.query(filled(target["expr"]))
    assert any(math.isfinite(float(one["value"][1])) for one in series), series
    for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
        assert all(label in one["metric"] for one in series), label
    if len(series) > 1 and panel["type"] == "timeseries":
        labels = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        names = {tuple(one["metric"][label] for label in labels) for one in series}
        assert len(names) == len(series), f"lines of the same name: {names}"


def test_the_choices_are_the_job_and_its_control_planes(shown: Prometheus) -> None:
    choices = {one["name"]: one for one in DASHBOARD["templating"]["list"] if one["type"] == "query"}
    found = {}
    for name, choice in choices.items():
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", choice["query"]["query"]).groups()  # type: ignore[union-attr]
        found[name] = shown.get(f"/label/{label}/values", **{"match[]": filled(series)})
    assert found["job"] == ["pointsman"]
    assert len(found["instance"]) == 2


def test_two_control_planes_are_not_counted_twice(shown: Prometheus, edge: Edge) -> None:
    value = {
        panel["title"]: float(shown.query(filled(panel["targets"][0]["expr"]))[0]["value"][1])
        for panel in DASHBOARD["panels"]
        if panel["type"] == "stat"
    }
    assert value["Envoys"] == 2  # each is connected to one of them
    api = httpx.get(f"{edge.system.api_url}/readyz", trust_env=False).json()
    assert value["Domains"] == api["domains"]  # each control plane knows them all
    assert value["Next certificate ends in"] == pytest.approx(30 * 86_400, abs=86_400)
    assert value["GDS is followed"] == 1
