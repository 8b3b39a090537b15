"""Traces: what a real collector is sent of a change that a real Envoy takes, and that nothing is there without them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from collector import attributes, collecting
from edge_harness import running, until


def test_a_change_is_a_trace_from_gds_to_the_envoys_ack(tmp_path: Path) -> None:
    with collecting() as collector:
        begun = time.time_ns()
        settings = {"edge": {"misdirected": False}, "traces": {"endpoint": collector.url}}
        with running(tmp_path, settings, domains=20) as edge:
            revision = edge.put("traced.example.com", "pod2")
            edge.becomes("traced.example.com", "pod2")
            until(
                lambda: any(attributes(one)["pointsman.revision"] == revision for one in collector.named("change")),
                "it",
            )
        (change,) = [one for one in collector.named("change") if attributes(one)["pointsman.revision"] == revision]
        within = [one for one in collector.spans if one.trace_id == change.trace_id and one is not change]
        assert [(one.name, one.parent_span_id == change.span_id) for one in within] == [
            ("publish", True),
            ("envoy", True),
        ]
        publish, envoy = within
        (sent,) = envoy.events
        assert attributes(envoy)["pointsman.node"] == "edge-1"
        assert sent.name == "sent"
        moments = [
            change.start_time_unix_nano,
            publish.end_time_unix_nano,
            sent.time_unix_nano,
            envoy.end_time_unix_nano,
        ]
        assert moments == sorted(moments)
        assert begun < moments[0]
        assert moments[-1] == change.end_time_unix_nano < time.time_ns()
        assert collector.services == {"pointsman"}
        # No trace says whose domain it is about.
        assert not any(b"traced.example.com" in one.SerializeToString() for one in collector.spans)


def test_a_collector_that_is_away_holds_nothing_up(tmp_path: Path) -> None:
    settings = {"edge": {"misdirected": False}, "traces": {"endpoint": "http://127.0.0.1:9/v1/traces"}}
    with running(tmp_path, settings, domains=20) as edge:
        edge.put("traced.example.com", "pod2")
        edge.becomes("traced.example.com", "pod2")


def test_the_extras_packages_are_not_imported_unless_there_are_traces() -> None:
    extra = "'opentelemetry.sdk', 'opentelemetry.exporter'"  # the API is FastAPI's own
    code = f"import sys, xds.cli, xds.control_plane; print([n for n in sys.modules if n.startswith(({extra}))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_traces_without_their_packages_are_refused_with_what_to_do(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from xds.traces.settings import Traces\nfrom xds.traces.starting import started\n"
        "print(started(Traces(), str))\n"
        "started(Traces(endpoint='http://127.0.0.1:1'), str)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "None\n"
    assert "SettingsError: traces.endpoint is set" in done.stderr
    assert "pip install 'pointsman[otel]'" in done.stderr
