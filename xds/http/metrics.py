"""The state as Prometheus metrics, read at each scrape: nothing is counted twice and nothing goes stale."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from xds import __version__
from xds.audit import OUTCOMES, Audit
from xds.guard import REASONS
from xds.http.certificates import certificate_metrics
from xds.http.lookup import lookup_metrics
from xds.http.proxies import proxy_metrics
from xds.http.view import View
from xds.kept import Kept
from xds.tracker import LATE


class _State(Collector):
    def __init__(self, view: View) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        directory, mirror = self._view.directory, self._view.mirror
        counts = self._view.counts()
        build = GaugeMetricFamily("pointsman_build_info", "Always 1.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield _gauge("watching", "1 where GDS is watched, 0 where it is asked.", int(self._view.mode == "watch"))
        yield _gauge("domains", "Domains that are routed.", len(directory.domains))
        yield _gauge("pods", "Pods in the directory.", len(directory.pods))
        family = GaugeMetricFamily("pointsman_pod_domains", "Domains of each pod.", labels=["pod"])
        for pod in directory.pods:
            family.add_metric([pod], self._view.directory.residents.get(pod, 0))
        yield family
        yield _gauge("records_set_aside", "Records of GDS that can't be used.", directory.set_aside_total)
        yield _gauge("directory_complete", "1 when a whole snapshot has been read.", int(directory.complete))
        yield _gauge("directory_revision", "The revision that is held.", directory.revision)
        yield _gauge("gds_revision", "The revision that GDS last spoke of.", mirror.gds_revision)
        published = self._view.tracker.receipts.revision
        lag = max(0, mirror.gds_revision - published) if directory.complete else 0
        yield _gauge("directory_lag_revisions", "Revisions of GDS that aren't published whole yet.", lag)
        text = "Seconds since the oldest revision came that isn't published, held ones too."
        yield _gauge("directory_lag_seconds", text, self._view.waited)
        yield _gauge("gds_following", "1 while the watch on GDS is open.", int(mirror.state == "following"))
        silent = self._view.silent
        if silent is not None:
            yield _gauge("gds_silent_seconds", "Seconds since GDS was last heard, its heartbeats too.", silent)
        yield _counter("gds_reconnects", "Times that GDS was lost.", mirror.reconnects)
        yield _counter("gds_snapshots", "Whole snapshots taken.", mirror.snapshots)
        yield _counter("publishes", "Publishes of the directory's changes.", counts.publishes)
        yield _counter("changes", "Changes of domains and pods published.", counts.changes)
        yield _counter("isolation_searches", "Searches for a record that an Envoy rejected.", counts.searches)
        yield _counter("xds_handshakes", "TLS handshakes begun at the xDS port.", counts.handshakes)
        refused = CounterMetricFamily("pointsman_xds_refused", "Refused at the xDS port, by kind.", labels=["kind"])
        for kind, count in counts.refused.items():
            refused.add_metric([kind], count)
        yield refused
        if self._view.tls is not None:
            yield from certificate_metrics(self._view.tls)
        own = GaugeMetricFamily(
            "pointsman_own_certificate_expiration_timestamp_seconds",
            "When the control plane's own certificates end, and the CAs that it trusts: seconds since 1970.",
            labels=["setting"],
        )
        for setting, ends in self._view.own_certificates().items():
            own.add_metric([setting], ends)
        yield own
        if (hosts := self._view.unknown_hosts) is not None:
            yield _counter("unknown_host_requests", "Requests to unknown hosts that Envoys told of.", hosts.requests)
            most = GaugeMetricFamily(
                "pointsman_unknown_host", "Unknown hosts that surely had 1 % of these requests.", labels=["host"]
            )
            for asked in hosts.frequent(10, 0.01):  # few and lasting: a client must not choose our labels
                most.add_metric([asked.host], asked.count)
            yield most
        if self._view.lookup is not None:
            yield from lookup_metrics(self._view.lookup)
        yield from _kept(self._view.kept())
        yield from _audit(self._view.audit)
        text = f"Envoys that lack something published more than {LATE:g} s ago, but for those that reject it."
        yield _gauge("xds_late", text, len(self._view.tracker.late))
        yield _gauge("xds_spared", "Envoys that came back with other than the disk says.", self._view.spared)
        yield from proxy_metrics(self._view.nodes())


def _kept(kept: Kept) -> Iterator[Metric]:
    for state in ("held", "refused"):
        text = "1 while something of GDS waits for a word." if state == "held" else "1 while something is refused."
        family = GaugeMetricFamily(f"pointsman_{state}", text, labels=["reason"])
        for reason in REASONS:
            family.add_metric([reason], int(bool(kept.hold and (kept.hold.reason, kept.hold.state) == (reason, state))))
        yield family
    yield _gauge("directory_from_disk", "1 while what is served came from disk.", int(kept.disk))
    yield _counter("state_writes", "Whole states written to disk.", kept.writes.states)
    yield _counter("state_journal_entries", "Changes written to the journal on disk.", kept.writes.entries)
    yield _counter("state_failures", "Failures to write to disk.", kept.writes.failures)
    yield _gauge("state_failing", "1 while writing to disk fails.", int(bool(kept.writes.error)))


def _audit(audit: Audit) -> Iterator[Metric]:
    family = CounterMetricFamily("pointsman_orders", "Orders, by what came of them.", labels=["outcome"])
    for outcome in OUTCOMES:
        family.add_metric([outcome], audit.outcomes[outcome])
    yield family
    yield _gauge("audit_failing", "1 while the audit log can't be written.", int(bool(audit.trouble)))


def registry(view: View) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(_State(view))
    made.register(view.measures)
    ProcessCollector(registry=made)
    return made


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"pointsman_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"pointsman_{name}", text, value=value)
