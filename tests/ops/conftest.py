"""One edge, whose metrics are scraped: what Prometheus would see. Another one looks hosts up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from edge_harness import Edge, running
from looking_up import looking_up
from scraping import scrape


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    settings = {"edge": {"misdirected": False}, "edge.unknown_host": {"count": True}, "guard": {"minimum": 100}}
    with running(tmp_path_factory.mktemp("ops"), settings) as edge:
        yield edge


@pytest.fixture(scope="session")
def scraped(edge: Edge, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What both edges say of themselves."""
    with looking_up(tmp_path_factory.mktemp("ops-lookup"), domains=10) as looked:
        return scrape(edge) + scrape(looked.edge)
