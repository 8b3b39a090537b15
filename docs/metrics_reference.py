"""Writes ``docs/metrics.md`` from what is timed and counted: ``make reference``. A test holds it against the code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import Metric

from xds.measures import Measures

HEAD = """\
# Metrics and traces

`/metrics` of each control plane is in Prometheus's text format. No metric has a label for a domain, and a scrape costs
the same at a million domains as at a hundred: what grows is one line for each pod, and a few for each Envoy.

`ops/prometheus/alerts.yml` and `ops/grafana/pointsman.json` are made from these; `docs/alerts.md` says what to do.

## For those who know istiod

| istiod | here |
| --- | --- |
| `pilot_proxy_convergence_time` | `pointsman_proxy_convergence_time_seconds` |
| `pilot_debounce_time` | `pointsman_debounce_time_seconds` |
| `pilot_proxy_queue_time` | `pointsman_proxy_queue_time_seconds` |
| `pilot_xds_push_time`, `pilot_xds_send_time` | `pointsman_xds_push_time_seconds`, `pointsman_xds_send_time_seconds` |
| `pilot_xds_config_size_bytes` | `pointsman_xds_config_size_bytes` |
| `pilot_push_triggers` | `pointsman_push_triggers_total` |
| `pilot_total_xds_rejects` | `pointsman_xds_rejects_total`, and `pointsman_xds_rejecting` for those of now |
| `pilot_xds` (connected, by version) | `pointsman_xds` |
"""

STATE = """\
## How it stands

| metric | what |
| --- | --- |
| `pointsman_domains`, `pointsman_pods`, `pointsman_pod_domains{pod}` | what is routed, and how many domains each pod has |
| `pointsman_records_set_aside` | records of GDS that can't be used |
| `pointsman_gds_revision`, `pointsman_directory_revision` | what GDS spoke of last, and what the edge is given |
| `pointsman_directory_lag_revisions`, `pointsman_directory_lag_seconds` | how far the edge is behind: revisions that aren't published whole, and since when the oldest waits. What is held counts, too |
| `pointsman_gds_following`, `pointsman_gds_silent_seconds`, `pointsman_watching` | whether GDS is followed, how long it has been silent, and whether it is watched or asked host by host |
| `pointsman_gds_reconnects_total`, `pointsman_gds_snapshots_total` | times that GDS was lost, and that all of it was read |
| `pointsman_publishes_total`, `pointsman_changes_total` | what was published of the directory, and how many domains and pods changed by it |
| `pointsman_isolation_searches_total` | searches for a record that an Envoy rejected |
| `pointsman_held{reason}`, `pointsman_refused{reason}` | 1 while a change of GDS is held back, or was refused |
| `pointsman_directory_complete`, `pointsman_directory_from_disk` | whether there is a directory, and whether it came from disk |
| `pointsman_xds{version}`, `pointsman_streams` | connected Envoys by version, and their streams |
| `pointsman_xds_late` | Envoys that lack something published more than five seconds ago, but for those that reject it |
| `pointsman_xds_spared` | Envoys that came back with other than the disk says, and keep it until GDS answers: `docs/operating.md` |
| `pointsman_xds_rejecting{type}` | Envoys that NACKed something and weren't sent anything else in its place since |
| `pointsman_responses_sent_total`, `…_acked_total`, `…_nacked_total` `{node,type}` | of the streams that are open |
| `pointsman_xds_refused_total{kind}`, `pointsman_xds_handshakes_total` | refused at the xDS port, and TLS handshakes begun there |
| `pointsman_certificate_expiration_timestamp_seconds{name}` | the twenty certificates that end first, and the service's own |
| `pointsman_own_certificate_expiration_timestamp_seconds{setting}` | the certificates that the control plane itself shows, and the CAs that it trusts |
| `pointsman_xds_certificate_expiration_timestamp_seconds{node}` | the client certificates of connected Envoys, of the twenty that end first |
| `pointsman_certificates`, `…_expiring{days}`, `…_set_aside{kind}`, `…_readable`, `…_missing`, `…_folder_unreadable`, `…_staples{used}` | the folder of certificates |
| `pointsman_on_demand_*` | certificates on demand, where that is on |
| `pointsman_lookup_*` | where GDS is asked for one host at a time: `docs/lookup.md` |
| `pointsman_unknown_host_requests_total`, `pointsman_unknown_host{host}` | requests for hosts that GDS doesn't know; of the hosts only those with a hundredth of them |
| `pointsman_state_failing`, `pointsman_state_writes_total`, `…_journal_entries_total`, `…_failures_total` | the state folder |
| `pointsman_orders_total{outcome}`, `pointsman_audit_failing` | orders since the start by what came of them (`asked`, `done`, `refused`, `failed`, `denied`), and whether the audit log can't be written |
| `pointsman_build_info{version}`, `process_*` | the process |
"""  # noqa: E501 (a row of a Markdown table is one line)

TRACES = """\
## Traces

With `pip install 'pointsman[otel]'` and

    [traces]
    endpoint = "http://127.0.0.1:4318/v1/traces"

each change of GDS is a trace, sent to an OpenTelemetry collector by OTLP over HTTP:

| span | from | to |
| --- | --- | --- |
| `change` | GDS's event arrives | the last Envoy's ACK; attributes `pointsman.revision`, `pointsman.envoys`, `pointsman.left` |
| `publish` | GDS's event arrives | everything is published: holding it together with others, encoding |
| `envoy`, one for each | it is published | that Envoy's ACK of all of it; event `sent` when its last response began to be written, `nack` with the reason as the status |

Changes that were coalesced are one trace, from the first that came. Of a large fleet the `traces.envoys` last ones have
a span. A change that some Envoy doesn't ACK is sent after a minute, with an error, when the next one is published. What
was held is a trace from when it came to the last ACK, with the events `held` and `released`; a whole snapshot is one,
called `snapshot`; what isn't GDS's (a certificate) makes none. No span says whose domain it is.
`traces.share` takes a part of the changes. A collector that is away holds nothing up: what can't be sent is dropped.
Spans are made when a change is complete, out of its receipt; without `traces.endpoint` nothing is made or imported.
"""  # noqa: E501 (a row of a Markdown table is one line)

TARGET = Path(__file__).with_name("metrics.md")


def page() -> str:
    """The whole file."""
    return "\n".join(
        [HEAD, "## What is timed and counted as it happens\n", *_rows(Measures().collect()), "", STATE, TRACES]
    )


def _rows(families: Iterator[Metric]) -> Iterator[str]:
    yield "| metric | labels | type | what |"
    yield "| --- | --- | --- | --- |"
    for family in families:
        labels = sorted({name for sample in family.samples for name in sample.labels} - {"le"})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown = ", ".join(f"`{label}`" for label in labels)
        yield f"| `{name}` | {shown} | {family.type} | {family.documentation} |"


if __name__ == "__main__":
    TARGET.write_text(page())
