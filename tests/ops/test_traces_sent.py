"""Traces: what a real collector is sent of a change that a real Envoy takes, and that nothing is there without them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx
from collector import attributes, collecting
from edge_harness import LOOPBACK, running, until
from opentelemetry.proto.trace.v1.trace_pb2 import Span


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


def test_what_is_held_and_released_is_a_trace_to_the_last_ack_and_a_snapshot_is_one_too(tmp_path: Path) -> None:
    def traces(name: str, revision: int) -> list[Span]:
        return [one for one in collector.named(name) if attributes(one)["pointsman.revision"] == revision]

    with collecting() as collector:
        settings = {"edge": {"misdirected": False}, "traces": {"endpoint": collector.url}}
        with running(tmp_path, settings, domains=20) as edge:
            names = [f"bulk{number}.example.com" for number in range(150)]
            edge.load(*[{"op": "put", "domain": name, "pod": "pod1"} for name in names])
            edge.becomes(names[0], "pod1")
            edge.load(*[{"op": "put", "domain": name, "pod": "pod2"} for name in names])
            api = httpx.Client(base_url=edge.system.api_url, trust_env=False)
            until(lambda: api.get("/api/v1/hold").json()["state"] == "held", "it is held")
            revision = api.get("/api/v1/revisions").json()["items"][0]["revision"]
            token = (tmp_path / "state" / "token").read_text().strip()
            ordered = time.time_ns()
            bearer = {"authorization": f"Bearer {token}"}
            assert api.post("/api/v1/hold/release", json={}, headers=bearer).status_code == 200
            edge.becomes(names[0], "pod2")
            until(lambda: traces("change", revision) != [], "the trace of what was held")
            edge.system.kill("gds")
            for file in tmp_path.glob("gds.sqlite*"):
                file.unlink()
            homes = [{"name": n, "endpoints": [{"address": LOOPBACK, "port": port}]} for n, port in edge.pods.items()]
            edge.system.load(
                [(f"t{number}.example.com", "pod1") for number in range(20)] + [(n, "pod2") for n in names[:147]], homes
            )
            edge.system.start_gds()
            edge.system.wait_gds()
            until(lambda: len(collector.named("snapshot")) > 0, "the trace of the other GDS's snapshot")
        (change,) = traces("change", revision)
        events = {one.name: one.time_unix_nano for one in change.events}
        assert [*events] == ["held", "released"]
        assert change.start_time_unix_nano <= events["held"] < ordered < events["released"]
        within = [one for one in collector.spans if one.parent_span_id == change.span_id]
        assert [one.name for one in within] == ["publish", "envoy"]
        assert change.end_time_unix_nano == max(events["released"], within[1].end_time_unix_nano)
        snapshot = collector.named("snapshot")[-1]
        within = [one for one in collector.spans if one.parent_span_id == snapshot.span_id]
        assert [one.name for one in within] == ["publish", "envoy"]
        assert within[1].end_time_unix_nano == snapshot.end_time_unix_nano


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
