"""What a scrape of a running edge's metrics says."""

from __future__ import annotations

import re

import httpx
from edge_harness import Edge


def scrape(edge: Edge) -> str:
    return httpx.get(f"{edge.system.api_url}/metrics", trust_env=False).text


def metric(edge: Edge, name: str) -> float:
    (value,) = [float(line.rsplit(" ", 1)[1]) for line in scrape(edge).splitlines() if line.startswith(f"{name} ")]
    return value


def families(text: str) -> set[str]:
    """The names that a query may use, such as a histogram's ``_bucket``."""
    return {re.split(r"[ {]", line, maxsplit=1)[0] for line in text.splitlines() if line and not line.startswith("#")}
