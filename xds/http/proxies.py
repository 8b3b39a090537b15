"""The connected Envoys as metrics: how many of which version, what each was sent, which of them reject something, whose
certificate ends."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import nsmallest

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from xds.resources.types import TYPES
from xds.server.streams import NodeState

SOONEST = 20
"""Envoys of which is said when their client certificate ends: those whose ends first."""
VERSIONS = 20
"""Versions that have a label of their own: Envoys say them, and must not choose how many labels there are."""

_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,2}")


def proxy_metrics(nodes: Iterable[NodeState]) -> Iterator[Metric]:
    """``nodes`` are the open streams."""
    streams = list(nodes)
    yield GaugeMetricFamily("pointsman_streams", "Open xDS streams.", value=len(streams))
    yield _versions(streams)
    yield _rejecting(streams)
    yield _certificates(streams)
    for what in ("sent", "acked", "nacked"):
        family = CounterMetricFamily(
            f"pointsman_responses_{what}", f"xDS responses {what} on open streams.", labels=["node", "type"]
        )
        totals: Counter[tuple[str, str]] = Counter()
        for stream in streams:
            for state in stream.types:
                totals[stream.node, state.type] += getattr(state, what)
        for labels, total in totals.items():
            family.add_metric(labels, total)
        yield family


def _versions(streams: Iterable[NodeState]) -> Metric:
    of_node = {stream.node: _version(stream.user_agent) for stream in streams}
    known = Counter(of_node.values())
    family = GaugeMetricFamily("pointsman_xds", "Connected Envoys, by version.", labels=["version"])
    shown = known.most_common(VERSIONS)
    for version, count in shown:
        family.add_metric([version], count)
    if rest := known.total() - sum(count for _, count in shown):
        family.add_metric(["other"], rest)
    return family


def _rejecting(streams: Iterable[NodeState]) -> Metric:
    nodes = {kind.name: set[str]() for kind in TYPES}
    for stream in streams:
        for state in stream.types:
            if state.rejecting:
                nodes[state.type].add(stream.node)
    text = "Envoys that NACKed something of this type and weren't sent anything else in its place since."
    family = GaugeMetricFamily("pointsman_xds_rejecting", text, labels=["type"])
    for kind, which in nodes.items():
        family.add_metric([kind], len(which))
    return family


def _certificates(streams: Iterable[NodeState]) -> Metric:
    ends: dict[str, float] = {}
    for stream in streams:
        if stream.certificate_ends:
            ends[stream.node] = min(stream.certificate_ends, ends.get(stream.node, stream.certificate_ends))
    text = "When the client certificates of connected Envoys end that end first: seconds since 1970."
    family = GaugeMetricFamily("pointsman_xds_certificate_expiration_timestamp_seconds", text, labels=["node"])
    for node in nsmallest(SOONEST, ends, key=lambda one: (ends[one], one)):
        family.add_metric([node], ends[node])
    return family


def _version(user_agent: str) -> str:
    """``user_agent`` such as "envoy 1.40.0"."""
    found = _VERSION.search(user_agent)
    return found[0] if found else "unknown"
