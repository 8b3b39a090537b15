"""What a scrape of a running edge's metrics says."""

from __future__ import annotations

import re

from edge_harness import Edge

from demo.system import WITHOUT_TLS


def scrape(edge: Edge) -> str:
    return WITHOUT_TLS.get(f"{edge.system.api_url}/metrics").text


def metric(edge: Edge, name: str) -> float:
    (value,) = [float(line.rsplit(" ", 1)[1]) for line in scrape(edge).splitlines() if line.startswith(f"{name} ")]
    return value


def families(text: str) -> set[str]:
    """The names that a query may use, such as a histogram's ``_bucket``."""
    return {re.split(r"[ {]", line, maxsplit=1)[0] for line in text.splitlines() if line and not line.startswith("#")}
